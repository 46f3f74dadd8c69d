//! A node that learns of the whole large world at once, as an agent does when it starts.

use super::machine::Memory;
use super::samples::milliseconds;
use super::tables::{Tables, puts};
use super::world::LargeWorld;
use control::World;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ColdStart {
    pub(super) namespaces: usize,
    pub(super) policies: usize,
    pub(super) pods: usize,
    pub(super) identities: usize,
    /// From the changes, as the edge reads them, to the writes that they imply.
    pub(super) compute_ms: f64,
    /// From the first write to the last.
    pub(super) write_ms: f64,
    /// Reading the manifests; no part of the above.
    pub(super) read_ms: f64,
    pub(super) rows: BTreeMap<&'static str, usize>,
    /// Before the world, after all its rows.
    pub(super) before: Memory,
    pub(super) after: Memory,
}

/// Brings the world into the tables; it is returned as it is then.
pub(super) fn measure(large: &LargeWorld, tables: &mut Tables) -> anyhow::Result<(ColdStart, World)> {
    let before = Memory::now()?;
    let mut world = World::new();
    let mut read = Duration::ZERO;
    // Each change is made when the world asks for it, so that nothing but the world holds it; the time is taken out.
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
