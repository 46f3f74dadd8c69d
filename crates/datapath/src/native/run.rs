//! Runs a hook on one packet.

use super::arrival::Arrival;
use super::frame::Frame;
use super::rows::Tables;
use crate::delivery::Delivery;
use crate::scratch::Scratch;
use crate::{from_outside, from_workload, to_outside, to_proxy, to_workload};
use abi::event::FlowEvent;
use abi::{DropReason, Hook};

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Where it goes, or why it goes nowhere.
    pub verdict: Result<Delivery, DropReason>,
    /// Its mark afterwards.
    pub mark: u32,
    /// Its bytes afterwards.
    pub frame: Vec<u8>,
    /// What was reported.
    pub events: Vec<FlowEvent>,
}

impl Tables {
    /// Judges one packet at a hook.
    ///
    /// # Panics
    ///
    /// At a hook that no packet passes: those of sockets.
    #[track_caller]
    pub fn run(&self, hook: Hook, arrival: Arrival<'_>) -> Outcome {
        self.set_now(arrival.now);
        let scratch = &mut Scratch::default();
        let mut frame = Frame::new(arrival, self.proxy_sockets(), self.ports());
        let verdict = match hook {
            Hook::FromWorkload => from_workload(&mut frame, self, scratch),
            Hook::ToWorkload => to_workload(&mut frame, self, scratch),
            Hook::FromOutside => from_outside(&mut frame, self, scratch),
            Hook::ToOutside => to_outside(&mut frame, self, scratch),
            Hook::ToProxy => to_proxy(&mut frame, self, scratch),
            Hook::ProxySocket
            | Hook::Connect4
            | Hook::Connect6
            | Hook::Send4
            | Hook::Send6
            | Hook::Receive4
            | Hook::Receive6 => panic!("no packet passes {hook}"),
        };
        Outcome { verdict, mark: frame.mark, frame: frame.bytes, events: self.take_events() }
    }
}
