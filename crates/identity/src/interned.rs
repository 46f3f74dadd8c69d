//! Equal values, kept once.

use crate::selector::Selector;
use foldhash::fast::RandomState;
use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

/// How many values there are at least before the first sweep.
const FIRST_SWEEP: usize = 64;

/// A value whose clones are one allocation.
pub trait Shared: Clone + Eq + Hash {
    /// Whether another clone exists.
    fn is_shared(&self) -> bool;
}

impl<T: Eq + Hash> Shared for Arc<T> {
    fn is_shared(&self) -> bool {
        Self::strong_count(self) > 1
    }
}

impl Shared for Selector {
    fn is_shared(&self) -> bool {
        Self::is_shared(self)
    }
}

/// One clone of each value in use. Values out of use are swept whenever there are twice as many values as after the last
/// sweep.
#[derive(Clone, Debug)]
pub struct Interned<T> {
    values: HashSet<T, RandomState>,
    sweep_at: usize,
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self { values: HashSet::default(), sweep_at: FIRST_SWEEP }
    }
}

impl<T: Shared> Interned<T> {
    /// The kept clone of this value.
    pub fn intern(&mut self, value: T) -> T {
        if let Some(kept) = self.values.get(&value) {
            return kept.clone();
        }
        if self.values.len() >= self.sweep_at {
            self.values.retain(T::is_shared);
            self.sweep_at = FIRST_SWEEP.max(2 * self.values.len());
        }
        self.values.insert(value.clone());
        value
    }

    /// How many values are kept.
    pub fn count(&self) -> usize {
        self.values.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_kept_once() {
        let mut known = Interned::default();
        let (one, two) = (known.intern(Arc::new(7)), known.intern(Arc::new(7)));
        assert!(Arc::ptr_eq(&one, &two));
    }

    #[test]
    fn values_out_of_use_do_not_pile_up() {
        let mut known = Interned::default();
        let held = known.intern(Arc::new(0));
        (1..10_000).for_each(|value| drop(known.intern(Arc::new(value))));
        assert!(known.count() <= FIRST_SWEEP && Arc::ptr_eq(&held, &known.intern(Arc::new(0))));
    }
}
