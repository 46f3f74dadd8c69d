//! What a policy says as the one before it said, because no rule that came or went is about it.

use super::column::Column;
use super::part::{Difference, Parts, Sides};
use super::rules::Stance;
use super::{Compiled, Listener};
use crate::book::RuleBook;
use crate::class::ClassId;
use crate::directory::FacetId;
use crate::grouping::Grouping;
use crate::ready::Ready;
use crate::set::Selection;
use std::cmp::Ordering;

/// A policy before, and whom the rules are about that only one of two policies has.
#[derive(Debug)]
pub(super) struct Reuse<'a> {
    before: &'a mut Compiled,
    /// In order.
    concerned: Vec<FacetId>,
    /// On which sides there are peers with one of these.
    listening: Sides,
    /// Whether the policy before has said something to every group.
    has_met_all: bool,
}

impl<'a> Reuse<'a> {
    /// What may be said again; nothing where anybody may be concerned.
    pub(super) fn new(
        before: &'a mut Compiled,
        (selection, stances): (&Selection, [Stance; 2]),
        grouping: &Grouping,
    ) -> Option<Self> {
        if before.stances != stances || before.selection.ports() != selection.ports() {
            return None;
        }
        let mut concerned = Vec::new();
        for rule in rules_of_one(&before.selection, selection) {
            concerned.extend(rule.facets.as_ref()?);
        }
        concerned.sort_unstable();
        concerned.dedup();
        let mut listening = Sides::default();
        for group in (0..grouping.count()).filter(|group| grouping.has_any(*group, &concerned)) {
            listening.add(grouping.profile(group).kind.side());
        }
        let has_met_all = before.has_met(grouping);
        Some(Self { before, concerned, listening, has_met_all })
    }

    /// The column of a part where no rule that came or went is about the part or about anybody who hears of it.
    pub(super) fn take_untouched(
        &mut self,
        (parts, part): (&Parts, u32),
        book: &mut RuleBook,
    ) -> Option<Column> {
        let (difference, sides) = (parts.difference(part), parts.sides(part));
        if !self.has_met_all || self.listening.meet(sides) || self.is_about(difference) {
            return None;
        }
        let known = self.known(difference).filter(|known| self.before.parts.sides(*known) == sides)?;
        Some(self.before.columns[known as usize].hand_on(book))
    }

    /// The column of the part with this difference, where it says the same as this one.
    pub(super) fn take_same(
        &mut self,
        difference: &Difference,
        column: &Column,
        book: &mut RuleBook,
    ) -> Option<Column> {
        let known = self.known(difference)?;
        let before = &mut self.before.columns[known as usize];
        before.is_same(column).then(|| before.hand_on(book))
    }

    /// What a group heard in the part with this difference: its class, or that there was none. Nothing where it may be
    /// something else now.
    pub(super) fn heard(&self, listener: &Listener<'_>, difference: &Difference) -> Option<Option<ClassId>> {
        let Listener { group, profile, facets } = *listener;
        if group >= self.before.met || self.concerns(facets) || self.is_about(difference) {
            return None;
        }
        let part = self.known(difference)?;
        let was_heard = self.before.parts.is_of_side(part, profile.kind.side());
        was_heard.then(|| self.before.columns[part as usize].heard(group, profile.kind.is_workload()))
    }

    /// The part with this difference. The part of all addresses is not found by what it is.
    fn known(&self, difference: &Difference) -> Option<u32> {
        if difference.is_none() { Some(0) } else { self.before.parts.number(difference) }
    }

    fn is_about(&self, difference: &Difference) -> bool {
        self.concerns(&difference.within) || self.concerns(&difference.around)
    }

    fn concerns(&self, facets: &[FacetId]) -> bool {
        facets.iter().any(|facet| self.concerned.binary_search(facet).is_ok())
    }
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
