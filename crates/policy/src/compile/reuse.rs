//! Reuse of a policy's predecessor: of the cells and columns that no added or removed rule affects.

use super::column::Column;
use super::compiled::CompiledPolicy;
use super::group_view::GroupView;
use super::part::{Part, Parts};
use super::rules::DirectionDefaults;
use crate::book::RuleBook;
use crate::cidr::AddressSide;
use crate::class::ClassId;
use crate::compiled_rule::CompiledRule;
use crate::directory::FacetId;
use crate::grouping::Grouping;
use crate::set::{Selection, SpecRef};
use std::cmp::Ordering;

/// The predecessor of a policy, and the peers and addresses that the differing rules select.
#[derive(Debug)]
pub(super) struct Reuse<'a> {
    before: &'a mut CompiledPolicy,
    /// The facets that select peers of rules that only one of the two policies has, in order.
    changed_facets: Vec<FacetId>,
    /// The sides with a peer that has one of these facets.
    affected_sides: Vec<AddressSide>,
    /// Whether the predecessor has cells for every group.
    is_complete: bool,
}

impl<'a> Reuse<'a> {
    /// The parts of the predecessor that can be reused; none if a differing rule selects every peer.
    pub(super) fn new(
        before: &'a mut CompiledPolicy,
        (selection, defaults): (&Selection, [DirectionDefaults; 2]),
        grouping: &Grouping,
    ) -> Option<Self> {
        if before.defaults != defaults || !agree_on_ports(&before.selection, selection) {
            return None;
        }
        let mut changed_facets = Vec::new();
        for rule in differing_rules(&before.selection, selection) {
            changed_facets.extend(rule.facets.as_ref()?);
        }
        changed_facets.sort_unstable();
        changed_facets.dedup();
        let affected_groups = (0..grouping.count()).filter(|group| grouping.has_any(*group, &changed_facets));
        let affected_sides = affected_groups.map(|group| grouping.profile(group).kind.side()).collect();
        let is_complete = before.filled_up_to == grouping.count();
        Some(Self { before, changed_facets, affected_sides, is_complete })
    }

    /// Takes the column of a part if no differing rule selects addresses of the part or peers of its side.
    pub(super) fn take_unaffected(&mut self, part: &Part, book: &mut RuleBook) -> Option<Column> {
        if !self.is_complete || self.affected_sides.contains(&part.side) || self.is_part_changed(part) {
            return None;
        }
        let known = self.number_before(part)?;
        Some(self.before.columns[known as usize].transfer(book))
    }

    /// Takes the column of a part if it equals this one.
    pub(super) fn take_equal(&mut self, part: &Part, column: &Column, book: &mut RuleBook) -> Option<Column> {
        let known = self.number_before(part)?;
        let before = &mut self.before.columns[known as usize];
        before.is_same(column).then(|| before.transfer(book))
    }

    /// The class of a group in a part; `Some(None)` if the group has no class there. None if the class must be
    /// computed.
    pub(super) fn class_of(&self, view: &GroupView<'_>, part: &Part) -> Option<Option<ClassId>> {
        let GroupView { group, profile, facets } = *view;
        if group >= self.before.filled_up_to || self.is_changed(facets) || self.is_part_changed(part) {
            return None;
        }
        let known = self.number_before(part)?;
        Some(self.before.columns[known as usize].class_of(group, profile.kind.is_workload()))
    }

    /// The number of a part in the predecessor.
    fn number_before(&self, part: &Part) -> Option<u32> {
        if part.difference.is_root() { Some(Parts::root(part.side)) } else { self.before.parts.number(part) }
    }

    fn is_part_changed(&self, part: &Part) -> bool {
        self.is_changed(&part.difference.within) || self.is_changed(&part.difference.around)
    }

    fn is_changed(&self, facets: &[FacetId]) -> bool {
        facets.iter().any(|facet| self.changed_facets.binary_search(facet).is_ok())
    }
}

/// Whether the specs that both selections have match no port by a name that stands for different ports of the subject.
fn agree_on_ports(one: &Selection, other: &Selection) -> bool {
    let names: Vec<&str> =
        one.ports().names_beside(other.ports()).chain(other.ports().names_beside(one.ports())).collect();
    let common = one.specs().iter().filter(|spec| other.specs().contains(spec));
    names.is_empty()
        || common
            .flat_map(SpecRef::rules)
            .all(|rule| names.iter().all(|name| !rule.matches_subject_port(name)))
}

/// The rules of specs that only one of two selections has. Both selections must be in the order of their policies'
/// names.
fn differing_rules<'a>(one: &'a Selection, other: &'a Selection) -> impl Iterator<Item = &'a CompiledRule> {
    let (mut one, mut other) = (one.specs().iter().peekable(), other.specs().iter().peekable());
    let specs = std::iter::from_fn(move || {
        loop {
            let (Some(left), Some(right)) = (one.peek(), other.peek()) else {
                return one.next().or_else(|| other.next());
            };
            match left.place().cmp(&right.place()) {
                Ordering::Less => return one.next(),
                Ordering::Greater => return other.next(),
                // A policy that was applied again is another policy.
                Ordering::Equal if left != right => return one.next(),
                Ordering::Equal => _ = (one.next(), other.next()),
            }
        }
    });
    specs.flat_map(|applying| applying.rules())
}
