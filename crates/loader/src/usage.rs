//! How full the maps are.

use crate::loaded::Loaded;
use crate::read::{ReadError, Tables, failed};
use abi::capacity::Capacities;
use abi::map::{MapId, Writer};
use std::sync::Arc;

/// Reads how full the maps are that an agent writes, on any thread.
#[derive(Clone, Debug)]
pub struct UsageReader {
    tables: Arc<Tables>,
    capacities: Capacities,
}

/// How full a map is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapUsage {
    /// The map.
    pub map: MapId,
    /// How many rows it has.
    pub rows: usize,
    /// How many rows fit.
    pub capacity: u32,
}

impl Loaded {
    /// A reader for a thread that watches the maps.
    pub fn usage(&self) -> UsageReader {
        UsageReader { tables: Arc::clone(&self.tables), capacities: self.capacities }
    }
}

impl UsageReader {
    /// Counts the rows of each map that may become full; the time grows with the number of rows.
    ///
    /// The maps that the packet path writes are left out: they are full after a while, and the oldest entries make room.
    pub fn read(&self) -> Result<Vec<MapUsage>, ReadError> {
        let may_fill = |map: &MapId| map.writer() == Writer::Control && map.kind().has_capacity();
        let usage = |map: MapId| {
            let rows = self.tables.of(map)?.count_rows().map_err(failed(map))?;
            Ok(MapUsage { map, rows, capacity: self.capacities.of(map) })
        };
        MapId::ALL.iter().copied().filter(may_fill).map(usage).collect()
    }
}
