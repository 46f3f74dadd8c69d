//! Longest-prefix match over byte keys: a number of leading bits, and then the bits.

use super::table::Table;

/// Bytes of the number of bits, with which a key begins.
const LENGTH: usize = size_of::<u32>();
/// Bytes of the longest key that this trie takes. (The kernel's takes 260.)
const LONGEST_KEY: usize = LENGTH + 32;

/// Entries by prefix, without the bits after it. A lookup tries the lengths that any entry has, the longest first.
#[derive(Clone, Debug)]
pub(super) struct Trie {
    table: Table,
    /// The numbers of bits that entries have as their prefix, the greatest first, and how many entries have each.
    lengths: Vec<(u32, usize)>,
}

impl Trie {
    pub(super) fn new(key_size: usize, value_size: usize) -> Self {
        assert!((LENGTH..=LONGEST_KEY).contains(&key_size), "a key is a length and at most 32 bytes of bits");
        Self { table: Table::new(key_size, value_size), lengths: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn lookup(&self, key: &[u8]) -> Option<&[u8]> {
        self.find(key).map(|slot| self.table.value(slot))
    }

    pub(super) fn lookup_mut(&mut self, key: &[u8]) -> Option<&mut [u8]> {
        self.find(key).map(|slot| self.table.value_mut(slot))
    }

    pub(super) fn lookup_exactly(&mut self, key: &[u8]) -> Option<&mut [u8]> {
        self.table.lookup_mut(Prefix::new(key).shorten(bits(key)))
    }

    /// Inserts an entry whose prefix has none.
    pub(super) fn insert(&mut self, key: &[u8], value: &[u8]) {
        self.table.insert(Prefix::new(key).shorten(bits(key)), value);
        match self.place_of(bits(key)) {
            Ok(place) => self.lengths[place].1 += 1,
            Err(place) => self.lengths.insert(place, (bits(key), 1)),
        }
    }

    pub(super) fn remove(&mut self, key: &[u8]) -> bool {
        let is_removed = self.table.remove(Prefix::new(key).shorten(bits(key)));
        if is_removed {
            let place = self.place_of(bits(key)).expect("the length of every prefix is counted");
            self.lengths[place].1 -= 1;
            if self.lengths[place].1 == 0 {
                self.lengths.remove(place);
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

    /// Where a length stands among the others, or would stand.
    fn place_of(&self, length: u32) -> Result<usize, usize> {
        self.lengths.binary_search_by(|(other, _)| length.cmp(other))
    }

    /// The slot of the entry with the longest prefix.
    fn find(&self, key: &[u8]) -> Option<usize> {
        let mut prefix = Prefix::new(key);
        let most = bits(key);
        let lengths = self.lengths.iter().filter(|(length, _)| *length <= most);
        lengths.map(|(length, _)| *length).find_map(|length| self.table.find(prefix.shorten(length)))
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
