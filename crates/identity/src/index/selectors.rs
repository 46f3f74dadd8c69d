//! An index of selectors, searched by labels.

use super::buckets::{BucketKey, BucketName, Buckets, NOT_GIVEN};
use crate::key;
use crate::label::{Labels, Source};
use crate::selector::{Operator, Requirement, Selector};

/// Items with selectors.
///
/// An item is in the bucket of one requirement of its selector, its anchor, within the namespace of the selector. The
/// anchor is a requirement that needs a label. A lookup visits only the buckets of the given labels. The bucket implies
/// the whole of most selectors, so these are not evaluated.
#[derive(Clone, Debug)]
pub struct SelectorIndex<T> {
    buckets: Buckets<IndexedItem<T>>,
}

/// An item in a bucket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct IndexedItem<T> {
    item: T,
    /// Whether its selector selects all sets of Kubernetes labels that lead to the bucket.
    is_certain: bool,
}

impl<T> Default for SelectorIndex<T> {
    fn default() -> Self {
        Self { buckets: Buckets::default() }
    }
}

impl<T: Clone + Ord> SelectorIndex<T> {
    /// An empty index.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an item.
    pub fn insert(&mut self, selector: &Selector, item: T) {
        let (namespace, item) = (selector.namespace(), indexed(selector, item));
        // The bucket with the fewest items has the fewest needless evaluations.
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
    /// The anchor is not stored, so all possible buckets are visited.
    pub fn remove(&mut self, selector: &Selector, item: &T) {
        let (namespace, item) = (selector.namespace(), indexed(selector, item.clone()));
        self.buckets.remove(unanchored(namespace), &item);
        for anchor in anchors(selector) {
            for bucket in bucket_names(namespace, anchor) {
                self.buckets.remove(bucket, &item);
            }
        }
    }

    /// The items whose selectors select these labels, in order. Calls `selects` for items that the bucket does not
    /// decide.
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
        // With several sources, a label of another source may have led to the bucket.
        let is_of_kubernetes = labels.iter().all(|(known, _)| known.source == Source::K8s);
        found.retain(|found| is_of_kubernetes && found.is_certain || selects(&found.item));
        found.sort();
        found.dedup();
        found.into_iter().map(|found| &found.item).collect()
    }

    /// Whether the anchor matches any value, and how many items are in its buckets.
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

/// An item with this selector. The bucket decides if namespace and anchor are all requirements.
fn indexed<T>(selector: &Selector, item: T) -> IndexedItem<T> {
    let requirements = selector.requirements();
    let stood_for =
        usize::from(selector.namespace().is_some()) + usize::from(anchors(selector).next().is_some());
    let is_of_kubernetes =
        |requirement: &Requirement| requirement.source.as_ref().is_none_or(|source| *source == Source::K8s);
    let is_certain = requirements.len() == stood_for && requirements.iter().all(is_of_kubernetes);
    IndexedItem { item, is_certain }
}

/// The bucket of items whose selectors require no label.
fn unanchored(namespace: Option<&str>) -> BucketName<'_> {
    BucketName { namespace, ..BucketName::default() }
}

/// The buckets of an anchor.
fn bucket_names<'a>(
    namespace: Option<&'a str>,
    anchor: &'a Requirement,
) -> impl Iterator<Item = BucketName<'a>> {
    BucketName::matching(anchor).map(move |bucket| BucketName { namespace, ..bucket })
}

/// The requirements that need a label, except the one that fixes the namespace.
fn anchors(selector: &Selector) -> impl Iterator<Item = &Requirement> {
    let scoped = selector.namespace().is_some();
    let asking = selector.requirements().iter().filter(|requirement| requirement.requires_label());
    asking.filter(move |requirement| !(scoped && requirement.namespace().is_some()))
}
