//! Selectors that are found by labels.

use super::places::{Address, NOT_GIVEN, Place, Places};
use crate::label::{Labels, Source, key};
use crate::selector::{Operator, Requirement, Selector};

/// Items that have selectors, found by labels.
///
/// An item lies under one requirement of its selector that some label must be there for, its anchor, within the
/// namespace that the selector is for. A set of labels looks only under its own labels. Most selectors ask for nothing
/// else than to be found there, so that they need not be looked at.
#[derive(Clone, Debug)]
pub struct SelectorIndex<T> {
    places: Places<Lying<T>>,
}

/// An item where it lies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Lying<T> {
    item: T,
    /// Whether its selector selects all labels of Kubernetes that are found there.
    is_certain: bool,
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
        let (namespace, item) = (selector.namespace(), lying(selector, item));
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
        let (namespace, item) = (selector.namespace(), lying(selector, item.clone()));
        self.places.remove(loose(namespace), &item);
        for anchor in anchors(selector) {
            for address in addresses(namespace, anchor) {
                self.places.remove(address, &item);
            }
        }
    }

    /// The items whose selectors select these labels, in order. Where it cannot be told without, it is asked of an item.
    pub fn selecting(&self, labels: &Labels, selects: impl Fn(&T) -> bool) -> Vec<&T> {
        let namespaces = labels.iter().filter(|(known, _)| known.name == key::NAMESPACE);
        let within = namespaces.filter_map(|(_, namespace)| self.places.word(namespace));
        let namespaces: Vec<u32> = std::iter::once(NOT_GIVEN).chain(within).collect();
        let mut found: Vec<&Lying<T>> = Vec::new();
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
        // Of several sources, some other label may have led here.
        let is_of_kubernetes = labels.iter().all(|(known, _)| known.source == Source::K8s);
        found.retain(|lying| is_of_kubernetes && lying.is_certain || selects(&lying.item));
        found.sort();
        found.dedup();
        found.into_iter().map(|lying| &lying.item).collect()
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

/// An item with this selector, where it will lie: there is nothing more to ask if that stands for all it asks for.
fn lying<T>(selector: &Selector, item: T) -> Lying<T> {
    let requirements = selector.requirements();
    let stood_for =
        usize::from(selector.namespace().is_some()) + usize::from(anchors(selector).next().is_some());
    let is_of_kubernetes =
        |requirement: &Requirement| requirement.source.as_ref().is_none_or(|source| *source == Source::K8s);
    let is_certain = requirements.len() == stood_for && requirements.iter().all(is_of_kubernetes);
    Lying { item, is_certain }
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
