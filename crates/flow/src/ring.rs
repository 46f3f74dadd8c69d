//! A ring buffer of the latest entries: the newest evicts the oldest.

use std::collections::VecDeque;

/// A bounded buffer; entries are numbered from 0 and keep their numbers.
#[derive(Clone, Debug)]
pub struct RingBuffer<T> {
    entries: VecDeque<T>,
    capacity: usize,
    next: u64,
}

/// How many entries were evicted before a reader read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missed(pub u64);

impl<T> RingBuffer<T> {
    /// A ring buffer with this capacity, at least 1.
    pub fn new(capacity: usize) -> Self {
        Self { entries: VecDeque::new(), capacity: capacity.max(1), next: 0 }
    }

    /// Adds the newest entry.
    pub fn push(&mut self, entry: T) {
        if self.entries.len() == self.capacity {
            self.entries.pop_front();
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

    /// The last entries that `matches` accepts, oldest first.
    pub fn last(&self, count: usize, matches: impl Fn(&T) -> bool) -> Vec<&T> {
        let mut found: Vec<&T> =
            self.entries.iter().rev().filter(|entry| matches(entry)).take(count).collect();
        found.reverse();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(capacity: usize, pushed: u64) -> RingBuffer<u64> {
        let mut ring = RingBuffer::new(capacity);
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
    fn the_last_matching_entries_are_in_order() {
        assert_eq!(ring(10, 8).last(2, |entry| entry % 2 == 0), [&4, &6]);
    }
}
