//! Longest-prefix match over byte keys: a number of leading bits, and then the bits.

use super::table::Table;
use std::collections::BTreeMap;

/// Bytes of the number of bits, with which a key begins.
const LENGTH: usize = size_of::<u32>();
/// Bytes of the longest key, as in the kernel.
const LONGEST_KEY: usize = LENGTH + 256;

/// Entries by prefix, without the bits after it. A lookup tries the lengths that any entry has, the longest first.
#[derive(Clone, Debug)]
pub(super) struct Trie {
    table: Table,
    /// How many entries have a prefix of so many bits.
    lengths: BTreeMap<u32, usize>,
}

impl Trie {
    pub(super) fn new(key_size: usize, value_size: usize) -> Self {
        Self { table: Table::new(key_size, value_size), lengths: BTreeMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn lookup(&self, key: &[u8]) -> Option<&[u8]> {
        let mut prefix = Prefix::new(key);
        self.lengths.range(..=bits(key)).rev().find_map(|(&bits, _)| self.table.lookup(prefix.shorten(bits)))
    }

    pub(super) fn lookup_mut(&mut self, key: &[u8]) -> Option<&mut [u8]> {
        let mut prefix = Prefix::new(key);
        let mut lengths = self.lengths.range(..=bits(key)).rev();
        let found = lengths.find(|(bits, _)| self.table.find(prefix.shorten(**bits)).is_some())?;
        self.table.lookup_mut(prefix.shorten(*found.0))
    }

    pub(super) fn lookup_exactly(&mut self, key: &[u8]) -> Option<&mut [u8]> {
        self.table.lookup_mut(Prefix::new(key).shorten(bits(key)))
    }

    /// Inserts an entry whose prefix has none.
    pub(super) fn insert(&mut self, key: &[u8], value: &[u8]) {
        self.table.insert(Prefix::new(key).shorten(bits(key)), value);
        *self.lengths.entry(bits(key)).or_default() += 1;
    }

    pub(super) fn remove(&mut self, key: &[u8]) -> bool {
        let is_removed = self.table.remove(Prefix::new(key).shorten(bits(key))).is_some();
        if is_removed {
            let count = self.lengths.get_mut(&bits(key)).expect("the length of every prefix is counted");
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&bits(key));
            }
        }
        is_removed
    }

    pub(super) fn clear(&mut self) {
        self.table.clear();
        self.lengths.clear();
    }

    pub(super) fn entries(&self) -> &Table {
        &self.table
    }
}

/// The number of bits that count in a key.
fn bits(key: &[u8]) -> u32 {
    let most = 8 * (key.len() - LENGTH) as u32;
    key.first_chunk().map_or(0, |length| u32::from_ne_bytes(*length)).min(most)
}

/// A key that becomes shorter.
struct Prefix {
    bytes: [u8; LONGEST_KEY],
    size: usize,
}

impl Prefix {
    #[inline]
    fn new(key: &[u8]) -> Self {
        let mut bytes = [0; LONGEST_KEY];
        bytes[..key.len()].copy_from_slice(key);
        Self { bytes, size: key.len() }
    }

    /// The key of the first `bits` bits, all others zero.
    #[inline]
    fn shorten(&mut self, bits: u32) -> &[u8] {
        let (length, rest) = self.bytes[..self.size].split_at_mut(LENGTH);
        length.copy_from_slice(&bits.to_ne_bytes());
        let (whole, part) = (bits as usize / 8, bits % 8);
        if let Some((first, after)) = rest.get_mut(whole..).and_then(<[u8]>::split_first_mut) {
            *first &= !(0xff_u8 >> part);
            after.fill(0);
        }
        &self.bytes[..self.size]
    }
}
