//! A hash table of byte keys and byte values of fixed sizes.

use std::cell::Cell;
use zerocopy::IntoBytes;

/// Bytes of a word, to which keys and values are aligned.
const WORD: usize = size_of::<u64>();
/// The tag of a slot without an entry.
const EMPTY: u8 = 0;
/// The bit of a tag that says that the slot has an entry. Below it are bits of the key's hash.
const TAKEN: u8 = 0x80;
/// The bit of a tag that says that the entry was used.
const USED: u8 = 0x40;

/// Slots for entries. An entry is in the slot that its key's hash names, or in the next free one after it.
#[derive(Clone, Debug)]
pub(super) struct Table {
    key_size: usize,
    value_size: usize,
    /// Words of a key, and of a whole entry.
    key_words: usize,
    entry_words: usize,
    /// A tag for each slot; a power of two of them, or none.
    tags: Vec<Cell<u8>>,
    /// For each slot the key, and then the value, each filled up with zeros to whole words.
    words: Vec<u64>,
    len: usize,
}

impl Table {
    pub(super) fn new(key_size: usize, value_size: usize) -> Self {
        let key_words = key_size.div_ceil(WORD);
        let entry_words = key_words + value_size.div_ceil(WORD);
        Self { key_size, value_size, key_words, entry_words, tags: Vec::new(), words: Vec::new(), len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn lookup(&self, key: &[u8]) -> Option<&[u8]> {
        self.find(key).map(|slot| self.value(slot))
    }

    pub(super) fn lookup_mut(&mut self, key: &[u8]) -> Option<&mut [u8]> {
        self.find(key).map(|slot| self.value_mut(slot))
    }

    /// Inserts an entry whose key has none.
    pub(super) fn insert(&mut self, key: &[u8], value: &[u8]) {
        assert_eq!((key.len(), value.len()), (self.key_size, self.value_size), "an entry of this map");
        if 4 * (self.len + 1) > 3 * self.tags.len() {
            self.grow();
        }
        let slot = self.take_slot(hash(key));
        let bytes = self.words[slot * self.entry_words..][..self.entry_words].as_mut_bytes();
        bytes[..key.len()].copy_from_slice(key);
        bytes[self.key_words * WORD..][..value.len()].copy_from_slice(value);
    }

    /// Removes the entry of a key; false where there was none.
    pub(super) fn remove(&mut self, key: &[u8]) -> bool {
        self.find(key).map(|slot| self.empty(slot)).is_some()
    }

    /// Removes the entry of a slot, and moves entries that its slot had pushed on back, so that no search ends early.
    pub(super) fn empty(&mut self, slot: usize) {
        let (mut hole, mut next) = (slot, self.after(slot));
        while self.tags[next].get() != EMPTY {
            let home = hash(self.key(next)) as usize & (self.tags.len() - 1);
            let distance = |from: usize| next.wrapping_sub(from) & (self.tags.len() - 1);
            if distance(home) >= distance(hole) {
                self.tags[hole].set(self.tags[next].get());
                let from = next * self.entry_words;
                self.words.copy_within(from..from + self.entry_words, hole * self.entry_words);
                hole = next;
            }
            next = self.after(next);
        }
        self.tags[hole].set(EMPTY);
        self.words[hole * self.entry_words..][..self.entry_words].fill(0);
        self.len -= 1;
    }

    pub(super) fn clear(&mut self) {
        self.tags.fill(Cell::new(EMPTY));
        self.words.fill(0);
        self.len = 0;
    }

    /// Key and value of every entry.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        (0..self.slots()).filter(|slot| self.has_entry(*slot)).map(|slot| (self.key(slot), self.value(slot)))
    }

    /// How many slots there are, with and without entries.
    pub(super) fn slots(&self) -> usize {
        self.tags.len()
    }

    pub(super) fn has_entry(&self, slot: usize) -> bool {
        self.tags[slot].get() != EMPTY
    }

    /// Notes that the entry of a slot was used.
    pub(super) fn note_use(&self, slot: usize) {
        self.tags[slot].set(self.tags[slot].get() | USED);
    }

    /// Takes back the note that the entry of a slot was used; false where there was none.
    pub(super) fn take_use(&self, slot: usize) -> bool {
        let tag = self.tags[slot].get();
        self.tags[slot].set(tag & !USED);
        tag & USED != 0
    }

    /// The slot of a key's entry.
    #[inline]
    pub(super) fn find(&self, key: &[u8]) -> Option<usize> {
        if self.tags.is_empty() {
            return None;
        }
        let hash = hash(key);
        let mut slot = hash as usize & (self.tags.len() - 1);
        loop {
            match self.tags[slot].get() & !USED {
                EMPTY => return None,
                tag if tag == tag_of(hash) && self.is_key(slot, key) => return Some(slot),
                _ => slot = self.after(slot),
            }
        }
    }

    #[inline]
    pub(super) fn value(&self, slot: usize) -> &[u8] {
        let end = (slot + 1) * self.entry_words;
        &self.words[slot * self.entry_words + self.key_words..end].as_bytes()[..self.value_size]
    }

    pub(super) fn value_mut(&mut self, slot: usize) -> &mut [u8] {
        let end = (slot + 1) * self.entry_words;
        &mut self.words[slot * self.entry_words + self.key_words..end].as_mut_bytes()[..self.value_size]
    }

    fn key(&self, slot: usize) -> &[u8] {
        &self.words[slot * self.entry_words..][..self.key_words].as_bytes()[..self.key_size]
    }

    #[inline]
    fn is_key(&self, slot: usize, key: &[u8]) -> bool {
        let stored = &self.words[slot * self.entry_words..][..self.key_words];
        key.len() == self.key_size && words(key).eq(stored.iter().copied())
    }

    #[inline]
    fn after(&self, slot: usize) -> usize {
        (slot + 1) & (self.tags.len() - 1)
    }

    /// Takes the first free slot for a key with this hash.
    fn take_slot(&mut self, hash: u64) -> usize {
        let mut slot = hash as usize & (self.tags.len() - 1);
        while self.has_entry(slot) {
            slot = self.after(slot);
        }
        self.tags[slot].set(tag_of(hash));
        self.len += 1;
        slot
    }

    fn grow(&mut self) {
        /// Slots of the smallest table that has any.
        const FIRST: usize = 16;
        let slots = (2 * self.tags.len()).max(FIRST);
        let tags = std::mem::replace(&mut self.tags, vec![Cell::new(EMPTY); slots]);
        let words = std::mem::replace(&mut self.words, vec![0; slots * self.entry_words]);
        self.len = 0;
        for (tag, entry) in tags.iter().zip(words.chunks_exact(self.entry_words)) {
            if tag.get() != EMPTY {
                let slot = self.take_slot(hash(&entry[..self.key_words].as_bytes()[..self.key_size]));
                self.words[slot * self.entry_words..][..self.entry_words].copy_from_slice(entry);
                self.tags[slot].set(tag.get());
            }
        }
    }
}

/// The tag of a slot whose entry has a key with this hash; its bits are others than those that choose the slot.
#[inline]
fn tag_of(hash: u64) -> u8 {
    TAKEN | (hash >> (u64::BITS - 6)) as u8
}

/// Mixes the words of a key, each by a multiplication to twice its width.
#[inline]
fn hash(key: &[u8]) -> u64 {
    /// 2^64 divided by the golden ratio, made odd.
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    words(key).fold(FACTOR, |sum, word| {
        let product = u128::from(sum ^ word) * u128::from(FACTOR);
        (product >> 64) as u64 ^ product as u64
    })
}

/// The bytes as words, the last one filled up with zeros.
#[inline]
fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    let (words, rest) = bytes.as_chunks::<WORD>();
    let last = (!rest.is_empty()).then(|| {
        let mut last = [0; WORD];
        last[..rest.len()].copy_from_slice(rest);
        last
    });
    words.iter().copied().chain(last).map(u64::from_ne_bytes)
}
