//! Where the items of an index lie: under a namespace, a label's name and its value, as far as each is given.

use super::members::Members;
use crate::numbering::Numbering;
use crate::selector::{Operator, Requirement};
use crate::values::Values;
use foldhash::HashMap;

/// Items by place. Words are hashed and kept once, and places are of their numbers.
#[derive(Clone, Debug)]
pub(super) struct Places<T> {
    words: Numbering<Box<str>>,
    items: HashMap<Place, Members<T>>,
}

/// What a place is called; none of the three need be given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address<'a> {
    pub(super) namespace: Option<&'a str>,
    pub(super) name: Option<&'a str>,
    pub(super) value: Option<&'a str>,
}

/// The same in numbers of words, which the place holds while anything lies there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) namespace: u32,
    pub(super) name: u32,
    pub(super) value: u32,
}

/// Stands for a word that is not given.
pub(super) const NOT_GIVEN: u32 = 0;

impl<T> Default for Places<T> {
    fn default() -> Self {
        Self { words: Numbering::new(NOT_GIVEN + 1..=u32::MAX), items: HashMap::default() }
    }
}

impl<T: Ord> Places<T> {
    /// Lays an item down.
    pub(super) fn insert(&mut self, address: Address<'_>, item: T) {
        match self.place(address).and_then(|place| self.items.get_mut(&place)) {
            Some(items) => items.insert(item),
            None => {
                let place = address.map(|word| match word {
                    Some(word) => {
                        self.words.acquire_from(word).expect("fewer words than numbers fit in memory")
                    }
                    None => NOT_GIVEN,
                });
                self.items.insert(place, Members::One(item));
            }
        }
    }

    /// Takes an item away that may not be there.
    pub(super) fn remove(&mut self, address: Address<'_>, item: &T) {
        let Some(place) = self.place(address) else { return };
        let Some(items) = self.items.get_mut(&place) else { return };
        items.remove(item);
        if items.all().is_empty() {
            self.items.remove(&place);
            for word in [place.namespace, place.name, place.value] {
                self.words.release(word);
            }
        }
    }

    /// What lies there, in order.
    pub(super) fn at(&self, address: Address<'_>) -> &[T] {
        self.place(address).map_or(&[], |place| self.in_place(place))
    }

    /// What lies there, in order.
    pub(super) fn in_place(&self, place: Place) -> &[T] {
        self.items.get(&place).map_or(&[], Members::all)
    }

    /// The number of a word that some place is called by.
    pub(super) fn word(&self, word: &str) -> Option<u32> {
        self.words.number(word)
    }

    fn place(&self, address: Address<'_>) -> Option<Place> {
        let number = |word: Option<&str>| word.map_or(Some(NOT_GIVEN), |word| self.word(word));
        let Address { namespace, name, value } = address;
        Some(Place { namespace: number(namespace)?, name: number(name)?, value: number(value)? })
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty() && self.words.iter().next().is_none()
    }
}

impl<'a> Address<'a> {
    /// The places under which whoever has a label that the requirement asks for is to be found: those of its values,
    /// or the one of its name where any value will do.
    pub(super) fn asked_for(requirement: &'a Requirement) -> impl Iterator<Item = Self> {
        let of_any_value = Self { name: Some(&requirement.name), ..Self::default() };
        let (values, any) = match &requirement.operator {
            Operator::In(values) => (Some(values), None),
            _ => (None, Some(of_any_value)),
        };
        let of_values = values.into_iter().flat_map(Values::iter);
        of_values.map(move |value| Self { value: Some(value), ..of_any_value }).chain(any)
    }

    fn map(self, mut number: impl FnMut(Option<&'a str>) -> u32) -> Place {
        Place { namespace: number(self.namespace), name: number(self.name), value: number(self.value) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_forgotten_with_the_last_place_that_is_called_by_them() {
        let mut places = Places::default();
        let address = |name, value| Address { namespace: None, name: Some(name), value };
        places.insert(address("app", Some("web")), 1);
        places.insert(address("app", Some("web")), 2);
        places.insert(address("web", None), 3);
        assert_eq!(places.at(address("app", Some("web"))), [1, 2]);
        assert_eq!(places.at(address("app", None)), []);
        places.remove(address("app", Some("web")), &1);
        places.remove(address("app", Some("web")), &7);
        places.remove(address("app", Some("db")), &2);
        assert!(places.word("app").is_some());
        places.remove(address("app", Some("web")), &2);
        assert_eq!((places.word("app"), places.word("web").is_some()), (None, true));
        places.remove(address("web", None), &3);
        assert!(places.is_empty());
    }
}
