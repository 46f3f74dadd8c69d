//! A ring buffer of the latest entries: the newest evicts the oldest.

use std::collections::VecDeque;

/// A buffer that is bounded in bytes; entries are numbered from 0 and keep their numbers.
#[derive(Clone, Debug)]
pub struct RingBuffer<T> {
    entries: VecDeque<T>,
    /// Bytes of an entry.
    size: fn(&T) -> usize,
    bytes: usize,
    capacity: usize,
    next: u64,
}

/// How many entries were evicted before a reader read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missed(pub u64);

impl<T> RingBuffer<T> {
    /// A ring buffer for entries of together this many bytes, as `size` counts them.
    pub fn new(capacity: usize, size: fn(&T) -> usize) -> Self {
        Self { entries: VecDeque::new(), size, bytes: 0, capacity, next: 0 }
    }

    /// Adds the newest entry, and evicts the oldest ones that do not fit beside it. The newest entry always stays.
    pub fn push(&mut self, entry: T) {
        self.bytes += (self.size)(&entry);
        while self.bytes > self.capacity
            && let Some(oldest) = self.entries.pop_front()
        {
            self.bytes -= (self.size)(&oldest);
        }
        self.entries.push_back(entry);
        self.next += 1;
    }

    /// The number of the next entry: a reader of new entries starts here.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// All entries from a number on, oldest first, and how many of them were evicted.
    pub fn since(&self, number: u64) -> (impl Iterator<Item = &T>, Missed) {
        let oldest = self.next - self.entries.len() as u64;
        let missed = oldest.saturating_sub(number);
        let skipped = number.saturating_sub(oldest).min(self.entries.len() as u64) as usize;
        (self.entries.range(skipped..), Missed(missed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(capacity: usize, pushed: u64) -> RingBuffer<u64> {
        let mut ring = RingBuffer::new(capacity * size_of::<u64>(), size_of_val);
        (0..pushed).for_each(|entry| ring.push(entry));
        ring
    }

    #[test]
    fn the_newest_entry_evicts_the_oldest() {
        for (pushed, since, expected, missed) in [
            (0, 0, vec![], 0),
            (2, 0, vec![0, 1], 0),
            (5, 0, vec![2, 3, 4], 2),
            (5, 4, vec![4], 0),
            (5, 5, vec![], 0),
            (5, 9, vec![], 0),
        ] {
            let ring = ring(3, pushed);
            let (entries, gone) = ring.since(since);
            assert_eq!(
                (entries.copied().collect::<Vec<_>>(), gone),
                (expected, Missed(missed)),
                "{pushed} {since}"
            );
        }
    }

    #[test]
    fn entries_of_different_sizes_never_exceed_the_capacity_together() {
        let mut ring = RingBuffer::<Vec<u8>>::new(100, Vec::len);
        for size in [40, 40, 20, 30, 100, 1, 300, 60] {
            ring.push(vec![0; size]);
            let (entries, _) = ring.since(0);
            let sizes: Vec<usize> = entries.map(Vec::len).collect();
            assert_eq!(sizes.last(), Some(&size));
            assert!(sizes.len() == 1 || sizes.iter().sum::<usize>() <= 100, "{sizes:?}");
        }
        assert_eq!((ring.bytes, ring.next()), (60, 8));
    }
}
