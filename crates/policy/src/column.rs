//! The numbers of columns, with their holders.

use foldhash::HashMap;
use identity::Sequence;

/// The columns in force, by number.
#[derive(Clone, Debug)]
pub(crate) struct Columns {
    /// How many policies use each column: a policy and its successor may share one.
    holders: HashMap<u32, u32>,
    numbers: Sequence,
}

impl Default for Columns {
    fn default() -> Self {
        Self { holders: HashMap::default(), numbers: Sequence::new(1..=u32::MAX) }
    }
}

impl Columns {
    /// A number that no column has, and none had lately; it is held.
    pub(crate) fn acquire(&mut self) -> u32 {
        let free = self.numbers.take(|number| self.holders.contains_key(&number));
        let number = free.expect("fewer columns than numbers fit in memory");
        self.holders.insert(number, 1);
        number
    }

    /// Adds a hold to a number that is held already.
    pub(crate) fn hold(&mut self, number: u32) {
        if let Some(holders) = self.holders.get_mut(&number) {
            *holders += 1;
        }
    }

    /// Gives up one hold.
    pub(crate) fn release(&mut self, number: u32) {
        let Some(holders) = self.holders.get_mut(&number) else { return };
        *holders -= 1;
        if *holders == 0 {
            self.holders.remove(&number);
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.holders.len()
    }

    /// Gives no column a number up to this one, which the maps may still hold.
    pub(crate) fn number_above(&mut self, number: u32) {
        self.numbers.continue_above(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_held_until_the_last_gives_it_up() {
        let mut columns = Columns::default();
        let one = columns.acquire();
        columns.hold(one);
        assert_ne!(columns.acquire(), one);
        columns.release(one);
        assert_eq!(columns.count(), 2);
        columns.release(one);
        assert_eq!(columns.count(), 1);
    }

    #[test]
    fn numbers_that_wrap_around_pass_over_those_in_force() {
        let mut columns = Columns::default();
        let first = columns.acquire();
        columns.number_above(u32::MAX);
        assert_eq!((first, columns.acquire()), (1, 2));
    }
}
