//! The destination of a benchmark's map writes: kernel maps if possible, else a table in memory.

use abi::batch::{Batch, Kind};
use abi::map;
use abi::row::{MapOp, Row, RowKey};
use loader::{ApplyError, Capacities, Loaded, Options};
use std::collections::{BTreeMap, HashMap};

/// Capacity of each map; most kinds of maps allocate memory only for entries.
const CAPACITY: u32 = 2 * 1024 * 1024;

/// The destination of map writes.
#[derive(Debug)]
pub(super) enum Tables {
    /// Kernel maps that no program uses; dropping this value frees them.
    Kernel(Box<Loaded>),
    /// A table in this process's memory.
    Memory(HashMap<RowKey, Row>),
}

impl Tables {
    /// Creates kernel maps, or a table in memory and the reason.
    pub(super) fn open() -> (Self, Option<String>) {
        let capacities = Capacities::SMALL
            .with(map::Addresses, CAPACITY)
            .with(map::Endpoints, 64 * 1024)
            .with(map::Columns, CAPACITY)
            .with(map::CidrParents, CAPACITY)
            .with(map::Groups, CAPACITY)
            .with(map::Classes, CAPACITY)
            .with(map::Verdicts, CAPACITY);
        match Loaded::open(Options { capacities, ..Options::default() }) {
            Ok(loaded) => (Self::Kernel(Box::new(loaded)), None),
            Err(error) => (Self::memory(), Some(error.to_string())),
        }
    }

    /// An empty table in memory.
    pub(super) fn memory() -> Self {
        Self::Memory(HashMap::new())
    }

    /// Executes the writes, in order.
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

/// The number of entries written to each map.
pub(super) fn puts(writes: &Batch) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for run in writes.runs().iter().filter(|run| run.kind() == Kind::Put) {
        *counts.entry(run.map().name()).or_default() += run.len();
    }
    counts
}
