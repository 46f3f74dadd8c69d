//! An array of byte values, indexed by a `u32`.

use zerocopy::IntoBytes;

/// Values one after the other, all zero at first.
#[derive(Clone, Debug)]
pub(super) struct Array {
    value_size: usize,
    value_words: usize,
    words: Vec<u64>,
    len: usize,
}

impl Array {
    pub(super) fn new(value_size: usize, len: usize) -> Self {
        let value_words = value_size.div_ceil(size_of::<u64>());
        Self { value_size, value_words, words: vec![0; len * value_words], len }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn lookup(&self, key: &[u8]) -> Option<&[u8]> {
        let start = self.start(key)?;
        Some(&self.words[start..start + self.value_words].as_bytes()[..self.value_size])
    }

    pub(super) fn lookup_mut(&mut self, key: &[u8]) -> Option<&mut [u8]> {
        let start = self.start(key)?;
        Some(&mut self.words[start..start + self.value_words].as_mut_bytes()[..self.value_size])
    }

    pub(super) fn clear(&mut self) {
        self.words.fill(0);
    }

    /// The first word of a value.
    fn start(&self, key: &[u8]) -> Option<usize> {
        let index = u32::from_ne_bytes(*key.first_chunk()?) as usize;
        (index < self.len).then_some(index * self.value_words)
    }
}
