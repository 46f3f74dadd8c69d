//! The numbers of a range, handed out in turn.

use std::ops::RangeInclusive;

/// Hands out the free numbers of a range in turn. A number that was given up comes back only after the whole range went
/// by, so that a row, flow or file that still holds the number late is not taken for another.
#[derive(Clone, Debug)]
pub struct Sequence {
    range: RangeInclusive<u32>,
    next: u32,
}

impl Sequence {
    /// The sequence from the first number of the range on.
    pub fn new(range: RangeInclusive<u32>) -> Self {
        Self { next: *range.start(), range }
    }

    /// The next number that is not taken; none where all are.
    pub fn take(&mut self, is_taken: impl Fn(u32) -> bool) -> Option<u32> {
        let ahead = self.next..=*self.range.end();
        let number = ahead.chain(*self.range.start()..self.next).find(|number| !is_taken(*number))?;
        self.next = self.after(number);
        Some(number)
    }

    /// The number that is tried first.
    pub fn next(&self) -> u32 {
        self.next
    }

    /// Tries this number first; whether it is of the range.
    pub fn continue_at(&mut self, next: u32) -> bool {
        let is_known = self.contains(next);
        if is_known {
            self.next = next;
        }
        is_known
    }

    /// Hands out only numbers above this one, which rows, flows or files may still hold; at the end of the range it starts
    /// again.
    pub fn continue_above(&mut self, number: u32) {
        if number >= self.next {
            self.next = self.after(number);
        }
    }

    /// Whether the number is of the range.
    pub fn contains(&self, number: u32) -> bool {
        self.range.contains(&number)
    }

    /// How many numbers there are.
    pub(crate) fn count(&self) -> u64 {
        u64::from(*self.range.end()) + 1 - u64::from(*self.range.start())
    }

    /// The range.
    pub(crate) fn range(&self) -> &RangeInclusive<u32> {
        &self.range
    }

    fn after(&self, number: u32) -> u32 {
        if number >= *self.range.end() { *self.range.start() } else { number + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_in_turn_and_pass_over_those_that_are_taken() {
        let mut sequence = Sequence::new(3..=6);
        let taken = [4];
        let mut take = || sequence.take(|number| taken.contains(&number));
        assert_eq!([take(), take(), take(), take()], [Some(3), Some(5), Some(6), Some(3)]);
        assert_eq!(sequence.take(|_| true), None);
    }

    #[test]
    fn numbers_that_may_be_remembered_are_not_handed_out_before_the_range_went_by() {
        let mut sequence = Sequence::new(1..=9);
        sequence.continue_above(7);
        sequence.continue_above(2);
        assert_eq!([sequence.take(|_| false), sequence.take(|_| false)], [Some(8), Some(9)]);
        sequence.continue_above(u32::MAX);
        assert_eq!((sequence.take(|_| false), sequence.continue_at(10)), (Some(1), false));
    }
}
