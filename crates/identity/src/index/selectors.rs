//! Selectors that are found by labels.

use super::buckets::{BucketKey, BucketName, Buckets, NOT_GIVEN};
use crate::key;
use crate::label::{Labels, Source};
use crate::selector::{Operator, Requirement, Selector};

/// Items that have selectors, found by labels.
///
/// An item lies under one requirement of its selector that some label must be there for, its anchor, within the
/// namespace that the selector is for. A set of labels looks only under its own labels. Most selectors ask for nothing
/// else than to be found there, so that they need not be looked at.
#[derive(Clone, Debug)]
pub struct SelectorIndex<T> {
    buckets: Buckets<IndexedItem<T>>,
}

/// An item where it lies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct IndexedItem<T> {
    item: T,
    /// Whether its selector selects all labels of Kubernetes that are found there.
    is_certain: bool,
}

impl<T> Default for SelectorIndex<T> {
    fn default() -> Self {
        Self { buckets: Buckets::default() }
    }
}

impl<T: Clone + Ord> SelectorIndex<T> {
    /// No item.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an item.
    pub fn insert(&mut self, selector: &Selector, item: T) {
        let (namespace, item) = (selector.namespace(), indexed(selector, item));
        // Where few others lie, few labels come by in vain.
        let emptiest = anchors(selector).min_by_key(|anchor| self.load(namespace, anchor));
        let Some(anchor) = emptiest else {
            return self.buckets.insert(unanchored(namespace), item);
        };
        for bucket in bucket_names(namespace, anchor) {
            self.buckets.insert(bucket, item.clone());
        }
    }

    /// Removes an item that was added with this selector.
    ///
    /// Which anchor was the emptiest once is not remembered, so all are looked under.
    pub fn remove(&mut self, selector: &Selector, item: &T) {
        let (namespace, item) = (selector.namespace(), indexed(selector, item.clone()));
        self.buckets.remove(unanchored(namespace), &item);
        for anchor in anchors(selector) {
            for bucket in bucket_names(namespace, anchor) {
                self.buckets.remove(bucket, &item);
            }
        }
    }

    /// The items whose selectors select these labels, in order. Where it cannot be told without, it is asked of an item.
    pub fn selecting(&self, labels: &Labels, selects: impl Fn(&T) -> bool) -> Vec<&T> {
        let namespaces = labels.iter().filter(|(known, _)| known.name == key::NAMESPACE);
        let within = namespaces.filter_map(|(_, namespace)| self.buckets.word(namespace));
        let namespaces: Vec<u32> = std::iter::once(NOT_GIVEN).chain(within).collect();
        let mut found: Vec<&IndexedItem<T>> = Vec::new();
        let mut look = |name, value| {
            for &namespace in &namespaces {
                found.extend(self.buckets.items_by_key(BucketKey { namespace, name, value }));
            }
        };
        look(NOT_GIVEN, NOT_GIVEN);
        for (known, value) in labels.iter() {
            let Some(name) = self.buckets.word(&known.name) else { continue };
            look(name, NOT_GIVEN);
            if let Some(value) = self.buckets.word(value) {
                look(name, value);
            }
        }
        // Of several sources, some other label may have led here.
        let is_of_kubernetes = labels.iter().all(|(known, _)| known.source == Source::K8s);
        found.retain(|found| is_of_kubernetes && found.is_certain || selects(&found.item));
        found.sort();
        found.dedup();
        found.into_iter().map(|found| &found.item).collect()
    }

    /// Whether any value will do, and how many items lie under the anchor already.
    fn load(&self, namespace: Option<&str>, anchor: &Requirement) -> (bool, usize) {
        let under: usize =
            bucket_names(namespace, anchor).map(|bucket| self.buckets.items(bucket).len()).sum();
        match &anchor.operator {
            Operator::In(values) => (false, under + values.len()),
            _ => (true, under),
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }
}

/// An item with this selector, where it will lie: there is nothing more to ask if that stands for all it asks for.
fn indexed<T>(selector: &Selector, item: T) -> IndexedItem<T> {
    let requirements = selector.requirements();
    let stood_for =
        usize::from(selector.namespace().is_some()) + usize::from(anchors(selector).next().is_some());
    let is_of_kubernetes =
        |requirement: &Requirement| requirement.source.as_ref().is_none_or(|source| *source == Source::K8s);
    let is_certain = requirements.len() == stood_for && requirements.iter().all(is_of_kubernetes);
    IndexedItem { item, is_certain }
}

/// Where items lie whose selectors ask for no label.
fn unanchored(namespace: Option<&str>) -> BucketName<'_> {
    BucketName { namespace, ..BucketName::default() }
}

/// Where items lie under an anchor.
fn bucket_names<'a>(
    namespace: Option<&'a str>,
    anchor: &'a Requirement,
) -> impl Iterator<Item = BucketName<'a>> {
    BucketName::matching(anchor).map(move |bucket| BucketName { namespace, ..bucket })
}

/// The requirements that some label must be there for, but for the one that the namespace stands for.
fn anchors(selector: &Selector) -> impl Iterator<Item = &Requirement> {
    let scoped = selector.namespace().is_some();
    let asking = selector.requirements().iter().filter(|requirement| requirement.requires_label());
    asking.filter(move |requirement| !(scoped && requirement.namespace().is_some()))
}
