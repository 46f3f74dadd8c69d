//! What a policy says as the one before it said, because no rule that came or went is about it.

use super::part::Difference;
use super::{Compiled, GROUP_OF_WORKLOADS, said_in};
use crate::class::ClassId;
use crate::directory::FacetId;
use crate::grouping::Profile;
use crate::ready::Ready;
use crate::set::Selection;
use std::cmp::Ordering;

/// A policy before, and whom the rules are about that only one of two policies has.
#[derive(Debug)]
pub(super) struct Reuse<'a> {
    before: &'a Compiled,
    /// In order.
    concerned: Vec<FacetId>,
}

impl<'a> Reuse<'a> {
    /// What may be said again; nothing where anybody may be concerned.
    pub(super) fn new(before: &'a Compiled, now: &Compiled) -> Option<Self> {
        if before.stances != now.stances || before.selection.ports() != now.selection.ports() {
            return None;
        }
        let mut concerned = Vec::new();
        for rule in rules_of_one(&before.selection, &now.selection) {
            concerned.extend(rule.facets.as_ref()?);
        }
        concerned.sort_unstable();
        Some(Self { before, concerned })
    }

    /// What peers of a group heard in the part with this difference: their class, or that there was none. Nothing where
    /// it may be something else now.
    pub(super) fn said(
        &self,
        (group, profile, facets): (u32, &Profile, &[FacetId]),
        difference: &Difference,
    ) -> Option<Option<ClassId>> {
        let own = self.before.groups.get(group as usize)?;
        if [facets, &difference.within, &difference.around].iter().any(|facets| self.concerns(facets)) {
            return None;
        }
        // Part 0 is not found by what it is, for every address is in it.
        let is_whole = *difference == Difference::default();
        let part = if is_whole { 0 } else { self.before.parts.number(difference)? };
        if !self.before.parts.is_of_side(part, profile.kind.side()) {
            return None;
        }
        let fallback = || {
            let said = self.before.groups.get(GROUP_OF_WORKLOADS as usize)?;
            said_in(said, part).filter(|_| profile.kind.is_workload())
        };
        Some(said_in(own, part).or_else(fallback).filter(|class| *class != ClassId::SILENT))
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
