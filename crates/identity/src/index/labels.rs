//! An index of labels, searched by selectors.

use super::buckets::{BucketName, Buckets};
use crate::label::{LabelKey, Labels};
use crate::selector::{Requirement, Selector};

/// Members with labels. Each member is in a bucket for the name of each of its labels, and in one for each name with
/// its value.
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

    /// Replaces the labels of a member; common buckets are not touched.
    pub fn relabel(&mut self, before: &Labels, after: &Labels, member: T) {
        for bucket in only_in_first(before, after) {
            self.buckets.remove(bucket, &member);
        }
        for bucket in only_in_first(after, before) {
            self.buckets.insert(bucket, member);
        }
    }

    /// The members that the selector may select, in order; it selects no other. None if the selector requires no label,
    /// so that every member may be selected.
    pub fn candidates(&self, selector: &Selector) -> Option<Vec<T>> {
        let asking = selector.requirements().iter().filter(|requirement| requirement.requires_label());
        let fewest =
            asking.min_by_key(|requirement| self.with(requirement).map(<[T]>::len).sum::<usize>())?;
        let mut members: Vec<T> = self.with(fewest).flatten().copied().collect();
        members.sort();
        members.dedup();
        Some(members)
    }

    /// The members with a label that matches the requirement, by value.
    fn with<'a>(&'a self, requirement: &'a Requirement) -> impl Iterator<Item = &'a [T]> {
        BucketName::matching(requirement).map(|bucket| self.buckets.items(bucket))
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }
}

/// The buckets of a member with these labels that a member with the other labels is not in. Mostly the labels differ in
/// few.
fn only_in_first<'a>(labels: &'a Labels, others: &'a Labels) -> impl Iterator<Item = BucketName<'a>> {
    let differing =
        labels.iter().filter(|(key, value)| others.value(Some(&key.source), &key.name) != Some(value));
    let of_others = || others.iter().flat_map(bucket_names);
    differing.flat_map(bucket_names).filter(move |bucket| !of_others().any(|other| other == *bucket))
}

/// The buckets of a member with this label.
fn bucket_names<'a>((known, value): (&'a LabelKey, &'a str)) -> [BucketName<'a>; 2] {
    let of_any_value = BucketName { name: Some(&known.name), ..BucketName::default() };
    [of_any_value, BucketName { value: Some(value), ..of_any_value }]
}
