//! An index from values to their numbers.

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::{BuildHasher, Hash};

/// Finds the numbers of values by hash. The owner of the index keeps the values, by number, so that no value is stored
/// twice.
#[derive(Clone, Debug, Default)]
pub struct NumberIndex {
    numbers: HashTable<u32>,
    hasher: RandomState,
}

impl NumberIndex {
    /// The hash of a value in this index.
    pub fn hash(&self, value: impl Hash) -> u64 {
        self.hasher.hash_one(value)
    }

    /// The number with this hash whose value `is_value` accepts.
    pub fn find(&self, hash: u64, is_value: impl Fn(u32) -> bool) -> Option<u32> {
        self.numbers.find(hash, |number| is_value(*number)).copied()
    }

    /// Adds the number of a value that has none yet. `value` returns the value of each number in the index, this one
    /// included.
    pub fn insert<V: Hash>(&mut self, hash: u64, number: u32, value: impl Fn(u32) -> V) {
        let hasher = &self.hasher;
        self.numbers.insert_unique(hash, number, |number| hasher.hash_one(value(*number)));
    }

    /// Removes the number of a value.
    pub fn remove(&mut self, hash: u64, number: u32) {
        if let Ok(entry) = self.numbers.find_entry(hash, |known| *known == number) {
            entry.remove();
        }
    }
}
