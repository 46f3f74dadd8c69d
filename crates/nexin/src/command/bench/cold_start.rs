//! Measures the cold start: a node that gets the whole large world at once.

use super::machine::Memory;
use super::samples::milliseconds;
use super::tables::{Tables, puts};
use super::world::LargeWorld;
use control::World;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The figures of the cold start.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ColdStart {
    pub(super) namespaces: usize,
    pub(super) policies: usize,
    pub(super) pods: usize,
    pub(super) identities: usize,
    /// Time from the changes to the map writes, without making these.
    pub(super) compute_ms: f64,
    /// Time of the map writes.
    pub(super) write_ms: f64,
    /// Time to parse the manifests; not part of the above.
    pub(super) read_ms: f64,
    pub(super) rows: BTreeMap<&'static str, usize>,
    /// Memory before the world exists.
    pub(super) before: Memory,
    pub(super) after: Memory,
}

/// Writes the world into the tables, and returns it.
pub(super) fn measure(large: &LargeWorld, tables: &mut Tables) -> anyhow::Result<(ColdStart, World)> {
    let before = Memory::now()?;
    let mut world = World::new();
    let mut read = Duration::ZERO;
    // Each change is created when the world takes it, so that it uses memory only once; the time is subtracted.
    let mut changes = large.changes();
    let timed = std::iter::from_fn(|| {
        let start = Instant::now();
        let change = changes.next();
        read += start.elapsed();
        change
    });
    let start = Instant::now();
    let writes = world.apply(timed);
    let both = start.elapsed();
    let start = Instant::now();
    tables.write(&writes.now)?;
    tables.write(&writes.later)?;
    tables.write(&writes.last)?;
    let write = start.elapsed();
    let rows = puts(&writes.now);
    drop(writes);
    let start = ColdStart {
        namespaces: large.namespaces(),
        policies: large.policies(),
        pods: large.pods(),
        identities: large.identities(),
        compute_ms: milliseconds(both.saturating_sub(read)),
        write_ms: milliseconds(write),
        read_ms: milliseconds(read),
        rows,
        before,
        after: Memory::now()?,
    };
    Ok((start, world))
}
