//! A home of the packet path: maps that an engine writes, and hooks that it sends frames through.

use crate::engine::EngineError;
use abi::batch::Batch;
use abi::event::FlowEvent;
use abi::{DropReason, Hook};
use datapath::Delivery;
use datapath::native::{Arrival, Tables};

/// A place where the packet path runs: in memory, or in the kernel.
pub trait Home {
    /// The name of the engine that uses it.
    fn name(&self) -> &'static str;

    /// Writes the maps, in order.
    fn write(&mut self, writes: &Batch) -> Result<(), EngineError>;

    /// Runs the program of a hook on one frame of an interface.
    fn run(
        &mut self,
        hook: Hook,
        interface: u32,
        mark: u32,
        frame: &[u8],
    ) -> Result<FrameOutcome, EngineError>;

    /// Removes all conntrack entries, so that the next packet of each flow is its first.
    fn forget_flows(&mut self) -> Result<(), EngineError>;
}

/// The result of a frame.
#[derive(Clone, Debug)]
pub struct FrameOutcome {
    /// The frame's destination.
    pub fate: Fate,
    /// The bytes of the frame afterwards.
    pub frame: Vec<u8>,
    /// The events of each hook that judged the frame; none where the frame opens, closes and drops no flow.
    pub events: Vec<FlowEvent>,
}

/// The destination of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The network stack, or the interface that the frame arrived for.
    Pass,
    /// The workload behind an interface; none where the home does not know the interface.
    Workload(Option<u32>),
    /// The node proxy.
    Proxy,
    /// None: the frame is dropped.
    Drop(DropReason),
}

/// Maps in memory, and the packet path as native code.
impl Home for Tables {
    fn name(&self) -> &'static str {
        "native"
    }

    fn write(&mut self, writes: &Batch) -> Result<(), EngineError> {
        self.apply_all(writes.iter());
        Ok(())
    }

    fn run(
        &mut self,
        hook: Hook,
        interface: u32,
        mark: u32,
        frame: &[u8],
    ) -> Result<FrameOutcome, EngineError> {
        /// Any constant: flows must not age.
        const NOW: u64 = 1_000_000_000_000;
        let arrival = Arrival { interface, mark, frame, now: NOW, ..Arrival::default() };
        let outcome = Tables::run(self, hook, arrival);
        let fate = match outcome.verdict {
            Ok(Delivery::Pass) => Fate::Pass,
            Ok(Delivery::Egress(interface) | Delivery::Workload(interface)) => {
                Fate::Workload(Some(interface))
            }
            Ok(Delivery::Ingress(_)) => Fate::Proxy,
            Err(reason) => Fate::Drop(reason),
        };
        Ok(FrameOutcome { fate, frame: outcome.frame, events: outcome.events })
    }

    fn forget_flows(&mut self) -> Result<(), EngineError> {
        self.forget();
        Ok(())
    }
}
