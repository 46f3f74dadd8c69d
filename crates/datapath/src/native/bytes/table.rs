//! A hash table of byte keys and byte values of fixed sizes.

use zerocopy::IntoBytes;

/// A slot without an entry.
const EMPTY: u32 = u32::MAX;
/// Bytes of a word, to which keys and values are aligned.
const WORD: usize = size_of::<u64>();

/// Entries one after the other, and slots that hold the number of an entry near the place that its key's hash asks for.
#[derive(Clone, Debug)]
pub(super) struct Table {
    key_size: usize,
    value_size: usize,
    /// Words of a key, and of a whole entry.
    key_words: usize,
    entry_words: usize,
    /// Each entry: the key, then the value, each filled up with zeros to whole words.
    words: Vec<u64>,
    /// A power of two of them, at least twice as many as entries.
    slots: Vec<u32>,
}

impl Table {
    pub(super) fn new(key_size: usize, value_size: usize) -> Self {
        let key_words = key_size.div_ceil(WORD);
        let entry_words = key_words + value_size.div_ceil(WORD);
        Self { key_size, value_size, key_words, entry_words, words: Vec::new(), slots: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.words.len() / self.entry_words
    }

    #[inline]
    pub(super) fn lookup(&self, key: &[u8]) -> Option<&[u8]> {
        self.find(key).map(|entry| self.value(entry))
    }

    pub(super) fn lookup_mut(&mut self, key: &[u8]) -> Option<&mut [u8]> {
        let start = self.find(key)? * self.entry_words + self.key_words;
        let end = start - self.key_words + self.entry_words;
        Some(&mut self.words[start..end].as_mut_bytes()[..self.value_size])
    }

    /// Inserts an entry whose key has none.
    pub(super) fn insert(&mut self, key: &[u8], value: &[u8]) {
        assert_eq!((key.len(), value.len()), (self.key_size, self.value_size), "an entry of this map");
        let entry = self.len();
        if 2 * (entry + 1) > self.slots.len() {
            self.grow();
        }
        self.words.resize(self.words.len() + self.entry_words, 0);
        let bytes = self.words[entry * self.entry_words..].as_mut_bytes();
        bytes[..key.len()].copy_from_slice(key);
        bytes[self.key_words * WORD..][..value.len()].copy_from_slice(value);
        self.claim_slot(entry);
    }

    /// Removes an entry. The last entry takes its number, which is returned.
    pub(super) fn remove(&mut self, key: &[u8]) -> Option<usize> {
        let slot = self.slot_of(key, |_| true)?;
        let entry = self.slots[slot] as usize;
        self.free_slot(slot);
        let last = self.len() - 1;
        if entry != last {
            let slot = self.slot_of(self.key(last), |found| found == last);
            self.slots[slot.expect("every entry has a slot")] = entry as u32;
            let (to, from) = (entry * self.entry_words, last * self.entry_words);
            self.words.copy_within(from..from + self.entry_words, to);
        }
        self.words.truncate(last * self.entry_words);
        Some(entry)
    }

    pub(super) fn clear(&mut self) {
        self.words.clear();
        self.slots.fill(EMPTY);
    }

    /// Key and value of every entry, by number.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        (0..self.len()).map(|entry| (self.key(entry), self.value(entry)))
    }

    /// The number of the entry with this key.
    #[inline]
    pub(super) fn find(&self, key: &[u8]) -> Option<usize> {
        self.slot_of(key, |_| true).map(|slot| self.slots[slot] as usize)
    }

    #[inline]
    pub(super) fn key(&self, entry: usize) -> &[u8] {
        &self.words[entry * self.entry_words..][..self.key_words].as_bytes()[..self.key_size]
    }

    #[inline]
    fn value(&self, entry: usize) -> &[u8] {
        let end = (entry + 1) * self.entry_words;
        &self.words[entry * self.entry_words + self.key_words..end].as_bytes()[..self.value_size]
    }

    /// The slot of an entry with this key that is the one sought.
    #[inline]
    fn slot_of(&self, key: &[u8], is_sought: impl Fn(usize) -> bool) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let mut slot = self.home(key);
        loop {
            let entry = self.slots[slot];
            if entry == EMPTY {
                return None;
            }
            if self.key(entry as usize) == key && is_sought(entry as usize) {
                return Some(slot);
            }
            slot = self.after(slot);
        }
    }

    /// The slot at which the search for a key begins.
    #[inline]
    fn home(&self, key: &[u8]) -> usize {
        hash(key) as usize & (self.slots.len() - 1)
    }

    #[inline]
    fn after(&self, slot: usize) -> usize {
        (slot + 1) & (self.slots.len() - 1)
    }

    fn claim_slot(&mut self, entry: usize) {
        let mut slot = self.home(self.key(entry));
        while self.slots[slot] != EMPTY {
            slot = self.after(slot);
        }
        self.slots[slot] = u32::try_from(entry).expect("a table has fewer than 2^32 entries");
    }

    /// Empties a slot, and moves up those after it that were pushed on by it, so that no search ends early.
    fn free_slot(&mut self, slot: usize) {
        let (mut hole, mut next) = (slot, self.after(slot));
        while self.slots[next] != EMPTY {
            let home = self.home(self.key(self.slots[next] as usize));
            let distance = |from: usize, to: usize| to.wrapping_sub(from) & (self.slots.len() - 1);
            if distance(home, next) >= distance(hole, next) {
                self.slots[hole] = self.slots[next];
                hole = next;
            }
            next = self.after(next);
        }
        self.slots[hole] = EMPTY;
    }

    fn grow(&mut self) {
        /// Slots of the smallest table that has any.
        const FIRST: usize = 16;
        let slots = (2 * self.slots.len()).max(FIRST);
        self.slots.clear();
        self.slots.resize(slots, EMPTY);
        (0..self.len()).for_each(|entry| self.claim_slot(entry));
    }
}

/// Mixes the bytes word by word, each by a multiplication to twice its width.
#[inline]
fn hash(bytes: &[u8]) -> u64 {
    /// An odd number with as many ones as zeros.
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |sum: u64, word: u64| {
        let product = u128::from(sum ^ word) * u128::from(FACTOR);
        (product >> 64) as u64 ^ product as u64
    };
    let (words, rest) = bytes.as_chunks::<WORD>();
    let sum = words.iter().fold(FACTOR, |sum, word| mix(sum, u64::from_ne_bytes(*word)));
    let mut last = [0; WORD];
    last[..rest.len()].copy_from_slice(rest);
    mix(sum, u64::from_ne_bytes(last))
}
