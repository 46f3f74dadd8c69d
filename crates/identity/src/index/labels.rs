//! Labels that are found by selectors.

use super::places::{Address, Places};
use crate::label::{LabelKey, Labels};
use crate::selector::{Requirement, Selector};

/// Members that have labels, found by selectors: each lies under the names of its labels, with and without their
/// values.
#[derive(Clone, Debug)]
pub struct LabelIndex<T> {
    places: Places<T>,
}

impl<T> Default for LabelIndex<T> {
    fn default() -> Self {
        Self { places: Places::default() }
    }
}

impl<T: Copy + Ord> LabelIndex<T> {
    /// No member.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a member.
    pub fn insert(&mut self, labels: &Labels, member: T) {
        for address in labels.iter().flat_map(addresses) {
            self.places.insert(address, member);
        }
    }

    /// Removes a member that was added with these labels.
    pub fn remove(&mut self, labels: &Labels, member: T) {
        for address in labels.iter().flat_map(addresses) {
            self.places.remove(address, &member);
        }
    }

    /// Moves a member that was added with the labels of before; what both have is not touched.
    pub fn relabel(&mut self, before: &Labels, after: &Labels, member: T) {
        for address in beyond(before, after) {
            self.places.remove(address, &member);
        }
        for address in beyond(after, before) {
            self.places.insert(address, member);
        }
    }

    /// The members that the selector may select, in order; it selects no other. None where the selector asks for no
    /// label, so that anybody may be selected.
    pub fn candidates(&self, selector: &Selector) -> Option<Vec<T>> {
        let asking = selector.requirements().iter().filter(|requirement| requirement.asks_for_a_label());
        let fewest =
            asking.min_by_key(|requirement| self.with(requirement).map(<[T]>::len).sum::<usize>())?;
        let mut members: Vec<T> = self.with(fewest).flatten().copied().collect();
        members.sort();
        members.dedup();
        Some(members)
    }

    /// The members with a label that the requirement asks for, by value.
    fn with<'a>(&'a self, requirement: &'a Requirement) -> impl Iterator<Item = &'a [T]> {
        Address::asked_for(requirement).map(|address| self.places.at(address))
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

/// Where a member with these labels lies, and one with the others does not. Mostly they differ in few.
fn beyond<'a>(labels: &'a Labels, others: &'a Labels) -> impl Iterator<Item = Address<'a>> {
    let differing =
        labels.iter().filter(|(key, value)| others.value(Some(&key.source), &key.name) != Some(value));
    let of_others = || others.iter().flat_map(addresses);
    differing.flat_map(addresses).filter(move |address| !of_others().any(|other| other == *address))
}

/// Where a member with this label lies.
fn addresses<'a>((known, value): (&'a LabelKey, &'a str)) -> [Address<'a>; 2] {
    let of_any_value = Address { name: Some(&known.name), ..Address::default() };
    [of_any_value, Address { value: Some(value), ..of_any_value }]
}
