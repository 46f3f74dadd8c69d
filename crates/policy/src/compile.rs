//! Policies turned into the rows that the packet path looks up; see [`abi::policy`] for the lookup.
//!
//! A compiled policy serves every subject with the same [`crate::set::PolicyKey`]. Peers are folded into the groups of
//! a [`Grouping`], and groups that hear the same into classes: a peer that comes later adds rows to a policy that is in
//! force and changes none. What the policy says of a block of addresses, it says as a difference to what it says around
//! it (decision 004).

mod clause;
mod part;
mod reuse;
mod rules;
mod table;

use crate::book::RuleBook;
use crate::cidr::{Blocks, CidrClass, Side};
use crate::class::ClassId;
use crate::directory::{Directory, FacetId};
use crate::grouping::{Demand, Grouping, Kind, Profile, merged};
use crate::rule::Direction;
use crate::set::Selection;
use abi::policy::{CidrPartKey, ClassKey, GROUP_OF_WORKLOADS};
use abi::row::{MapOp, Row, RowKey};
use part::{Difference, Parts};
use reuse::Reuse;
use rules::{BothWays, Stance};
use std::collections::BTreeSet;
use table::Around;

/// What one selection of specs says to the groups of a grouping, as rows without a policy number.
#[derive(Clone, Debug)]
pub struct Compiled {
    selection: Selection,
    /// Of ingress and egress.
    stances: [Stance; 2],
    parts: Parts,
    /// For each group the parts, in order, with a class that the lookup would not find by falling back.
    groups: Vec<Box<[(u32, ClassId)]>>,
}

impl Compiled {
    /// Compiles what applies to a subject, for all groups of a grouping that has been asked what it demands. What a
    /// policy before said to them need not be found out again where no rule that came or went is about it.
    pub fn new(
        (selection, demand): (Selection, &Demand),
        (grouping, directory): (&Grouping, &Directory),
        before: Option<&Self>,
        book: &mut RuleBook,
    ) -> Self {
        let selection = selection.ordered();
        let stances =
            [Direction::Ingress, Direction::Egress].map(|direction| Stance::of(&selection, direction));
        let parts = Parts::new(&demand.of_addresses, directory);
        let mut compiled =
            Self { selection, stances, parts, groups: Vec::with_capacity(grouping.count() as usize) };
        let reuse = before.and_then(|before| Reuse::new(before, &compiled));
        compiled.catch_up(grouping, reuse.as_ref(), book);
        compiled.groups.shrink_to_fit();
        compiled
    }

    /// Whether packets of this direction need an allowing row. Where it is false, everything goes.
    pub fn enforces(&self, direction: Direction) -> bool {
        let [ingress, egress] = self.stances;
        match direction {
            Direction::Ingress => ingress.enforced,
            Direction::Egress => egress.enforced,
        }
    }

    /// The rows of classes; their verdicts are the book's.
    pub fn rows(&self, policy: u32) -> impl Iterator<Item = Row> {
        self.rows_from(policy, 0)
    }

    /// The rows of the policy's own blocks, which are in force.
    pub fn block_rows(&self, policy: u32, blocks: &Blocks) -> impl Iterator<Item = Row> {
        [Side::World, Side::Inside].into_iter().flat_map(move |side| {
            self.parts.blocks(side).iter().filter_map(move |(block, part)| {
                let cidr = blocks.class(block, side)?.number;
                Some(Row::CidrPart(CidrPartKey { policy, cidr }, *part))
            })
        })
    }

    /// Whether it has said something to all groups of the grouping.
    pub fn has_met(&self, grouping: &Grouping) -> bool {
        self.groups.len() == grouping.count() as usize
    }

