//! Where the writes of a benchmark go: maps in the kernel where that can be, else a table in memory.

use abi::batch::{Batch, Kind};
use abi::map;
use abi::row::{MapOp, Row, RowKey};
use loader::{ApplyError, Capacities, Loaded, Options};
use std::collections::{BTreeMap, HashMap};

/// Rows of any kind in the maps of this benchmark; most of them take room only where a row is.
const ROOM: u32 = 2 * 1024 * 1024;

/// What is written to.
#[derive(Debug)]
pub(super) enum Tables {
    /// Maps that nothing else uses; they end with this value.
    Kernel(Box<Loaded>),
    /// A table of this process, which counts in its memory.
    Memory(HashMap<RowKey, Row>),
}

impl Tables {
    /// Maps in the kernel, or a table in memory and why.
    pub(super) fn open() -> (Self, Option<String>) {
        let capacities = Capacities::SMALL
            .with(map::Addresses, ROOM)
            .with(map::Endpoints, 64 * 1024)
            .with(map::Columns, ROOM)
            .with(map::CidrParents, ROOM)
            .with(map::Groups, ROOM)
            .with(map::Classes, ROOM)
            .with(map::Verdicts, ROOM);
        match Loaded::open(Options { capacities, ..Options::default() }) {
            Ok(loaded) => (Self::Kernel(Box::new(loaded)), None),
            Err(error) => (Self::memory(), Some(error.to_string())),
        }
    }

    /// An empty table in memory.
    pub(super) fn memory() -> Self {
        Self::Memory(HashMap::new())
    }

    /// Makes the writes, in order.
    pub(super) fn write(&mut self, writes: &Batch) -> Result<(), ApplyError> {
        match self {
            Self::Kernel(loaded) => loaded.apply(writes),
            Self::Memory(rows) => {
                for write in writes.iter() {
                    match write {
                        MapOp::Put(row) => drop(row.key().map(|key| rows.insert(key, row))),
                        MapOp::Delete(key) => drop(rows.remove(&key)),
                    }
                }
                Ok(())
            }
        }
    }
}

/// How many rows are put into each map.
pub(super) fn puts(writes: &Batch) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for run in writes.runs().iter().filter(|run| run.kind() == Kind::Put) {
        *counts.entry(run.map().name()).or_default() += run.len();
    }
    counts
}
