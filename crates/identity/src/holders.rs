//! Numbers that are free again when their last holder releases them.

use crate::sequence::Sequence;
use foldhash::HashMap;
use std::ops::RangeInclusive;

/// Numbers from a range, each with a value and a count of holders. The numbers come from a [`Sequence`].
#[derive(Clone, Debug)]
pub struct Holders<V> {
    sequence: Sequence,
    held: HashMap<u32, Held<V>>,
}

/// A value, and how many holders its number has.
#[derive(Clone, Debug)]
struct Held<V> {
    value: V,
    holders: u32,
}

impl<V> Holders<V> {
    /// All numbers of the range are free.
    pub fn new(range: RangeInclusive<u32>) -> Self {
        Self { sequence: Sequence::new(range), held: HashMap::default() }
    }

    /// Gives the value a free number, with one holder; none if no number is free.
    pub fn insert(&mut self, value: V) -> Option<u32> {
        let number = self.take()?;
        self.held.insert(number, Held { value, holders: 1 });
        Some(number)
    }

    /// A free number of the range; none if all are in use. The next call starts behind it.
    pub(crate) fn take(&mut self) -> Option<u32> {
        let is_full = self.held.len() as u64 == self.sequence.count();
        if is_full { None } else { self.sequence.take(|number| self.held.contains_key(&number)) }
    }

    /// Moves value and holders of a number in use to another number, which is free.
    pub(crate) fn renumber(&mut self, before: u32, after: u32) {
        if let Some(held) = self.held.remove(&before) {
            self.held.insert(after, held);
            self.sequence.continue_above(after);
        }
    }

    /// Adds a holder to a number in use.
    pub fn hold(&mut self, number: u32) {
        if let Some(held) = self.held.get_mut(&number) {
            held.holders += 1;
        }
    }

    /// Removes a holder. If it was the last one, the number is free, and the value is returned.
    pub fn release(&mut self, number: u32) -> Option<V> {
        let held = self.held.get_mut(&number)?;
        held.holders = held.holders.saturating_sub(1);
        if held.holders == 0 { self.held.remove(&number).map(|held| held.value) } else { None }
    }

    /// The value of a number in use.
    pub fn value(&self, number: u32) -> Option<&V> {
        self.held.get(&number).map(|held| &held.value)
    }

    /// How many numbers are in use.
    pub fn count(&self) -> usize {
        self.held.len()
    }

    /// The numbers in use, with their values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &V)> {
        let mut all: Vec<(u32, &V)> = self.held.iter().map(|(number, held)| (*number, &held.value)).collect();
        all.sort_unstable_by_key(|(number, _)| *number);
        all.into_iter()
    }

    /// Gives no value a number up to this one, which rows, flows or files may still hold.
    pub fn continue_above(&mut self, number: u32) {
        self.sequence.continue_above(number);
    }

    /// The sequence of the numbers.
    pub(crate) fn sequence(&self) -> &Sequence {
        &self.sequence
    }

    /// Tries this number first; returns whether it is of the range.
    pub(crate) fn continue_at(&mut self, next: u32) -> bool {
        self.sequence.continue_at(next)
    }

    /// Gives a value a free number, without a holder.
    pub(crate) fn restore(&mut self, number: u32, value: V) {
        self.held.insert(number, Held { value, holders: 0 });
        self.sequence.continue_above(number);
    }

    /// The numbers without a holder, in order.
    pub(crate) fn idle(&self) -> Vec<u32> {
        let idle = self.held.iter().filter(|(_, held)| held.holders == 0);
        let mut idle: Vec<u32> = idle.map(|(number, _)| *number).collect();
        idle.sort_unstable();
        idle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_in_use_until_its_last_holder_releases_it() {
        let mut numbers = Holders::new(1..=u32::MAX);
        let one = numbers.insert("a").unwrap();
        numbers.hold(one);
        assert_ne!(numbers.insert("b"), Some(one));
        assert_eq!((numbers.release(one), numbers.count()), (None, 2));
        assert_eq!((numbers.release(one), numbers.count()), (Some("a"), 1));
        assert_eq!(numbers.release(one), None);
    }

    #[test]
    fn numbers_that_wrap_around_pass_over_numbers_in_use() {
        let mut numbers = Holders::new(1..=u32::MAX);
        let first = numbers.insert(());
        numbers.continue_above(u32::MAX);
        assert_eq!((first, numbers.insert(())), (Some(1), Some(2)));
    }
}
