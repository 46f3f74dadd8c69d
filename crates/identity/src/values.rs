//! The values of a requirement: sorted, distinct, in little memory.

use std::cmp::Ordering;
use std::fmt;
use std::slice;

/// A set of values, in order; nearly always a single one.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Values(Storage);

/// A single value is always `One`, so that equal sets have equal representations.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Storage {
    One(Box<str>),
    Several(Box<[Box<str>]>),
}

impl Values {
    /// Whether the value is one of them.
    pub fn contains(&self, value: &str) -> bool {
        self.all().binary_search_by(|known| (**known).cmp(value)).is_ok()
    }

    /// The values in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.all().iter().map(|value| &**value)
    }

    /// The first in order.
    pub fn first(&self) -> Option<&str> {
        self.all().first().map(|value| &**value)
    }

    /// The number of values.
    pub fn len(&self) -> usize {
        self.all().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all().is_empty()
    }

    fn all(&self) -> &[Box<str>] {
        match &self.0 {
            Storage::One(value) => slice::from_ref(value),
            Storage::Several(values) => values,
        }
    }
}

impl<V: Into<Box<str>>> FromIterator<V> for Values {
    fn from_iter<I: IntoIterator<Item = V>>(values: I) -> Self {
        let mut values: Vec<Box<str>> = values.into_iter().map(Into::into).collect();
        values.sort_unstable();
        values.dedup();
        match <[Box<str>; 1]>::try_from(values) {
            Ok([value]) => Self(Storage::One(value)),
            Err(values) => Self(Storage::Several(values.into())),
        }
    }
}

impl<V: Into<Box<str>>, const N: usize> From<[V; N]> for Values {
    fn from(values: [V; N]) -> Self {
        values.into_iter().collect()
    }
}

impl Ord for Values {
    fn cmp(&self, other: &Self) -> Ordering {
        self.all().cmp(other.all())
    }
}

impl PartialOrd for Values {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.all()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn values_are_a_sorted_set() {
        let lists: [&[&str]; 6] = [&[], &["b"], &["b", "b"], &["c", "a"], &["b", "a", "b"], &["a", "b", "c"]];
        let sets = lists.map(|list| list.iter().copied().collect::<BTreeSet<&str>>());
        let values = lists.map(|list| list.iter().copied().collect::<Values>());
        for (set, values) in sets.iter().zip(&values) {
            assert!(values.iter().eq(set.iter().copied()));
            assert_eq!((values.len(), values.is_empty()), (set.len(), set.is_empty()));
            assert_eq!(values.first(), set.first().copied());
            assert!(["a", "b", "c", "d"].iter().all(|value| values.contains(value) == set.contains(value)));
        }
        for (set, values_of_set) in sets.iter().zip(&values) {
            for (other, values_of_other) in sets.iter().zip(&values) {
                assert_eq!(set.cmp(other), values_of_set.cmp(values_of_other), "as sets compare");
                assert_eq!(set == other, values_of_set == values_of_other);
            }
        }
    }
}
