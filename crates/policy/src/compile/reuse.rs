//! What a policy says as the one before it said, because no rule that came or went is about it.

use super::column::Column;
use super::part::{Part, Parts};
use super::rules::Stance;
use super::{CompiledPolicy, Listener};
use crate::book::RuleBook;
use crate::cidr::AddressSide;
use crate::class::ClassId;
use crate::directory::FacetId;
use crate::grouping::Grouping;
use crate::ready::Ready;
use crate::set::{Applying, Selection};
use std::cmp::Ordering;

/// A policy before, and whom the rules are about that only one of two policies has.
#[derive(Debug)]
pub(super) struct Reuse<'a> {
    before: &'a mut CompiledPolicy,
    /// In order.
    concerned: Vec<FacetId>,
    /// The sides on which there are peers with one of these.
    listening: Vec<AddressSide>,
    /// Whether the policy before has said something to every group.
    has_met_all: bool,
}

impl<'a> Reuse<'a> {
    /// What may be said again; nothing where anybody may be concerned.
    pub(super) fn new(
        before: &'a mut CompiledPolicy,
        (selection, stances): (&Selection, [Stance; 2]),
        grouping: &Grouping,
    ) -> Option<Self> {
        if before.stances != stances || !agree_on_ports(&before.selection, selection) {
            return None;
        }
        let mut concerned = Vec::new();
        for rule in rules_of_one(&before.selection, selection) {
            concerned.extend(rule.facets.as_ref()?);
        }
        concerned.sort_unstable();
        concerned.dedup();
        let concerned_groups = (0..grouping.count()).filter(|group| grouping.has_any(*group, &concerned));
        let listening = concerned_groups.map(|group| grouping.profile(group).kind.side()).collect();
        let has_met_all = before.met == grouping.count();
        Some(Self { before, concerned, listening, has_met_all })
    }

    /// The column of a part where no rule that came or went is about the part or about anybody who hears of it.
    pub(super) fn take_untouched(&mut self, part: &Part, book: &mut RuleBook) -> Option<Column> {
        if !self.has_met_all || self.listening.contains(&part.side) || self.is_about(part) {
            return None;
        }
        let known = self.known(part)?;
        Some(self.before.columns[known as usize].hand_on(book))
    }

    /// The column of a part, where it says the same as this one.
    pub(super) fn take_same(&mut self, part: &Part, column: &Column, book: &mut RuleBook) -> Option<Column> {
        let known = self.known(part)?;
        let before = &mut self.before.columns[known as usize];
        before.is_same(column).then(|| before.hand_on(book))
    }

    /// What a group heard in a part: its class, or that there was none. Nothing where it may be something else now.
    pub(super) fn heard(&self, listener: &Listener<'_>, part: &Part) -> Option<Option<ClassId>> {
        let Listener { group, profile, facets } = *listener;
        if group >= self.before.met || self.concerns(facets) || self.is_about(part) {
            return None;
        }
        let known = self.known(part)?;
        Some(self.before.columns[known as usize].heard(group, profile.kind.is_workload()))
    }

    /// The number that a part had before.
    fn known(&self, part: &Part) -> Option<u32> {
        if part.difference.is_none() { Some(Parts::whole(part.side)) } else { self.before.parts.number(part) }
    }

    fn is_about(&self, part: &Part) -> bool {
        self.concerns(&part.difference.within) || self.concerns(&part.difference.around)
    }

    fn concerns(&self, facets: &[FacetId]) -> bool {
        facets.iter().any(|facet| self.concerned.binary_search(facet).is_ok())
    }
}

/// Whether the specs that both selections have ask for no port that the subject has by another number now.
fn agree_on_ports(one: &Selection, other: &Selection) -> bool {
    let names: Vec<&str> =
        one.ports().names_beside(other.ports()).chain(other.ports().names_beside(one.ports())).collect();
    let common = one.specs().iter().filter(|spec| other.specs().contains(spec));
    names.is_empty()
        || common.flat_map(Applying::rules).all(|rule| names.iter().all(|name| !rule.asks_subject_for(name)))
}

/// The rules of specs that only one of two selections has; both are in the order of their policies' names.
fn rules_of_one<'a>(one: &'a Selection, other: &'a Selection) -> impl Iterator<Item = &'a Ready> {
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
