//! Labels that are found by selectors.

use super::buckets::{BucketName, Buckets};
use crate::label::{LabelKey, Labels};
use crate::selector::{Requirement, Selector};

/// SmallSet that have labels, found by selectors: each lies under the names of its labels, with and without their
/// values.
#[derive(Clone, Debug)]
pub struct LabelIndex<T> {
    buckets: Buckets<T>,
}

impl<T> Default for LabelIndex<T> {
    fn default() -> Self {
        Self { buckets: Buckets::default() }
    }
}

impl<T: Copy + Ord> LabelIndex<T> {
    /// No member.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a member.
    pub fn insert(&mut self, labels: &Labels, member: T) {
        for bucket in labels.iter().flat_map(bucket_names) {
            self.buckets.insert(bucket, member);
        }
    }

    /// Removes a member that was added with these labels.
    pub fn remove(&mut self, labels: &Labels, member: T) {
        for bucket in labels.iter().flat_map(bucket_names) {
            self.buckets.remove(bucket, &member);
        }
    }

    /// Moves a member that was added with the labels of before; what both have is not touched.
    pub fn relabel(&mut self, before: &Labels, after: &Labels, member: T) {
        for bucket in only_in_first(before, after) {
            self.buckets.remove(bucket, &member);
        }
        for bucket in only_in_first(after, before) {
            self.buckets.insert(bucket, member);
        }
    }

    /// The members that the selector may select, in order; it selects no other. None where the selector asks for no
    /// label, so that anybody may be selected.
    pub fn candidates(&self, selector: &Selector) -> Option<Vec<T>> {
        let asking = selector.requirements().iter().filter(|requirement| requirement.requires_label());
        let fewest =
            asking.min_by_key(|requirement| self.with(requirement).map(<[T]>::len).sum::<usize>())?;
        let mut members: Vec<T> = self.with(fewest).flatten().copied().collect();
        members.sort();
        members.dedup();
        Some(members)
    }

    /// The members with a label that the requirement asks for, by value.
    fn with<'a>(&'a self, requirement: &'a Requirement) -> impl Iterator<Item = &'a [T]> {
        BucketName::matching(requirement).map(|bucket| self.buckets.items(bucket))
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }
}

/// Where a member with these labels lies, and one with the others does not. Mostly they differ in few.
fn only_in_first<'a>(labels: &'a Labels, others: &'a Labels) -> impl Iterator<Item = BucketName<'a>> {
    let differing =
        labels.iter().filter(|(key, value)| others.value(Some(&key.source), &key.name) != Some(value));
    let of_others = || others.iter().flat_map(bucket_names);
    differing.flat_map(bucket_names).filter(move |bucket| !of_others().any(|other| other == *bucket))
}

/// Where a member with this label lies.
fn bucket_names<'a>((known, value): (&'a LabelKey, &'a str)) -> [BucketName<'a>; 2] {
    let of_any_value = BucketName { name: Some(&known.name), ..BucketName::default() };
    [of_any_value, BucketName { value: Some(value), ..of_any_value }]
}
