//! A hash table that makes room for new entries by removing entries that were not used lately.

use super::table::Table;
use std::cell::Cell;

/// Entries of which each use is noted; a hand goes round, takes the notes back, and removes the first entry without one.
#[derive(Clone, Debug)]
pub(super) struct LruTable {
    table: Table,
    capacity: usize,
    /// By the entry's number: whether it was used since the hand passed.
    used: Vec<Cell<bool>>,
    hand: usize,
}

impl LruTable {
    pub(super) fn new(key_size: usize, value_size: usize, capacity: usize) -> Self {
        Self { table: Table::new(key_size, value_size), capacity, used: Vec::new(), hand: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn lookup(&self, key: &[u8]) -> Option<&[u8]> {
        self.used[self.table.find(key)?].set(true);
        self.table.lookup(key)
    }

    pub(super) fn lookup_mut(&mut self, key: &[u8]) -> Option<&mut [u8]> {
        self.used[self.table.find(key)?].set(true);
        self.table.lookup_mut(key)
    }

    /// Inserts an entry whose key has none.
    pub(super) fn insert(&mut self, key: &[u8], value: &[u8]) {
        if self.len() >= self.capacity {
            self.make_room();
        }
        self.table.insert(key, value);
        self.used.push(Cell::new(false));
    }

    pub(super) fn remove(&mut self, key: &[u8]) -> bool {
        // The last entry takes the number of the one that goes.
        self.table.remove(key).map(|entry| self.used.swap_remove(entry)).is_some()
    }

    pub(super) fn clear(&mut self) {
        self.table.clear();
        self.used.clear();
        self.hand = 0;
    }

    pub(super) fn entries(&self) -> &Table {
        &self.table
    }

    fn make_room(&mut self) {
        while self.len() > 0 {
            if self.hand >= self.len() {
                self.hand = 0;
            }
            if !self.used[self.hand].replace(false) {
                let key = self.table.key(self.hand).to_vec();
                self.remove(&key);
                return;
            }
            self.hand += 1;
        }
    }
}
