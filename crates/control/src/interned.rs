//! Values that many hold alike, kept once.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

/// How many values there are at least before the first look for those that nobody holds.
const FIRST_SWEEP: usize = 64;

/// The values that somebody holds, and for a while those that somebody held.
#[derive(Clone, Debug)]
pub(crate) struct Interned<T> {
    values: HashSet<Arc<T>>,
    sweep_at: usize,
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self { values: HashSet::new(), sweep_at: FIRST_SWEEP }
    }
}

impl<T: Eq + Hash> Interned<T> {
    /// The one that is kept of this value.
    pub(crate) fn intern(&mut self, value: Arc<T>) -> Arc<T> {
        if let Some(kept) = self.values.get(&value) {
            return kept.clone();
        }
        if self.values.len() >= self.sweep_at {
            self.values.retain(|value| Arc::strong_count(value) > 1);
            self.sweep_at = FIRST_SWEEP.max(2 * self.values.len());
        }
        self.values.insert(value.clone());
        value
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
    fn values_that_nobody_holds_do_not_pile_up() {
        let mut known = Interned::default();
        let held = known.intern(Arc::new(0));
        (1..10_000).for_each(|value| drop(known.intern(Arc::new(value))));
        assert!(known.values.len() <= FIRST_SWEEP && Arc::ptr_eq(&held, &known.intern(Arc::new(0))));
    }
}
