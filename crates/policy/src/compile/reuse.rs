//! What a policy says as the one before it said, because no rule that came or went is about it.

use super::column::Column;
use super::part::{Part, Parts};
use super::rules::Stance;
use super::{CompiledPolicy, GroupView};
use crate::book::RuleBook;
use crate::cidr::AddressSide;
use crate::class::ClassId;
use crate::compiled_rule::CompiledRule;
use crate::directory::FacetId;
use crate::grouping::Grouping;
use crate::set::{Selection, SpecRef};
use std::cmp::Ordering;

/// A policy before, and whom the rules are about that only one of two policies has.
#[derive(Debug)]
pub(super) struct Reuse<'a> {
    before: &'a mut CompiledPolicy,
    /// In order.
    changed_facets: Vec<FacetId>,
    /// The sides on which there are peers with one of these.
    affected_sides: Vec<AddressSide>,
    /// Whether the policy before has said something to every group.
    is_complete: bool,
}

impl<'a> Reuse<'a> {
    /// What may be said again; nothing where anybody may be changed_facets.
    pub(super) fn new(
        before: &'a mut CompiledPolicy,
        (selection, stances): (&Selection, [Stance; 2]),
        grouping: &Grouping,
    ) -> Option<Self> {
        if before.stances != stances || !agree_on_ports(&before.selection, selection) {
            return None;
        }
        let mut changed_facets = Vec::new();
        for rule in rules_of_one(&before.selection, selection) {
            changed_facets.extend(rule.facets.as_ref()?);
        }
        changed_facets.sort_unstable();
        changed_facets.dedup();
        let affected_groups = (0..grouping.count()).filter(|group| grouping.has_any(*group, &changed_facets));
        let affected_sides = affected_groups.map(|group| grouping.profile(group).kind.side()).collect();
        let is_complete = before.filled_up_to == grouping.count();
        Some(Self { before, changed_facets, affected_sides, is_complete })
    }

    /// The column of a part where no rule that came or went is about the part or about anybody who hears of it.
    pub(super) fn take_untouched(&mut self, part: &Part, book: &mut RuleBook) -> Option<Column> {
        if !self.is_complete || self.affected_sides.contains(&part.side) || self.is_part_changed(part) {
            return None;
        }
        let known = self.known(part)?;
        Some(self.before.columns[known as usize].transfer(book))
    }

    /// The column of a part, where it says the same as this one.
    pub(super) fn take_same(&mut self, part: &Part, column: &Column, book: &mut RuleBook) -> Option<Column> {
        let known = self.known(part)?;
        let before = &mut self.before.columns[known as usize];
        before.is_same(column).then(|| before.transfer(book))
    }

    /// What a group class_of in a part: its class, or that there was none. Nothing where it may be something else now.
    pub(super) fn class_of(&self, view: &GroupView<'_>, part: &Part) -> Option<Option<ClassId>> {
        let GroupView { group, profile, facets } = *view;
        if group >= self.before.filled_up_to || self.is_changed(facets) || self.is_part_changed(part) {
            return None;
        }
        let known = self.known(part)?;
        Some(self.before.columns[known as usize].class_of(group, profile.kind.is_workload()))
    }

    /// The number that a part had before.
    fn known(&self, part: &Part) -> Option<u32> {
        if part.difference.is_none() { Some(Parts::whole(part.side)) } else { self.before.parts.number(part) }
    }

    fn is_part_changed(&self, part: &Part) -> bool {
        self.is_changed(&part.difference.within) || self.is_changed(&part.difference.around)
    }

    fn is_changed(&self, facets: &[FacetId]) -> bool {
        facets.iter().any(|facet| self.changed_facets.binary_search(facet).is_ok())
    }
}

/// Whether the specs that both selections have ask for no port that the subject has by another number now.
fn agree_on_ports(one: &Selection, other: &Selection) -> bool {
    let names: Vec<&str> =
        one.ports().names_beside(other.ports()).chain(other.ports().names_beside(one.ports())).collect();
    let common = one.specs().iter().filter(|spec| other.specs().contains(spec));
    names.is_empty()
        || common.flat_map(SpecRef::rules).all(|rule| names.iter().all(|name| !rule.asks_subject_for(name)))
}

/// The rules of specs that only one of two selections has; both are in the order of their policies' names.
fn rules_of_one<'a>(one: &'a Selection, other: &'a Selection) -> impl Iterator<Item = &'a CompiledRule> {
    let (mut one, mut other) = (one.specs().iter().peekable(), other.specs().iter().peekable());
    let specs = std::iter::from_fn(move || {
        loop {
            let (Some(left), Some(right)) = (one.peek(), other.peek()) else {
                return one.next().or_else(|| other.next());
            };
            match left.place().cmp(&right.place()) {
                Ordering::Less => return one.next(),
                Ordering::Greater => return other.next(),
                // A policy that was submitted again is another one.
                Ordering::Equal if left != right => return one.next(),
                Ordering::Equal => _ = (one.next(), other.next()),
            }
        }
    });
    specs.flat_map(|applying| applying.rules())
}
