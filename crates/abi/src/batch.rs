//! Map writes packed as the kernel takes them: for each run of writes to one map, the keys and the values.

use crate::map::MapId;
use crate::row::{MapOp, Row, RowKey};
use alloc::vec::Vec;
use core::fmt;

/// Map writes in order. Two batches of the same writes are equal, wherever their runs end.
#[derive(Clone, Default)]
pub struct Batch {
    runs: Vec<Run>,
}

/// Consecutive writes of one kind to one map.
#[derive(Clone)]
pub struct Run {
    map: MapId,
    kind: Kind,
    len: usize,
    keys: Vec<u8>,
    values: Vec<u8>,
}

/// What the writes of a run do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Insert rows, or replace them.
    Put,
    /// Remove rows.
    Delete,
}

impl Batch {
    /// No writes.
    pub const fn new() -> Self {
        Self { runs: Vec::new() }
    }

    /// Adds a write that inserts the row or replaces the one with its key.
    pub fn put(&mut self, row: &Row) {
        row.encode(|map, key, value| self.push(map, Kind::Put, key, value));
    }

    /// Adds a write that removes the row with this key.
    pub fn delete(&mut self, key: &RowKey) {
        key.encode(|map, key| self.push(map, Kind::Delete, key, &[]));
    }

    /// Adds a write.
    pub fn push_operation(&mut self, operation: &MapOp) {
        match operation {
            MapOp::Put(row) => self.put(row),
            MapOp::Delete(key) => self.delete(key),
        }
    }

    /// Adds the writes of another batch after those of this one.
    pub fn append(&mut self, other: Self) {
        for run in other.runs {
            match self.runs.last_mut().filter(|last| last.has_room_for(&run)) {
                Some(last) => last.append(&run),
                None => self.runs.push(run),
            }
        }
    }

    /// How many writes there are.
    pub fn len(&self) -> usize {
        self.runs.iter().map(Run::len).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The writes in order, consecutive ones to one map together.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The writes in order, one by one.
    pub fn iter(&self) -> impl Iterator<Item = MapOp> {
        self.runs.iter().flat_map(Run::iter)
    }

    #[inline(always)]
    fn push(&mut self, map: MapId, kind: Kind, key: &[u8], value: &[u8]) {
        let extends = |last: &Run| last.map == map && last.kind == kind && last.len < ROWS_OF_A_RUN;
        if !self.runs.last().is_some_and(extends) {
            let (keys, values) = (FIRST_ROOM * key.len(), FIRST_ROOM * value.len());
            let (keys, values) = (Vec::with_capacity(keys), Vec::with_capacity(values));
            self.runs.push(Run { map, kind, len: 0, keys, values });
        }
        let run = self.runs.last_mut().expect("one was pushed if there was none");
        run.len += 1;
        run.keys.extend_from_slice(key);
        run.values.extend_from_slice(value);
    }
}

/// How many rows a new run has room for.
const FIRST_ROOM: usize = 32;

impl Run {
    /// The map that is written.
    pub fn map(&self) -> MapId {
        self.map
    }

    /// What the writes do.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The keys, one after the other.
    pub fn keys(&self) -> &[u8] {
        &self.keys
    }

    /// The values in the order of their keys; empty where the writes remove rows.
    pub fn values(&self) -> &[u8] {
        &self.values
    }

    /// How many writes there are.
    #[expect(clippy::len_without_is_empty, reason = "a run has at least one write")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// One of the writes, by its place in the run.
    pub fn operation(&self, index: usize) -> Option<MapOp> {
        self.iter().nth(index)
    }

    /// The writes in order.
    pub fn iter(&self) -> impl Iterator<Item = MapOp> {
        let (key_size, value_size) = (self.map.key_size(), self.map.value_size());
        let keys = self.keys.chunks_exact(key_size);
        let operation = move |(index, key)| match self.kind {
            Kind::Put => {
                let value = &self.values[index * value_size..][..value_size];
                Row::decode(self.map, key, value).map(MapOp::Put)
            }
            Kind::Delete => RowKey::decode(self.map, key).map(MapOp::Delete),
        };
        (0..)
            .zip(keys)
            .map(move |row| operation(row).expect("a run holds what rows and their keys were encoded to"))
    }

    fn has_room_for(&self, other: &Self) -> bool {
        self.map == other.map && self.kind == other.kind && self.len + other.len <= ROWS_OF_A_RUN
    }

