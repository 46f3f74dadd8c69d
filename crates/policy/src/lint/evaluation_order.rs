//! Which of two rules is asked first, and what is left for the other to do.

use super::cover::{PeerView, Requests, RuleView};
use super::same_priority::have_same_priority;
use super::{Flaw, http_without_effect};
use crate::book::RuleOrigin;
use crate::rule::{Action, Direction, Tier, Traffic, TrafficMatch};
use std::collections::BTreeMap;

/// Most denies that are looked at together; nothing is said where more would be needed.
const MAX_TOGETHER: usize = 100;

/// When rules are asked, as far as it depends on all of them.
#[derive(Debug)]
pub(super) struct EvaluationOrder {
    /// The first priority of each tier at which a rule passes: those after it may be left out.
    passes: BTreeMap<(Direction, Tier), u32>,
}

/// How two rules stand in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RelativeOrder {
    /// The first is asked before the second, whenever both apply and the second is asked.
    Before,
    /// Both are asked at once.
    Same,
    /// Nothing is certain.
    Unknown,
}

impl EvaluationOrder {
    pub(super) fn of(entries: &[RuleView<'_>]) -> Self {
        let mut passes = BTreeMap::new();
        for entry in entries.iter().filter(|entry| entry.rule.action == Action::Pass) {
            let first = passes.entry((entry.rule.direction, entry.spec.tier)).or_insert(u32::MAX);
            *first = entry.rule.priority.min(*first);
        }
        Self { passes }
    }

    /// What is wrong with a rule beside the others, each with its number; the first that is found.
    pub(super) fn flaw<'a>(
        &self,
        (number, rule): (usize, &RuleView<'_>),
        others: impl Iterator<Item = (usize, &'a RuleView<'a>)>,
    ) -> Option<Flaw> {
        let mut others = others.filter(|(other, _)| *other != number);
        others.find_map(|(other_number, other)| {
            let turn = self.relative_order(other, rule);
            if turn == RelativeOrder::Unknown || !other.has_subjects_of(rule) || !other.has_peers_of(rule) {
                return None;
            }
            let is_earlier = other_number < number;
            let redundancy = redundancy(other, rule, turn, is_earlier)?;
            // That a rule for requests adds nothing to one for connections is not all that is wrong with it.
            Some(http_without_effect::flaw(other, rule).unwrap_or(redundancy))
        })
    }

    /// What is wrong with an allow or a pass beside several denies: whether they refuse all of it together, each all that
    /// some peers send or some traffic of them.
    pub(super) fn refused_together<'a>(
        &self,
        rule: &RuleView<'_>,
        others: impl Iterator<Item = &'a RuleView<'a>>,
    ) -> Option<Flaw> {
        if rule.rule.action == Action::Deny {
            return None;
        }
        let denies = others.filter(|other| {
            other.rule.action == Action::Deny && self.is_in_time(other, rule) && other.has_subjects_of(rule)
        });
        let denies: Vec<&RuleView<'_>> = denies.take(MAX_TOGETHER).collect();
        let peers: Vec<Option<&PeerView<'_>>> = match &rule.peers {
            None => vec![None],
            Some(peers) => peers.iter().map(Some).collect(),
        };
        let traffic: Vec<Option<&TrafficMatch>> = match &rule.rule.traffic {
            Traffic::Any => vec![None],
            Traffic::Of(matches) => matches.iter().map(Some).collect(),
        };
        let mut found: Vec<RuleOrigin> = Vec::new();
        for (peer, one) in peers.iter().flat_map(|peer| traffic.iter().map(move |one| (*peer, *one))) {
            let origin = denies.iter().find(|deny| refuses(deny, peer, one))?.origin();
            if !found.contains(&origin) {
                found.push(origin);
            }
        }
        (found.len() > 1).then_some(Flaw::DeniedInParts(found))
    }

    /// Whether the first is asked before the second or together with it, whenever both apply.
    pub(super) fn is_in_time(&self, first: &RuleView<'_>, second: &RuleView<'_>) -> bool {
        self.relative_order(first, second) != RelativeOrder::Unknown
    }

    fn relative_order(&self, first: &RuleView<'_>, second: &RuleView<'_>) -> RelativeOrder {
        let place = |entry: &RuleView<'_>| (entry.spec.tier, entry.rule.priority);
        if have_same_priority(first, second) {
            return RelativeOrder::Unknown;
        }
        if place(first) == place(second) {
            RelativeOrder::Same
        } else if first.spec.tier == second.spec.tier {
            if first.rule.priority < second.rule.priority {
                RelativeOrder::Before
            } else {
                RelativeOrder::Unknown
            }
        } else if first.spec.tier < second.spec.tier && self.is_reached(first) {
            RelativeOrder::Before
        } else {
            RelativeOrder::Unknown
        }
    }

    /// Whether the rule decides whenever it applies and nothing decided before, for later tiers too.
    fn is_reached(&self, entry: &RuleView<'_>) -> bool {
        let passes = self.passes.get(&(entry.rule.direction, entry.spec.tier));
        entry.rule.action != Action::Pass && passes.is_none_or(|first| entry.rule.priority <= *first)
    }
}

/// What a rule is beside another that has all its subjects and peers; `is_earlier` where that comes first in the policies.
fn redundancy(
    other: &RuleView<'_>,
    rule: &RuleView<'_>,
    turn: RelativeOrder,
    is_earlier: bool,
) -> Option<Flaw> {
    let same = other.rule.action == rule.rule.action;
    if same && other.has_traffic_of(rule, Requests::Compared) {
        let counts = turn == RelativeOrder::Before || is_earlier || !is_all_of(rule, other);
        return counts.then(|| Flaw::Shadowed(other.origin()));
    }
    let is_first = turn == RelativeOrder::Before || rank(other.rule.action) < rank(rule.rule.action);
    let swallows = is_first && other.has_traffic_of(rule, Requests::Ignored);
    swallows.then(|| Flaw::NeverDecides(other.origin(), other.rule.action))
}

/// Whether a deny refuses such traffic with such a peer; nothing stands for anyone, and for anything.
fn refuses(deny: &RuleView<'_>, peer: Option<&PeerView<'_>>, one: Option<&TrafficMatch>) -> bool {
    let has_peer = peer.map_or_else(|| deny.has_every_peer(), |peer| deny.has_peer(peer));
    let is_all = || deny.rule.traffic == Traffic::Any;
    has_peer && one.map_or_else(is_all, |one| deny.has_match(one, Requests::Ignored))
}

/// The order in which rules of one tier and priority are asked.
fn rank(action: Action) -> u8 {
    match action {
        Action::Deny => 0,
        Action::Allow => 1,
        Action::Pass => 2,
    }
}

/// Whether the rules say the same: then the first of them is the one that counts.
fn is_all_of(rule: &RuleView<'_>, other: &RuleView<'_>) -> bool {
    rule.has_subjects_of(other) && rule.has_peers_of(other) && rule.has_traffic_of(other, Requests::Compared)
}
