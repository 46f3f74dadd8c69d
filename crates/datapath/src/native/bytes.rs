//! Maps over bytes: what the kernel's kinds of maps do, in memory, for keys and values of any type.

mod array;
mod lru;
mod table;
mod trie;

use abi::map::{Kind, MapId};
use array::Array;
use lru::LruTable;
use table::Table;
use trie::Trie;

/// The entries of one map, which behaves as the kernel's map of its kind does.
///
/// Keys and values have the sizes of the map; every value is aligned to eight bytes.
#[derive(Clone, Debug)]
pub struct ByteMap {
    entries: Entries,
    capacity: usize,
}

#[derive(Clone, Debug)]
enum Entries {
    Hash(Table),
    LruHash(LruTable),
    LpmTrie(Trie),
    Array(Array),
}

/// There is no room for another entry, or no place for this key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

impl ByteMap {
    /// A map with room for so many entries. A map of kinds without entries of their own (events, sockets) has none here
    /// either, and a per-CPU array is the array of one CPU.
    pub fn new(map: MapId, capacity: u32) -> Self {
        let (key, value, capacity) = (map.key_size(), map.value_size(), capacity as usize);
        let entries = match map.kind() {
            Kind::Hash => Entries::Hash(Table::new(key, value)),
            Kind::LruHash => Entries::LruHash(LruTable::new(key, value, capacity)),
            Kind::LpmTrie => Entries::LpmTrie(Trie::new(key, value)),
            Kind::Array | Kind::PerCpuArray => Entries::Array(Array::new(value, capacity)),
            Kind::SocketMap | Kind::RingBuffer => Entries::Array(Array::new(value, 0)),
        };
        Self { entries, capacity }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        match &self.entries {
            Entries::Hash(table) => table.len(),
            Entries::LruHash(table) => table.len(),
            Entries::LpmTrie(trie) => trie.len(),
            Entries::Array(array) => array.len(),
        }
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a key; of a trie the one with the longest prefix.
    #[inline]
    pub fn lookup(&self, key: &[u8]) -> Option<&[u8]> {
        match &self.entries {
            Entries::Hash(table) => table.lookup(key),
            Entries::LruHash(table) => table.lookup(key),
            Entries::LpmTrie(trie) => trie.lookup(key),
            Entries::Array(array) => array.lookup(key),
        }
    }

    /// The value of a key, to be changed in place.
    pub fn lookup_mut(&mut self, key: &[u8]) -> Option<&mut [u8]> {
        match &mut self.entries {
            Entries::Hash(table) => table.lookup_mut(key),
            Entries::LruHash(table) => table.lookup_mut(key),
            Entries::LpmTrie(trie) => trie.lookup_mut(key),
            Entries::Array(array) => array.lookup_mut(key),
        }
    }

    /// Inserts an entry, or replaces the one with its key.
    pub fn update(&mut self, key: &[u8], value: &[u8]) -> Result<(), NoRoom> {
        if let Some(place) = self.lookup_exactly(key) {
            place.copy_from_slice(value);
            return Ok(());
        }
        match &mut self.entries {
            Entries::Hash(table) if table.len() < self.capacity => table.insert(key, value),
            Entries::LpmTrie(trie) if trie.len() < self.capacity => trie.insert(key, value),
            Entries::LruHash(table) => table.insert(key, value),
            _ => return Err(NoRoom),
        }
        Ok(())
    }

    /// Removes the entry of a key; false where there was none, and of an array.
    pub fn delete(&mut self, key: &[u8]) -> bool {
        match &mut self.entries {
            Entries::Hash(table) => table.remove(key),
            Entries::LruHash(table) => table.remove(key),
            Entries::LpmTrie(trie) => trie.remove(key),
            Entries::Array(_) => false,
        }
    }

    /// Removes every entry; the entries of an array become zero.
    pub fn clear(&mut self) {
        match &mut self.entries {
            Entries::Hash(table) => table.clear(),
            Entries::LruHash(table) => table.clear(),
            Entries::LpmTrie(trie) => trie.clear(),
            Entries::Array(array) => array.clear(),
        }
    }

    /// Key and value of every entry, in no order; of an array, none.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let table = match &self.entries {
            Entries::Hash(table) => Some(table),
            Entries::LruHash(table) => Some(table.entries()),
            Entries::LpmTrie(trie) => Some(trie.entries()),
            Entries::Array(_) => None,
        };
        table.into_iter().flat_map(Table::iter)
    }

    /// The value of a key itself, and of a trie no value of a shorter prefix.
    fn lookup_exactly(&mut self, key: &[u8]) -> Option<&mut [u8]> {
        match &mut self.entries {
            Entries::Hash(table) => table.lookup_mut(key),
            Entries::LruHash(table) => table.lookup_mut(key),
            Entries::LpmTrie(trie) => trie.lookup_exactly(key),
            Entries::Array(array) => array.lookup_mut(key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use zerocopy::IntoBytes;

    /// Numbers that look random, the same in every run.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, limit: u32) -> u32 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 32) as u32 % limit
        }
    }

    fn value(number: u32) -> [u8; 4] {
        number.to_ne_bytes()
    }

    #[test]
    fn a_hash_map_holds_what_an_ordered_map_holds_after_any_writes() {
        let mut numbers = Numbers(1);
        // Keys of eight bytes, so that two words make an entry.
        let (mut map, mut model) = (ByteMap::new(MapId::Groups, u32::MAX), BTreeMap::new());
        for step in 0..100_000 {
            let key = [numbers.below(40), numbers.below(40)];
            if numbers.below(3) == 0 {
                assert_eq!(map.delete(key.as_bytes()), model.remove(&key).is_some(), "step {step}");
            } else {
                map.update(key.as_bytes(), &value(step)).unwrap();
                model.insert(key, step);
            }
            assert_eq!(map.len(), model.len());
            let key = [numbers.below(40), numbers.below(40)];
            let expected = model.get(&key).copied().map(value);
            assert_eq!(map.lookup(key.as_bytes()), expected.as_ref().map(<[u8; 4]>::as_slice), "step {step}");
        }
        assert_eq!(map.iter().count(), model.len());
        map.clear();
        assert!(map.is_empty() && map.iter().next().is_none());
    }

    /// A key of the trie of verdicts with few different bits.
    fn prefix(numbers: &mut Numbers) -> [u8; 12] {
        let bits = numbers.below(65);
        let data: [u8; 8] = std::array::from_fn(|_| [0x00, 0x80, 0xff, 0x81][numbers.below(4) as usize]);
        let mut key = [0; 12];
        key[..4].copy_from_slice(&bits.to_ne_bytes());
        key[4..].copy_from_slice(&data);
        key
    }

    /// The prefix's bits as a number, without those after it.
    fn masked(key: &[u8; 12], bits: u32) -> u64 {
        let data = u64::from_be_bytes(*key.last_chunk().unwrap());
        data & u64::MAX.checked_shl(64 - bits).unwrap_or(0)
    }

    #[test]
    fn a_trie_finds_the_longest_of_the_prefixes_that_match() {
        let mut numbers = Numbers(2);
        let (mut map, mut model) = (ByteMap::new(MapId::Verdicts, u32::MAX), BTreeMap::new());
        let length = |key: &[u8; 12]| u32::from_ne_bytes(*key.first_chunk().unwrap());
        for step in 0..50_000 {
            let key = prefix(&mut numbers);
            let own = (length(&key), masked(&key, length(&key)));
            if numbers.below(3) == 0 {
                assert_eq!(map.delete(&key), model.remove(&own).is_some(), "step {step}");
            } else {
                map.update(&key, [step; 3].as_bytes()).unwrap();
                model.insert(own, step);
            }
            let key = prefix(&mut numbers);
            let found = (0..=length(&key)).rev().find_map(|bits| model.get(&(bits, masked(&key, bits))));
            let expected = found.map(|step| [*step; 3]);
            assert_eq!(map.lookup(&key), expected.as_ref().map(|value| value.as_bytes()), "step {step}");
            assert_eq!(
                map.lookup_mut(&key).map(|value| value.to_vec()),
                expected.map(|value| value.as_bytes().to_vec())
            );
        }
        assert_eq!(map.len(), model.len());
    }

    #[test]
    fn a_full_lru_map_removes_an_entry_that_was_not_used() {
        let map = MapId::Conntrack;
        let mut entries = ByteMap::new(map, 4);
        let key = |number: u8| [number; 40];
        let value = vec![0; map.value_size()];
        for number in 0..4 {
            entries.update(&key(number), &value).unwrap();
        }
        for number in [0, 1, 3] {
            assert!(entries.lookup(&key(number)).is_some());
        }
        entries.update(&key(9), &value).unwrap();
        let held = |entries: &ByteMap, number| entries.iter().any(|(found, _)| found == key(number));
        assert!(!held(&entries, 2), "the only one that no lookup found");
        assert!([0, 1, 3, 9].iter().all(|number| held(&entries, *number)));
        for number in 10..250 {
            entries.update(&key(number), &value).unwrap();
            assert_eq!(entries.len(), 4);
            assert!(held(&entries, number));
        }
        assert!(entries.delete(&key(249)) && !entries.delete(&key(249)));
    }

    #[test]
    fn a_full_hash_map_takes_no_new_key_and_replaces_an_old_one() {
        let mut map = ByteMap::new(MapId::CidrParents, 1);
        map.update(&value(1), &value(5)).unwrap();
        assert_eq!(map.update(&value(2), &value(5)), Err(NoRoom));
        map.update(&value(1), &value(6)).unwrap();
        assert_eq!(map.lookup(&value(1)), Some(value(6).as_slice()));
    }

    #[test]
    fn an_array_has_every_entry_from_the_start_and_none_outside() {
        let mut map = ByteMap::new(MapId::Config, 1);
        assert_eq!(map.lookup(&value(0)), Some([0; 52].as_slice()));
        assert_eq!(map.update(&value(1), &[1; 52]), Err(NoRoom));
        map.update(&value(0), &[1; 52]).unwrap();
        assert!(!map.delete(&value(0)));
        assert_eq!(map.lookup(&value(0)), Some([1; 52].as_slice()));
    }
}