    /// Says something to the groups that are new in the grouping; the rows to add are returned. They must be in place
    /// before any peer is in those groups.
    pub fn meet(
        &mut self,
        policy: u32,
        grouping: &Grouping,
        book: &mut RuleBook,
    ) -> impl Iterator<Item = Row> + use<'_> {
        let known = self.groups.len() as u32;
        self.catch_up(grouping, None, book);
        self.rows_from(policy, known)
    }

    /// Whether the policy asks for domain names, so that it must hear of addresses that have some.
    pub fn has_domains(&self) -> bool {
        self.parts.has_domains()
    }

    /// Notes from which names the address of a class of its own ([`Blocks::insert_address`]) was resolved, now or no
    /// more; the writes that this asks for are returned, in order.
    pub fn name(
        &mut self,
        policy: u32,
        (class, names): (&CidrClass, &BTreeSet<String>),
        grouping: &Grouping,
        book: &mut RuleBook,
    ) -> Vec<MapOp> {
        let difference = self.parts.named(&class.block, names);
        let key = CidrPartKey { policy, cidr: class.number };
        if difference.within == difference.around {
            return vec![MapOp::Delete(RowKey::CidrPart(key))];
        }
        let (part, is_new) = self.parts.intern(difference, Side::World);
        let mut writes = Vec::new();
        if is_new {
            writes.extend(self.enter(policy, part, grouping, book).into_iter().map(MapOp::Put));
        }
        writes.push(MapOp::Put(Row::CidrPart(key, part)));
        writes
    }

    /// The row by which the policy knows an address with these names, which it was told of ([`Self::name`]); none where
    /// the names mean nothing to it.
    pub fn named_row(&self, policy: u32, class: &CidrClass, names: &BTreeSet<String>) -> Option<Row> {
        let part = self.parts.number(&self.parts.named(&class.block, names))?;
        Some(Row::CidrPart(CidrPartKey { policy, cidr: class.number }, part))
    }

    /// Gives up its classes, once the rows are gone.
    pub fn release(self, book: &mut RuleBook) {
        let classes = self.groups.iter().flat_map(|parts| parts.iter().map(|(_, class)| *class));
        classes.for_each(|class| book.release_class(class));
    }

    /// Says something to the groups that it has said nothing to yet.
    fn catch_up(&mut self, grouping: &Grouping, reuse: Option<&Reuse<'_>>, book: &mut RuleBook) {
        let known = self.groups.len() as u32;
        if known == grouping.count() {
            return;
        }
        let Self { selection, stances, parts, groups } = self;
        let rules = BothWays::new(selection, *stances);
        for group in known..grouping.count() {
            let said = said_to((grouping, group), (&rules, parts), reuse, book);
            // What other workloads fall back to is there before them.
            let fallback = groups.get(GROUP_OF_WORKLOADS as usize);
            let fallback = fallback.filter(|_| grouping.profile(group).kind.is_workload());
            let said = differing(said, fallback.map_or(&[], |said| said), book);
            groups.push(said);
        }
    }

    /// Adds a part that addresses of the world can be in from now on; the rows to add are returned.
    fn enter(&mut self, policy: u32, part: u32, grouping: &Grouping, book: &mut RuleBook) -> Vec<Row> {
        let Self { selection, stances, parts, groups } = self;
        let rules = BothWays::new(selection, *stances);
        let mut rows = Vec::new();
        for (group, said) in (0..).zip(groups) {
            let profile = grouping.profile(group);
            if profile.kind != Kind::World {
                continue;
            }
            let peers = (&*grouping.facets_of(group), profile);
            let around = &mut Around::default();
            if let Some(class) = class_in(parts.difference(part), peers, (&rules, around), book) {
                let mut all = said.to_vec();
                all.insert(all.partition_point(|(known, _)| *known < part), (part, class));
                *said = all.into();
                rows.push(row(policy, group, part, class));
            }
        }
        rows
    }

    fn rows_from(&self, policy: u32, first: u32) -> impl Iterator<Item = Row> {
        (first..).zip(self.groups.iter().skip(first as usize)).flat_map(move |(group, said)| {
            said.iter().map(move |(part, class)| row(policy, group, *part, *class))
        })
    }
}

/// The classes of a group in all parts where it has any, by part; each is held.
fn said_to(
    (grouping, group): (&Grouping, u32),
    (rules, parts): (&BothWays<'_>, &Parts),
    reuse: Option<&Reuse<'_>>,
    book: &mut RuleBook,
) -> Vec<(u32, ClassId)> {
    let profile = grouping.profile(group);
    let facets = grouping.facets_of(group);
    let mut around = Around::default();
    let mut said = Vec::new();
    for part in std::iter::once(0).chain(parts.of_side(profile.kind.side())) {
        let difference = parts.difference(part);
        let again = reuse.and_then(|reuse| reuse.said((group, profile, &facets), difference));
        let class = match again {
            Some(class) => {
                class.into_iter().for_each(|class| book.hold_class(class));
                class
            }
            None if part == 0 => {
                around.enter(facets.clone(), &profile.ports, rules);
                let answers = rules.each(|rules, direction| table::answers(rules, direction, &around));
                Some(table::class(answers, book)).filter(|class| *class != ClassId::SILENT)
            }
            None => class_in(difference, (&facets, profile), (rules, &mut around), book),
        };
        said.extend(class.map(|class| (part, class)));
    }
    said
}

/// The class of what a part changes for peers of this profile; none where it changes nothing.
fn class_in(
    difference: &Difference,
    (facets, profile): (&[FacetId], &Profile),
    (rules, around): (&BothWays<'_>, &mut Around),
    book: &mut RuleBook,
) -> Option<ClassId> {
    around.enter(merged(facets, &difference.around), &profile.ports, rules);
    let after = merged(facets, &difference.within);
    let changes =
        rules.each(|rules, direction| table::changes((rules, direction), around, &after, &profile.ports));
    let says_something = changes.iter().any(|(_, changes)| !changes.is_empty());
    says_something.then(|| table::class(changes, book))
}

/// What must be said where `otherwise` is said without it; both are in the order of parts. A class without verdicts says
/// nothing, where that of all others would say something.
fn differing(
    mut said: Vec<(u32, ClassId)>,
    otherwise: &[(u32, ClassId)],
    book: &mut RuleBook,
) -> Box<[(u32, ClassId)]> {
    let is_silent = |(part, _): &&(u32, ClassId)| said_in(&said, *part).is_none();
    let silent = otherwise.iter().filter(is_silent).map(|(part, _)| (*part, ClassId::SILENT));
    let silent: Vec<_> = silent.collect();
    said.retain(|(part, class)| {
        let is_same = said_in(otherwise, *part) == Some(*class);
        if is_same {
            book.release_class(*class);
        }
        !is_same
    });
    said.extend(silent);
    said.sort_unstable_by_key(|(part, _)| *part);
    said.into()
}

/// The class in a part, of those that are said in order of parts.
fn said_in(said: &[(u32, ClassId)], part: u32) -> Option<ClassId> {
    let at = said.binary_search_by_key(&part, |(part, _)| *part).ok()?;
    Some(said[at].1)
}

fn row(policy: u32, group: u32, part: u32, class: ClassId) -> Row {
    Row::Class(ClassKey { policy, group, part }, class.0)
}
