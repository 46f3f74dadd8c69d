//! The kernel as a home: real maps, and frames through the loaded programs by test-run.

use crate::engine::EngineError;
use crate::home::{Fate, FrameOutcome, Home};
use abi::batch::Batch;
use abi::endpoint::{EndpointInfo, EndpointKey};
use abi::event::FlowEvent;
use abi::map;
use abi::mark;
use abi::row::{MapOp, Row, RowKey};
use abi::{DropReason, Hook};
use loader::{Capacities, EventRings, Loaded, Options, ProgramAction};
use std::collections::HashMap;
use std::io;

/// The interface of every test-run. The kernel wants an interface that exists, and the loopback always does.
///
/// The programs find a workload by the packet's interface, so the row of the workload under test is written for this one.
const DOOR: EndpointKey = EndpointKey { interface: 1 };

/// Programs and maps of this engine, neither attached nor pinned: the kernel removes them with the engine.
pub struct Kernel {
    loaded: Loaded,
    events: EventRings,
    /// The endpoint rows by the interface that `control` wrote them for.
    endpoints: HashMap<u32, EndpointInfo>,
    at_door: Option<EndpointInfo>,
}

impl Kernel {
    /// Loads the programs.
    pub fn open() -> Result<Self, EngineError> {
        let options = Options { capacities: Capacities::SMALL, ..Options::default() };
        let loaded = Loaded::open(options).map_err(EngineError::failed("loading the programs"))?;
        let events = loaded.events().map_err(EngineError::failed("opening the event ring"))?;
        Ok(Self { loaded, events, endpoints: HashMap::new(), at_door: None })
    }

    /// Writes the row of this interface's workload for the interface of test-runs.
    fn admit(&mut self, interface: u32) -> Result<(), EngineError> {
        let wanted = self.endpoints.get(&interface).copied();
        if wanted != self.at_door {
            let write = match wanted {
                Some(info) => MapOp::Put(Row::Endpoint(DOOR, info)),
                None => MapOp::Delete(RowKey::Endpoint(DOOR)),
            };
            self.loaded.apply(&[write].into()).map_err(EngineError::failed("writing maps"))?;
            self.at_door = wanted;
        }
        Ok(())
    }
}

impl Home for Kernel {
    fn name(&self) -> &'static str {
        "kernel"
    }

    fn write(&mut self, writes: &Batch) -> Result<(), EngineError> {
        for write in writes.iter() {
            match write {
                MapOp::Put(Row::Endpoint(key, info)) => drop(self.endpoints.insert(key.interface, info)),
                MapOp::Delete(RowKey::Endpoint(key)) => drop(self.endpoints.remove(&key.interface)),
                _ => {}
            }
        }
        self.loaded.apply(writes).map_err(EngineError::failed("writing maps"))
    }

    fn run(
        &mut self,
        hook: Hook,
        interface: u32,
        mark: u32,
        frame: &[u8],
    ) -> Result<FrameOutcome, EngineError> {
        self.admit(interface)?;
        let run = self
            .loaded
            .test_run(hook, frame, mark, DOOR.interface)
            .map_err(EngineError::failed("running a program"))?;
        let events: Vec<FlowEvent> = self.events.batch().collect();
        let fate = match run.action {
            ProgramAction::Pass => Fate::Pass,
            ProgramAction::Redirect if run.mark & mark::MASK == mark::TO_PROXY => Fate::Proxy,
            ProgramAction::Redirect => Fate::Workload(None),
            ProgramAction::Drop => {
                let reason = events.last().and_then(|event| DropReason::from_number(event.reason));
                Fate::Drop(reason.ok_or_else(|| unexplained("a packet was dropped without an event"))?)
            }
            ProgramAction::Other(_) => {
                return Err(unexplained("a program returned what the packet path never does"));
            }
        };
        Ok(FrameOutcome { fate, frame: run.frame, events })
    }

    fn forget_flows(&mut self) -> Result<(), EngineError> {
        let clear = |cleared: Result<(), _>| cleared.map_err(EngineError::failed("clearing maps"));
        clear(self.loaded.clear(map::Conntrack))?;
        clear(self.loaded.clear(map::Openings))?;
        clear(self.loaded.clear(map::Choices))
    }
}

fn unexplained(what: &'static str) -> EngineError {
    EngineError::failed("running a program")(io::Error::other(what))
}
