//! Map writes: the rows that `control` computed, in its order, with one system call for each run.

use crate::loaded::Loaded;
use crate::read::ReadError;
use crate::sys::{Stopped, Table};
use abi::batch::{Batch, Kind, Run};
use abi::map::MapId;
use abi::row::MapOp;
use std::io;

/// Which write failed, and why. The writes before it are made, and those after it are not.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The map is full.
    #[error("map {map} is full at its capacity of {capacity} rows; writing {operation:?}")]
    Full {
        /// The map.
        map: MapId,
        /// Its capacity.
        capacity: u32,
        /// The write that found no room.
        operation: Box<MapOp>,
        /// Its place in the list.
        index: usize,
    },
    /// The kernel refused a write.
    #[error("map {map}: {source}; writing {operation:?}")]
    Refused {
        /// The map.
        map: MapId,
        /// The write.
        operation: Box<MapOp>,
        /// Its place in the list.
        index: usize,
        /// Why.
        source: io::Error,
    },
}

impl Loaded {
    /// Makes the writes in order, those of a run in one call.
    ///
    /// After a failure the writes before it stay. They change no verdict as long as the rows of a new policy come before the
    /// endpoint's row that switches to it.
    pub fn apply(&self, writes: &Batch) -> Result<(), ApplyError> {
        let mut start = 0;
        for run in writes.runs() {
            let refused = |ReadError { source, .. }| self.failure(run, start, 0, source);
            let table = self.tables.of(run.map()).map_err(refused)?;
            let made = match run.kind() {
                Kind::Put => table.update_batch(run.keys(), run.values()),
                Kind::Delete => delete(table, run),
            };
            made.map_err(|Stopped { done, error }| self.failure(run, start, done, error))?;
            start += run.len();
        }
        Ok(())
    }

    fn failure(&self, run: &Run, start: usize, done: usize, source: io::Error) -> ApplyError {
        let operation = run.operation(done.min(run.len() - 1)).expect("a run has at least one write");
        let (map, operation, index) = (run.map(), Box::new(operation), start + done);
        // A full hash map returns E2BIG, a full trie ENOSPC.
        match source.raw_os_error() {
            Some(libc::E2BIG | libc::ENOSPC) => {
                let capacity = self.capacities.of(map);
                ApplyError::Full { map, capacity, operation, index }
            }
            _ => ApplyError::Refused { map, operation, index, source },
        }
    }
}

/// Removes the rows of a run, whether they are there or not.
fn delete(table: &Table, run: &Run) -> Result<(), Stopped> {
    let key_size = run.keys().len() / run.len();
    let mut done = 0;
    while done < run.len() {
        match table.delete_batch(&run.keys()[done * key_size..]) {
            Ok(()) => break,
            // A key without a row ends the kernel's batch, but is no failure here.
            Err(stopped) if stopped.error.raw_os_error() == Some(libc::ENOENT) => done += stopped.done + 1,
            Err(stopped) => return Err(Stopped { done: done + stopped.done, ..stopped }),
        }
    }
    Ok(())
}
