//! A hash table that makes room for new entries by removing entries that were not used lately.

use super::table::Table;

/// Entries of which each use is noted. A hand goes round the slots, takes the notes back, and removes the first entry without
/// one.
#[derive(Clone, Debug)]
pub(super) struct LruTable {
    table: Table,
    capacity: usize,
    hand: usize,
}

impl LruTable {
    pub(super) fn new(key_size: usize, value_size: usize, capacity: usize) -> Self {
        Self { table: Table::new(key_size, value_size), capacity, hand: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn lookup(&self, key: &[u8]) -> Option<&[u8]> {
        let slot = self.table.find(key)?;
        self.table.note_use(slot);
        Some(self.table.value(slot))
    }

    pub(super) fn lookup_mut(&mut self, key: &[u8]) -> Option<&mut [u8]> {
        let slot = self.table.find(key)?;
        self.table.note_use(slot);
        Some(self.table.value_mut(slot))
    }

    /// Inserts an entry whose key has none.
    pub(super) fn insert(&mut self, key: &[u8], value: &[u8]) {
        while self.len() >= self.capacity.max(1) {
            self.turn();
        }
        self.table.insert(key, value);
    }

    pub(super) fn remove(&mut self, key: &[u8]) -> bool {
        self.table.remove(key)
    }

    pub(super) fn clear(&mut self) {
        self.table.clear();
        self.hand = 0;
    }

    pub(super) fn entries(&self) -> &Table {
        &self.table
    }

    /// Moves the hand on by one slot.
    fn turn(&mut self) {
        self.hand = (self.hand + 1) % self.table.slots();
        if self.table.has_entry(self.hand) && !self.table.take_use(self.hand) {
            self.table.empty(self.hand);
        }
    }
}
