//! The native home: the packet path over maps in memory.
//!
//! ```
//! use abi::Hook;
//! use datapath::native::{Arrival, Tables};
//!
//! let tables = Tables::new();
//! let (source, destination) = ("10.0.0.1:4000".parse()?, "10.0.0.2:80".parse()?);
//! let frame = datapath::craft::tcp(source, destination).frame();
//! let outcome = tables.run(Hook::FromWorkload, Arrival { interface: 7, frame: &frame, ..Arrival::default() });
//! assert_eq!(outcome.verdict, Err(abi::DropReason::UnknownEndpoint));
//! # Ok::<(), std::net::AddrParseError>(())
//! ```

pub mod bytes;
mod frame;
mod rows;
#[cfg(test)]
mod tests;

pub use rows::Tables;

use crate::{Delivery, Scratch, SocketState, from_outside, from_workload, to_outside, to_proxy, to_workload};
use abi::event::FlowEvent;
use abi::{DropReason, Hook};
use frame::Frame;

/// A packet at a hook.
#[derive(Clone, Copy, Debug, Default)]
pub struct Arrival<'a> {
    /// Index of the interface.
    pub interface: u32,
    /// Index of the interface by which the packet came into the node; 0 where the node itself made it.
    pub ingress: u32,
    /// The packet's mark.
    pub mark: u32,
    /// The packet, from its Ethernet header on.
    pub frame: &'a [u8],
    /// Nanoseconds of the monotonic clock.
    pub now: u64,
}

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

/// Which sockets the node proxy has, as [`to_proxy`] sees them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProxySockets {
    /// The state of the socket that a packet's own addresses and ports name but for the proxy's listener.
    pub connected: Option<SocketState>,
    /// Whether the proxy listens.
    pub listens: bool,
}

impl Tables {
    /// Judges one packet at a hook.
    ///
    /// # Panics
    ///
    /// At a hook that no packet passes: the lookup of a socket.
    #[track_caller]
    pub fn run(&self, hook: Hook, arrival: Arrival<'_>) -> Outcome {
        self.set_now(arrival.now);
        let scratch = &mut Scratch::default();
        let mut frame = Frame::new(arrival, self.proxy_sockets());
        let verdict = match hook {
            Hook::FromWorkload => from_workload(&mut frame, self, scratch),
            Hook::ToWorkload => to_workload(&mut frame, self, scratch),
            Hook::FromOutside => from_outside(&mut frame, self, scratch),
            Hook::ToOutside => to_outside(&mut frame, self, scratch),
            Hook::ToProxy => to_proxy(&mut frame, self, scratch),
            Hook::ProxySocket => panic!("no packet passes {hook}"),
        };
        Outcome { verdict, mark: frame.mark, frame: frame.bytes, events: self.take_events() }
    }
}
