//! Peers that one policy cannot tell apart, and their class in every part that their addresses can be in.

use super::class::Classes;
use super::facet::FacetSet;
use super::part::{Difference, Parts};
use super::rules::BothWays;
use super::table::{self, Around};
use crate::book::RuleBook;
use crate::cidr::Side;
use crate::party::NamedPorts;
use abi::identity::{ANY_WORKLOAD, is_workload};
use foldhash::HashMap;

/// The profiles of one policy, by number; the first is that of any workload.
#[derive(Clone, Debug, Default)]
pub(super) struct Profiles {
    numbers: HashMap<Profile, u32>,
    /// For each the parts with a class that the lookup would not find by falling back.
    rows: Vec<Vec<(u32, u32)>>,
}

/// All that a policy can see of a peer, whatever its address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Profile {
    kind: Kind,
    facets: FacetSet,
    ports: NamedPorts,
}

/// Where the lookup looks for a peer's class, and in which parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    World,
    /// The number that stands for all workloads without rows of their own.
    AnyWorkload,
    Workload,
    /// Nodes and the cluster's reserved peers.
    Apart,
}

impl Profiles {
    /// The number of a profile, whose classes are worked out where it is new.
    pub(super) fn number(
        &mut self,
        profile: Profile,
        (rules, parts): (&BothWays, &Parts),
        classes: &mut Classes,
        book: &mut RuleBook,
    ) -> u32 {
        if let Some(number) = self.numbers.get(&profile) {
            return *number;
        }
        let mut rows = Vec::new();
        let class =
            classes.with(rules.each(|rules, _| table::answers(rules, &profile.facets, &profile.ports)), book);
        if class != self.fallback(profile.kind, 0).unwrap_or(0) {
            rows.push((0, class));
        }
        let mut around = Around::default();
        for part in parts.of_side(profile.kind.side()) {
            let class = profile.class_in(parts.difference(part), (rules, &mut around), classes, book);
            rows.extend(self.row(profile.kind, part, class, classes, book));
        }
        rows.shrink_to_fit();
        let number = self.rows.len() as u32;
        self.rows.push(rows);
        self.numbers.insert(profile, number);
        number
    }

    /// Adds a part that addresses of the world can be in from now on.
    pub(super) fn enter(
        &mut self,
        (part, difference): (u32, &Difference),
        rules: &BothWays,
        classes: &mut Classes,
        book: &mut RuleBook,
    ) {
        for (profile, number) in self.numbers.iter().filter(|(profile, _)| profile.kind == Kind::World) {
            let class = profile.class_in(difference, (rules, &mut Around::default()), classes, book);
            self.rows[*number as usize].extend(class.map(|class| (part, class)));
        }
    }

    /// The parts in which peers of this profile have a row, with their classes.
    pub(super) fn classes(&self, profile: u32) -> &[(u32, u32)] {
        &self.rows[profile as usize]
    }

    /// The row that makes the lookup find a class, or find that there is none.
    fn row(
        &self,
        kind: Kind,
        part: u32,
        class: Option<u32>,
        classes: &mut Classes,
        book: &mut RuleBook,
    ) -> Option<(u32, u32)> {
        let fallback = self.fallback(kind, part);
        if class == fallback {
            return None;
        }
        // A class without rows says nothing, where any workload's would.
        Some((part, class.unwrap_or_else(|| classes.with([], book))))
    }

    /// The class that the lookup finds for a peer of this kind without a row of its own.
    fn fallback(&self, kind: Kind, part: u32) -> Option<u32> {
        if kind != Kind::Workload {
            return None;
        }
        let rows = self.rows.first().expect("the profile of any workload is the first");
        rows.iter().find(|(known, _)| *known == part).map(|(_, class)| *class)
    }
}

impl Profile {
    pub(super) fn new(number: u32, mut facets: Vec<u32>, ports: NamedPorts) -> Self {
        facets.sort_unstable();
        let kind = match number {
            ANY_WORKLOAD => Kind::AnyWorkload,
            _ if is_workload(number) => Kind::Workload,
            _ if Side::of(number) == Side::World => Kind::World,
            _ => Kind::Apart,
        };
        Self { kind, facets: facets.into(), ports }
    }

    /// The class of what a part changes for such peers; none where it changes nothing.
    fn class_in(
        &self,
        difference: &Difference,
        (rules, around): (&BothWays, &mut Around),
        classes: &mut Classes,
        book: &mut RuleBook,
    ) -> Option<u32> {
        let with = |facets: &[u32]| {
            let mut all = [&*self.facets, facets].concat();
            all.sort_unstable();
            all
        };
        around.enter(with(&difference.around), &self.ports, rules);
        let after = with(&difference.within);
        let changes =
            rules.each(|rules, direction| table::changes((rules, direction), around, &after, &self.ports));
        let says_something = changes.iter().any(|(_, changes)| !changes.is_empty());
        says_something.then(|| classes.with(changes, book))
    }
}

impl Kind {
    fn side(self) -> Side {
        if self == Self::World { Side::World } else { Side::Inside }
    }
}
