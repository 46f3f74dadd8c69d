//! Numbers of values: a value keeps its number until its last holder releases it.

use crate::holders::Holders;
use crate::number_index::NumberIndex;
use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash;
use std::ops::RangeInclusive;

/// Gives each value a number from a range and counts its holders. A number that was released comes back only after the
/// whole range was used, so that a row, flow or file with the old number does not get the meaning of another value.
#[derive(Clone, Debug)]
pub struct Numbering<K> {
    index: NumberIndex,
    held: Holders<K>,
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
    /// No value has a number yet.
    pub fn new(range: RangeInclusive<u32>) -> Self {
        Self { index: NumberIndex::default(), held: Holders::new(range) }
    }

    /// Adds a holder to the value, and returns its number.
    pub fn acquire(&mut self, value: &K) -> Result<u32, Exhausted> {
        self.acquire_with(value, K::clone).map(|(number, _)| number)
    }

    /// Adds a holder to the value that is made of `source`, and returns its number and whether it is new. Only a new value
    /// is made.
    pub fn acquire_from<Q: Eq + Hash + ?Sized>(&mut self, source: &Q) -> Result<(u32, bool), Exhausted>
    where
        K: Borrow<Q> + for<'q> From<&'q Q>,
    {
        self.acquire_with(source, |source| source.into())
    }

    fn acquire_with<Q: Eq + Hash + ?Sized>(
        &mut self,
        source: &Q,
        value: impl FnOnce(&Q) -> K,
    ) -> Result<(u32, bool), Exhausted>
    where
        K: Borrow<Q>,
    {
        let hash = self.index.hash(source);
        if let Some(number) = self.find(hash, source) {
            self.held.hold(number);
            return Ok((number, false));
        }
        let Some(number) = self.held.insert(value(source)) else {
            return Err(Exhausted { range: self.held.sequence().range().clone() });
        };
        self.index
            .insert(hash, number, |number| self.held.value(number).expect("an indexed number has a value"));
        Ok((number, true))
    }

    /// Adds a holder to a number in use.
    pub fn hold(&mut self, number: u32) {
        self.held.hold(number);
    }

    /// Removes a holder. If it was the last one, the number is free, and the value is returned.
    pub fn release(&mut self, number: u32) -> Option<K> {
        let value = self.held.release(number)?;
        self.index.remove(self.index.hash(&value), number);
        Some(value)
    }

    /// The number of the value, if it has one.
    pub fn number<Q: Eq + Hash + ?Sized>(&self, value: &Q) -> Option<u32>
    where
        K: Borrow<Q>,
    {
        self.find(self.index.hash(value), value)
    }

    /// The value of a number in use.
    pub fn value(&self, number: u32) -> Option<&K> {
        self.held.value(number)
    }

    /// The numbers in use, with their values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &K)> {
        self.held.iter()
    }

    /// The number that is tried first for a new value: to be persisted beside the values.
    pub fn next(&self) -> u32 {
        self.held.sequence().next()
    }

    /// Gives a value the number that it had before a restart, without a holder.
    pub fn restore(&mut self, number: u32, value: K) -> Result<(), Conflict> {
        if !self.is_own(number) {
            return Err(Conflict::OutOfRange(number));
        }
        self.assign(number, value)
    }

    /// Gives a value a number that another source assigned, perhaps outside the range, without a holder.
    pub fn assign(&mut self, number: u32, value: K) -> Result<(), Conflict> {
        let hash = self.index.hash(&value);
        if self.held.value(number).is_some() || self.find(hash, &value).is_some() {
            return Err(Conflict::Taken(number));
        }
        self.held.restore(number, value);
        self.index
            .insert(hash, number, |number| self.held.value(number).expect("an indexed number has a value"));
        Ok(())
    }

    /// Gives the value of a number in use another number, with its holders; perhaps a number outside the range.
    pub fn renumber(&mut self, before: u32, after: u32) -> Result<(), Conflict> {
        let Some(hash) = self.held.value(before).map(|value| self.index.hash(value)) else { return Ok(()) };
        if self.held.value(after).is_some() {
            return Err(Conflict::Taken(after));
        }
        self.index.remove(hash, before);
        self.held.renumber(before, after);
        self.index
            .insert(hash, after, |number| self.held.value(number).expect("an indexed number has a value"));
        Ok(())
    }

    /// Whether the number is of the range.
    pub fn is_own(&self, number: u32) -> bool {
        self.held.sequence().contains(number)
    }

    /// A number of the range that no value has, which the caller assigns; none if all are taken.
    pub fn take(&mut self) -> Option<u32> {
        self.held.take()
    }

    /// Tries this number first, which [`Self::next`] returned before a restart.
    pub fn continue_at(&mut self, next: u32) -> Result<(), Conflict> {
        if self.held.continue_at(next) { Ok(()) } else { Err(Conflict::OutOfRange(next)) }
    }

    /// Gives no value a number up to this one, which rows, flows or files may still hold.
    pub fn continue_above(&mut self, number: u32) {
        self.held.continue_above(number);
    }

    /// Releases the numbers without a holder: those that were restored and not acquired again.
    pub fn sweep(&mut self) -> Vec<(u32, K)> {
        let idle = self.held.idle();
        idle.into_iter().filter_map(|number| Some((number, self.release(number)?))).collect()
    }

    fn find<Q: Eq + Hash + ?Sized>(&self, hash: u64, value: &Q) -> Option<u32>
    where
        K: Borrow<Q>,
    {
        self.index.find(hash, |number| self.held.value(number).is_some_and(|known| known.borrow() == value))
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
