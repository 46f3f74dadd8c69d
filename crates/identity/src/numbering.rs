//! Numbers that stand for values: the same value, the same number, for as long as the value is held.

use crate::sequence::Sequence;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::ops::RangeInclusive;

/// Gives each value a number from a range, counts its holders, and hands numbers out in turn: one that was given up
/// comes back only after the whole range went by, so that a row, flow or file that still holds the number is not taken for another.
#[derive(Clone, Debug)]
pub struct Numbering<K> {
    sequence: Sequence,
    /// The numbers by their values, which are held once.
    numbers: HashTable<u32>,
    hasher: RandomState,
    held: BTreeMap<u32, Held<K>>,
}

/// A value that has a number, and how many hold it.
#[derive(Clone, Debug)]
struct Held<K> {
    value: K,
    holders: usize,
}

/// Every number of the range stands for something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exhausted {
    range: RangeInclusive<u32>,
}

/// A number that was to be restored cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// The number is outside the range that is handed out.
    OutOfRange(u32),
    /// The number, or the value, is already spoken for.
    Taken(u32),
}

impl<K: Clone + Eq + Hash> Numbering<K> {
    /// No number stands for anything yet.
    pub fn new(range: RangeInclusive<u32>) -> Self {
        Self {
            sequence: Sequence::new(range),
            numbers: HashTable::new(),
            hasher: RandomState::default(),
            held: BTreeMap::new(),
        }
    }

    /// Holds the value once more and tells its number.
    pub fn acquire(&mut self, value: &K) -> Result<u32, Exhausted> {
        self.hold(self.number(value), || value.clone())
    }

    /// The same for what the value is made of, which then is made only where it is not there yet.
    pub fn acquire_from<Q: Eq + Hash + ?Sized>(&mut self, value: &Q) -> Result<u32, Exhausted>
    where
        K: Borrow<Q> + for<'q> From<&'q Q>,
    {
        self.hold(self.number(value), || value.into())
    }

    /// Gives up one hold; the value is returned when that was the last, and then the number stands for nothing.
    pub fn release(&mut self, number: u32) -> Option<K> {
        let held = self.held.get_mut(&number)?;
        held.holders = held.holders.saturating_sub(1);
        if held.holders == 0 { self.remove(number) } else { None }
    }

    /// The number of the value, where it has one.
    pub fn number<Q: Eq + Hash + ?Sized>(&self, value: &Q) -> Option<u32>
    where
        K: Borrow<Q>,
    {
        let is_of_value = |number: &u32| self.held[number].value.borrow() == value;
        self.numbers.find(self.hasher.hash_one(value), is_of_value).copied()
    }

    /// What the number stands for.
    pub fn value(&self, number: u32) -> Option<&K> {
        self.held.get(&number).map(|held| &held.value)
    }

    /// All numbers that stand for something, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &K)> {
        self.held.iter().map(|(number, held)| (*number, &held.value))
    }

    /// The number that is tried first when a new value comes: to be persisted beside the values.
    pub fn next(&self) -> u32 {
        self.sequence.next()
    }

    /// Makes a number stand for a value again, as before a restart, with no holder yet.
    pub fn restore(&mut self, number: u32, value: K) -> Result<(), Conflict> {
        if !self.sequence.contains(number) {
            return Err(Conflict::OutOfRange(number));
        }
        if self.held.contains_key(&number) || self.number(&value).is_some() {
            return Err(Conflict::Taken(number));
        }
        self.insert(number, value);
        self.sequence.continue_above(number);
        Ok(())
    }

    /// Continues to hand out from here, as [`Self::next`] told before a restart.
    pub fn continue_at(&mut self, next: u32) -> Result<(), Conflict> {
        if self.sequence.continue_at(next) { Ok(()) } else { Err(Conflict::OutOfRange(next)) }
    }

    /// Gives no value a number up to this one, which rows, flows or files may still hold.
    pub fn continue_above(&mut self, number: u32) {
        self.sequence.continue_above(number);
    }

    /// Gives up every number without a holder: what was restored and not acquired again.
    pub fn sweep(&mut self) -> Vec<(u32, K)> {
        let idle: Vec<u32> =
            self.held.iter().filter(|(_, held)| held.holders == 0).map(|(n, _)| *n).collect();
        idle.into_iter().filter_map(|number| Some((number, self.remove(number)?))).collect()
    }

    fn hold(&mut self, known: Option<u32>, value: impl FnOnce() -> K) -> Result<u32, Exhausted> {
        let number = match known {
            Some(number) => number,
            None => self.assign(value())?,
        };
        if let Some(held) = self.held.get_mut(&number) {
            held.holders += 1;
        }
        Ok(number)
    }

    fn assign(&mut self, value: K) -> Result<u32, Exhausted> {
        let is_full = self.held.len() as u64 == self.sequence.count();
        let free = if is_full { None } else { self.sequence.take(|number| self.held.contains_key(&number)) };
        let Some(number) = free else {
            return Err(Exhausted { range: self.sequence.range().clone() });
        };
        self.insert(number, value);
        Ok(number)
    }

    fn insert(&mut self, number: u32, value: K) {
        let hash = self.hasher.hash_one(&value);
        self.held.insert(number, Held { value, holders: 0 });
        let (held, hasher) = (&self.held, &self.hasher);
        self.numbers.insert_unique(hash, number, |number| hasher.hash_one(&held[number].value));
    }

    fn remove(&mut self, number: u32) -> Option<K> {
        let held = self.held.remove(&number)?;
        let hash = self.hasher.hash_one(&held.value);
        if let Ok(entry) = self.numbers.find_entry(hash, |known| *known == number) {
            entry.remove();
        }
        Some(held.value)
    }
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "all numbers from {} to {} are taken", self.range.start(), self.range.end())
    }
}

