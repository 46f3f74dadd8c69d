//! A home of the packet path, as an engine uses it: maps to write, and hooks to run frames through.

use crate::engine::EngineError;
use abi::batch::Batch;
use abi::event::FlowEvent;
use abi::{DropReason, Hook};
use datapath::Delivery;
use datapath::native::{Arrival, Tables};

/// Where the packet path runs.
pub trait Home {
    /// What people call an engine that uses it.
    fn name(&self) -> &'static str;

    /// Makes map writes in order.
    fn write(&mut self, writes: &Batch) -> Result<(), EngineError>;

    /// Judges one frame at a hook of an interface.
    fn run(&mut self, hook: Hook, interface: u32, mark: u32, frame: &[u8]) -> Result<Outcome, EngineError>;

    /// Forgets every flow, so that the next packet of each is its first.
    fn forget_flows(&mut self) -> Result<(), EngineError>;
}

/// What became of a frame.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Where it goes.
    pub fate: Fate,
    /// Its bytes afterwards.
    pub frame: Vec<u8>,
    /// What was reported of it at each door that it passed; nothing where it changed nothing in the life of its flow.
    pub events: Vec<FlowEvent>,
}

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// On, the way it was going.
    Pass,
    /// To the workload behind an interface, which not every home can tell.
    Workload(Option<u32>),
    /// To the node proxy.
    Proxy,
    /// Nowhere.
    Drop(DropReason),
}

/// The maps in memory and the packet path natively.
impl Home for Tables {
    fn name(&self) -> &'static str {
        "native"
    }

    fn write(&mut self, writes: &Batch) -> Result<(), EngineError> {
        self.apply_all(writes.iter());
        Ok(())
    }

    fn run(&mut self, hook: Hook, interface: u32, mark: u32, frame: &[u8]) -> Result<Outcome, EngineError> {
        /// Any moment will do, as long as flows do not age.
        const NOW: u64 = 1_000_000_000_000;
        let arrival = Arrival { interface, mark, frame, now: NOW, ..Arrival::default() };
        let outcome = Tables::run(self, hook, arrival);
        let fate = match outcome.verdict {
            Ok(Delivery::Pass) => Fate::Pass,
            Ok(Delivery::Egress(interface)) => Fate::Workload(Some(interface)),
            Ok(Delivery::Ingress(_)) => Fate::Proxy,
            Err(reason) => Fate::Drop(reason),
        };
        Ok(Outcome { fate, frame: outcome.frame, events: outcome.events })
    }

    fn forget_flows(&mut self) -> Result<(), EngineError> {
        self.forget();
        Ok(())
    }
}
