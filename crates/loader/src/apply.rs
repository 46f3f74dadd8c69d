//! Map writes: what `control` computed, in its order, in as few calls as the order allows.

use crate::loaded::Loaded;
use crate::sys::{Rows, Stopped};
use abi::map;
use abi::row::{MapOp, Row, RowKey};
use std::io;
use zerocopy::IntoBytes;

/// Which write failed, and why. Everything before it is in force, and nothing after it.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// There is no room.
    #[error("map {map} is full at its capacity of {capacity} rows; writing {operation:?}")]
    Full {
        /// The map.
        map: &'static str,
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
        map: &'static str,
        /// The write.
        operation: Box<MapOp>,
        /// Its place in the list.
        index: usize,
        /// Why.
        source: io::Error,
    },
}

impl Loaded {
    /// Makes the writes in order, neighbours to the same map in one call.
    ///
    /// A failure leaves the writes before it made. That changes no verdict as long as the rows of a new policy come
    /// before the row of the endpoint that switches to it.
    pub fn apply(&self, operations: &[MapOp]) -> Result<(), ApplyError> {
        let mut start = 0;
        for run in operations.chunk_by(|left, right| target(left) == target(right)) {
            self.apply_run(run).map_err(|Stopped { done, error }| self.failure(run, start, done, error))?;
            start += run.len();
        }
        Ok(())
    }

    /// Makes writes that have one map and one kind.
    fn apply_run(&self, run: &[MapOp]) -> Result<(), Stopped> {
        let mut rows = Rows::default();
        for operation in run {
            match operation {
                MapOp::Put(row) => push_row(row, &mut rows),
                MapOp::Delete(key) => rows.keys.extend_from_slice(key_bytes(key)),
            }
        }
        let (name, puts) = target(&run[0]);
        if puts {
            return self.table(name).update_batch(&rows);
        }
        let key_size = rows.keys.len() / run.len();
        let mut done = 0;
        while done < run.len() {
            match self.table(name).delete_batch(&rows.keys[done * key_size..]) {
                Ok(()) => break,
                // A row that is not there ends a batch, but it is no failure.
                Err(stopped) if stopped.error.raw_os_error() == Some(libc::ENOENT) => {
                    done += stopped.done + 1
                }
                Err(stopped) => return Err(Stopped { done: done + stopped.done, ..stopped }),
            }
        }
        Ok(())
    }

    fn failure(&self, run: &[MapOp], start: usize, done: usize, source: io::Error) -> ApplyError {
        let operation = Box::new(run[done.min(run.len() - 1)]);
        let (map, index) = (target(&operation).0, start + done);
        // A hash map without room says E2BIG, a trie ENOSPC.
        match (source.raw_os_error(), self.capacities.of(map)) {
            (Some(libc::E2BIG | libc::ENOSPC), Some(capacity)) => {
                ApplyError::Full { map, capacity, operation, index }
            }
            _ => ApplyError::Refused { map, operation, index, source },
        }
    }
}

/// The map that is written, and whether a row is put there.
fn target(operation: &MapOp) -> (&'static str, bool) {
    match operation {
        MapOp::Put(Row::Config(_)) => (map::CONFIG, true),
        MapOp::Put(row) => (map_of(&row.key().expect("only the configuration has no key")), true),
        MapOp::Delete(key) => (map_of(key), false),
    }
}

fn map_of(key: &RowKey) -> &'static str {
    match key {
        RowKey::Address(_) => map::ADDRESSES,
        RowKey::Endpoint(_) => map::ENDPOINTS,
        RowKey::CidrPart(_) => map::CIDR_PARTS,
        RowKey::CidrParent(_) => map::CIDR_PARENTS,
        RowKey::Group(_) => map::GROUPS,
        RowKey::Class(_) => map::CLASSES,
        RowKey::Verdict(_) => map::VERDICTS,
        RowKey::Service(_) => map::SERVICES,
        RowKey::Backend(_) => map::BACKENDS,
    }
}

fn key_bytes(key: &RowKey) -> &[u8] {
    match key {
        RowKey::Address(key) => key.as_bytes(),
        RowKey::Endpoint(key) => key.as_bytes(),
        RowKey::CidrPart(key) => key.as_bytes(),
        RowKey::CidrParent(key) => key.as_bytes(),
        RowKey::Group(key) => key.as_bytes(),
        RowKey::Class(key) => key.as_bytes(),
        RowKey::Verdict(key) => key.as_bytes(),
        RowKey::Service(key) => key.as_bytes(),
        RowKey::Backend(key) => key.as_bytes(),
    }
}

fn push_row(row: &Row, rows: &mut Rows) {
    match row.key() {
        Some(key) => rows.keys.extend_from_slice(key_bytes(&key)),
        // The configuration is the only row of an array.
        None => rows.keys.extend_from_slice(0_u32.as_bytes()),
    }
    rows.values.extend_from_slice(match row {
        Row::Address(_, value) => value.as_bytes(),
        Row::Endpoint(_, value) => value.as_bytes(),
        Row::CidrPart(_, value) | Row::CidrParent(_, value) | Row::Group(_, value) | Row::Class(_, value) => {
            value.as_bytes()
        }
        Row::Verdict(_, value) => value.as_bytes(),
        Row::Service(_, value) => value.as_bytes(),
        Row::Backend(_, value) => value.as_bytes(),
        Row::Config(value) => value.as_bytes(),
    });
}