impl std::error::Error for Exhausted {}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfRange(number) => write!(f, "number {number} is not one that is handed out"),
            Self::Taken(number) => write!(f, "number {number}, or what it stood for, is already taken"),
        }
    }
}

impl std::error::Error for Conflict {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn one_value_has_one_number_until_its_last_holder_leaves() {
        let mut numbering = Numbering::new(5..=9);
        assert_eq!(numbering.acquire(&"a"), Ok(5));
        assert_eq!(numbering.acquire(&"b"), Ok(6));
        assert_eq!(numbering.acquire(&"a"), Ok(5));
        assert_eq!(numbering.release(5), None);
        assert_eq!(numbering.value(5), Some(&"a"));
        assert_eq!(numbering.release(5), Some("a"));
        assert_eq!((numbering.number(&"a"), numbering.value(5)), (None, None));
        assert_eq!(numbering.release(5), None);
    }

    #[test]
    fn a_number_given_up_comes_back_last() {
        let mut numbering = Numbering::new(1..=3);
        assert_eq!(numbering.acquire(&"a"), Ok(1));
        numbering.release(1);
        assert_eq!(numbering.acquire(&"b"), Ok(2));
        assert_eq!(numbering.acquire(&"c"), Ok(3));
        assert_eq!(numbering.acquire(&"d"), Ok(1));
    }

    #[test]
    fn a_full_range_is_an_error_and_recovers() {
        let mut numbering = Numbering::new(1..=2);
        numbering.acquire(&"a").unwrap();
        numbering.acquire(&"b").unwrap();
        let error = numbering.acquire(&"c").unwrap_err();
        assert_eq!(error.to_string(), "all numbers from 1 to 2 are taken");
        numbering.release(2);
        assert_eq!(numbering.acquire(&"c"), Ok(2));
    }

    #[test]
    fn the_last_number_of_all_can_be_used() {
        let mut numbering = Numbering::new(u32::MAX - 1..=u32::MAX);
        assert_eq!(numbering.acquire(&"a"), Ok(u32::MAX - 1));
        assert_eq!(numbering.acquire(&"b"), Ok(u32::MAX));
        assert!(numbering.acquire(&"c").is_err());
        numbering.release(u32::MAX - 1);
        assert_eq!(numbering.acquire(&"c"), Ok(u32::MAX - 1));
    }

    #[test]
    fn numbers_survive_a_restart_and_the_unused_are_swept() {
        let mut before = Numbering::new(1..=9);
        for value in ["a", "b", "c"] {
            before.acquire(&value).unwrap();
        }
        before.release(3);
        let mut after = Numbering::new(1..=9);
        for (number, value) in before.iter() {
            after.restore(number, *value).unwrap();
        }
        after.continue_at(before.next()).unwrap();
        assert_eq!(after.acquire(&"b"), Ok(2));
        assert_eq!(after.acquire(&"d"), Ok(4), "3 was given up just before the restart");
        assert_eq!(after.sweep(), [(1, "a")]);
        assert_eq!(after.iter().map(|(number, _)| number).collect::<Vec<_>>(), [2, 4]);
    }

    #[test]
    fn a_value_is_one_allocation_however_many_there_are() {
        let mut numbering = Numbering::new(0..=999);
        let values: Vec<Arc<str>> = (0..1000).map(|value| value.to_string().into()).collect();
        for (number, value) in (0..).zip(&values) {
            assert_eq!(numbering.acquire(value), Ok(number));
            assert_eq!(Arc::strong_count(value), 2);
        }
        for (number, value) in (0..).zip(&values).step_by(2) {
            assert_eq!(numbering.release(number).as_ref(), Some(value));
        }
        for (number, value) in (0..).zip(&values) {
            let expected = (number % 2 == 1).then_some(number);
            assert_eq!((numbering.number(value), numbering.number::<str>(value)), (expected, expected));
        }
    }

    #[test]
    fn what_cannot_be_restored_is_refused() {
        let mut numbering = Numbering::new(1..=9);
        numbering.restore(4, "a").unwrap();
        assert_eq!(numbering.restore(10, "b"), Err(Conflict::OutOfRange(10)));
        assert_eq!(numbering.restore(4, "b"), Err(Conflict::Taken(4)));
        assert_eq!(numbering.restore(5, "a"), Err(Conflict::Taken(5)));
        assert_eq!(numbering.acquire(&"b"), Ok(5), "numbers continue after the highest restored one");
    }
}
