//! A small sorted set; it nearly always has one or a few members.

use std::slice;

/// The members in order; a single one needs no allocation.
#[derive(Clone, Debug)]
pub(super) enum SmallSet<T> {
    One(T),
    Several(Vec<T>),
}

impl<T: Ord> SmallSet<T> {
    /// The members in order.
    pub(super) fn all(&self) -> &[T] {
        match self {
            Self::One(member) => slice::from_ref(member),
            Self::Several(members) => members,
        }
    }

    /// Adds a member, if it is absent.
    pub(super) fn insert(&mut self, member: T) {
        let Err(place) = self.all().binary_search(&member) else { return };
        let mut members = self.take();
        members.insert(place, member);
        *self = Self::kept(members);
    }

    /// Removes a member, if it is present.
    pub(super) fn remove(&mut self, member: &T) {
        let Ok(place) = self.all().binary_search(member) else { return };
        let mut members = self.take();
        members.remove(place);
        *self = Self::kept(members);
    }

    fn take(&mut self) -> Vec<T> {
        match std::mem::replace(self, Self::Several(Vec::new())) {
            Self::One(member) => vec![member],
            Self::Several(members) => members,
        }
    }

    fn kept(members: Vec<T>) -> Self {
        match <[T; 1]>::try_from(members) {
            Ok([member]) => Self::One(member),
            Err(members) => Self::Several(members),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn members_are_a_sorted_set() {
        let (mut members, mut set) = (SmallSet::One(7), BTreeSet::from([7]));
        for number in [3, 9, 7, 3, 1] {
            members.insert(number);
            set.insert(number);
            assert!(members.all().iter().eq(&set));
        }
        for number in [9, 4, 1, 7, 3, 3] {
            members.remove(&number);
            set.remove(&number);
            assert!(members.all().iter().eq(&set));
        }
        members.insert(5);
        assert!(matches!(members, SmallSet::One(5)));
    }
}
