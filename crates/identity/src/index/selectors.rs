//! Selectors that are found by labels.

use super::places::{Address, NOT_GIVEN, Place, Places};
use crate::label::{Labels, key};
use crate::selector::{Operator, Requirement, Selector};

/// Items that have selectors, found by labels.
///
/// An item lies under one requirement of its selector that some label must be there for, its anchor, within the
/// namespace that the selector is for. A set of labels looks only under its own labels.
#[derive(Clone, Debug)]
pub struct SelectorIndex<T> {
    places: Places<T>,
}

impl<T> Default for SelectorIndex<T> {
    fn default() -> Self {
        Self { places: Places::default() }
    }
}

impl<T: Clone + Ord> SelectorIndex<T> {
    /// No item.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an item.
    pub fn insert(&mut self, selector: &Selector, item: T) {
        let namespace = selector.namespace();
        // Where few others lie, few labels come by in vain.
        let emptiest = anchors(selector).min_by_key(|anchor| self.crowd(namespace, anchor));
        let Some(anchor) = emptiest else {
            return self.places.insert(loose(namespace), item);
        };
        for address in addresses(namespace, anchor) {
            self.places.insert(address, item.clone());
        }
    }

    /// Removes an item that was added with this selector.
    ///
    /// Which anchor was the emptiest once is not remembered, so all are looked under.
    pub fn remove(&mut self, selector: &Selector, item: &T) {
        let namespace = selector.namespace();
        self.places.remove(loose(namespace), item);
        for anchor in anchors(selector) {
            for address in addresses(namespace, anchor) {
                self.places.remove(address, item);
            }
        }
    }

    /// The items whose selectors may select these labels, in order; every other item's does not.
    pub fn candidates(&self, labels: &Labels) -> Vec<&T> {
        let namespaces = labels.iter().filter(|(known, _)| known.name == key::NAMESPACE);
        let within = namespaces.filter_map(|(_, namespace)| self.places.word(namespace));
        let namespaces: Vec<u32> = std::iter::once(NOT_GIVEN).chain(within).collect();
        let mut found: Vec<&T> = Vec::new();
        let mut look = |name, value| {
            for &namespace in &namespaces {
                found.extend(self.places.in_place(Place { namespace, name, value }));
            }
        };
        look(NOT_GIVEN, NOT_GIVEN);
        for (known, value) in labels.iter() {
            let Some(name) = self.places.word(&known.name) else { continue };
            look(name, NOT_GIVEN);
            if let Some(value) = self.places.word(value) {
                look(name, value);
            }
        }
        found.sort();
        found.dedup();
        found
    }

    /// Whether any value will do, and how many items lie under the anchor already.
    fn crowd(&self, namespace: Option<&str>, anchor: &Requirement) -> (bool, usize) {
        let under: usize = addresses(namespace, anchor).map(|address| self.places.at(address).len()).sum();
        match &anchor.operator {
            Operator::In(values) => (false, under + values.len()),
            _ => (true, under),
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

/// Where items lie whose selectors ask for no label.
fn loose(namespace: Option<&str>) -> Address<'_> {
    Address { namespace, ..Address::default() }
}

/// Where items lie under an anchor.
fn addresses<'a>(namespace: Option<&'a str>, anchor: &'a Requirement) -> impl Iterator<Item = Address<'a>> {
    Address::asked_for(anchor).map(move |address| Address { namespace, ..address })
}

/// The requirements that some label must be there for, but for the one that the namespace stands for.
fn anchors(selector: &Selector) -> impl Iterator<Item = &Requirement> {
    let scoped = selector.namespace().is_some();
    let asking = selector.requirements().iter().filter(|requirement| requirement.asks_for_a_label());
    asking.filter(move |requirement| !(scoped && requirement.namespace().is_some()))
}