    fn append(&mut self, other: &Self) {
        self.len += other.len;
        self.keys.extend_from_slice(&other.keys);
        self.values.extend_from_slice(&other.values);
    }
}

impl PartialEq for Batch {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Batch {}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Extend<MapOp> for Batch {
    fn extend<I: IntoIterator<Item = MapOp>>(&mut self, operations: I) {
        operations.into_iter().for_each(|operation| self.push_operation(&operation));
    }
}

impl FromIterator<MapOp> for Batch {
    fn from_iter<I: IntoIterator<Item = MapOp>>(operations: I) -> Self {
        let mut batch = Self::new();
        batch.extend(operations);
        batch
    }
}

impl From<&[MapOp]> for Batch {
    fn from(operations: &[MapOp]) -> Self {
        operations.iter().copied().collect()
    }
}

impl<const N: usize> From<[MapOp; N]> for Batch {
    fn from(operations: [MapOp; N]) -> Self {
        operations.into_iter().collect()
    }
}

/// How many writes a run has at most. Its buffers grow by doubling, and are just full in the end: a large batch takes no more
/// memory than its bytes, but for its last runs.
const ROWS_OF_A_RUN: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::fixtures::one_row_of_each_map;
    use crate::policy::ClassKey;
    use zerocopy::IntoBytes;

    fn class(group: u32) -> Row {
        Row::Class(ClassKey { column: 1, group }, group)
    }

    fn lengths(batch: &Batch) -> Vec<usize> {
        batch.runs().iter().map(Run::len).collect()
    }

    #[test]
    fn every_kind_of_write_comes_out_as_it_went_in() {
        let puts = one_row_of_each_map().into_iter().map(MapOp::Put);
        let deletes = one_row_of_each_map().into_iter().filter_map(|row| row.key()).map(MapOp::Delete);
        let operations: Vec<_> = puts.chain(deletes).collect();
        let batch = Batch::from(&operations[..]);
        assert_eq!(batch.iter().collect::<Vec<_>>(), operations);
        assert_eq!((batch.len(), batch.is_empty()), (operations.len(), false));
        assert_eq!(batch, operations.iter().copied().collect());
    }

    #[test]
    fn the_bytes_are_those_of_keys_and_values() {
        let mut batch = Batch::new();
        batch.put(&Row::CidrParent(3, 2));
        batch.put(&Row::CidrParent(5, 4));
        batch.delete(&RowKey::CidrParent(7));
        batch.put(&Row::Config(Config::default()));
        let [puts, deletes, config] = batch.runs() else { panic!("{batch:?}") };
        assert_eq!((puts.map(), puts.kind()), (MapId::CidrParents, Kind::Put));
        assert_eq!((puts.keys(), puts.values()), ([3_u32, 5].as_bytes(), [2_u32, 4].as_bytes()));
        assert_eq!((deletes.map(), deletes.kind()), (MapId::CidrParents, Kind::Delete));
        assert_eq!((deletes.keys(), deletes.values()), (7_u32.as_bytes(), &[][..]));
        assert_eq!((config.map(), config.keys()), (MapId::Config, 0_u32.as_bytes()));
    }

    #[test]
    fn neighbours_of_one_map_and_kind_are_one_run_and_order_is_kept() {
        let other = Row::CidrParent(3, 2);
        let gone = MapOp::Delete(class(1).key().unwrap());
        let operations = [MapOp::Put(class(1)), MapOp::Put(class(2)), gone, gone, MapOp::Put(other), gone];
        let batch = Batch::from(operations);
        assert_eq!(lengths(&batch), [2, 2, 1, 1]);
        assert_eq!(batch.iter().collect::<Vec<_>>(), operations);
        let second = batch.runs()[0].operation(1);
        assert_eq!((second, batch.runs()[0].operation(2)), (Some(MapOp::Put(class(2))), None));
    }

    #[test]
    fn a_long_run_is_cut_and_its_buffers_are_just_full() {
        let peers = 0..2 * ROWS_OF_A_RUN as u32 + 1;
        let batch: Batch = peers.clone().map(|peer| MapOp::Put(class(peer))).collect();
        assert_eq!(lengths(&batch), [ROWS_OF_A_RUN, ROWS_OF_A_RUN, 1]);
        assert!(batch.iter().eq(peers.map(|peer| MapOp::Put(class(peer)))));
        let full = &batch.runs()[0];
        assert_eq!(
            (full.keys.capacity(), full.values.capacity()),
            (full.keys.len(), full.values.len()),
            "no room is left over"
        );
    }

    #[test]
    fn a_batch_that_is_appended_continues_the_last_run() {
        let mut batch = Batch::from([MapOp::Put(class(1))]);
        batch.append(Batch::from([MapOp::Put(class(2)), MapOp::Put(Row::CidrParent(3, 2))]));
        assert_eq!(lengths(&batch), [2, 1]);
        let apart = [MapOp::Put(class(1)), MapOp::Put(class(2)), MapOp::Put(Row::CidrParent(3, 2))];
        assert_eq!(batch, Batch::from(apart));
    }

    #[test]
    fn equal_means_the_same_writes_in_the_same_order() {
        let [one, two] = [1, 2].map(|peer| MapOp::Put(class(peer)));
        assert_ne!(Batch::from([one, two]), Batch::from([two, one]));
        assert_ne!(Batch::from([one, two]), Batch::from([one]));
        let mut late = Batch::from([two]);
        late.append(Batch::new());
        let mut whole = Batch::from([one]);
        whole.append(late);
        assert_eq!(whole, Batch::from([one, two]));
    }
}
