//! Which of two rules is evaluated first, and whether the other one has any effect.

use super::cover::{PeerView, Requests, RuleView};
use super::flaw::Flaw;
use super::http_without_effect;
use super::same_priority::have_same_priority;
use crate::book::RuleOrigin;
use crate::rule::{Action, Direction, Tier, Traffic, TrafficMatch};
use std::collections::BTreeMap;

/// The most denies that are combined. If more are needed, no flaw is reported.
const MAX_TOGETHER: usize = 100;

/// What the order of two rules depends on beside the two.
#[derive(Debug)]
pub(super) struct EvaluationOrder {
    /// The first priority with a pass, by tier. Later rules of the tier may be skipped.
    passes: BTreeMap<(Direction, Tier), u32>,
}

/// The order of two rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RelativeOrder {
    /// The first rule is evaluated before the second whenever both match and the second is evaluated.
    Before,
    /// Both have the same tier and priority.
    Same,
    /// The order is not certain.
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

    /// The first flaw of a rule that one of the others causes. Each rule comes with its index.
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
            // A rule for requests is not only redundant beside one for connections: its HTTP rules have no effect.
            Some(http_without_effect::flaw(other, rule).unwrap_or(redundancy))
        })
    }

    /// The flaw of an allow or a pass that several denies together deny, each of them for some peers or some traffic.
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

    /// Whether the first rule is evaluated before the second or together with it, whenever both match.
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

    /// Whether the rule decides before later tiers whenever it matches and no earlier rule decided.
    fn is_reached(&self, entry: &RuleView<'_>) -> bool {
        let passes = self.passes.get(&(entry.rule.direction, entry.spec.tier));
        entry.rule.action != Action::Pass && passes.is_none_or(|first| entry.rule.priority <= *first)
    }
}

/// The flaw of a rule beside another one that matches all its subjects and peers. `is_earlier`: the other one comes
/// first in the policies.
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

/// Whether a deny matches this traffic with this peer. None stands for every peer, and for all traffic.
fn refuses(deny: &RuleView<'_>, peer: Option<&PeerView<'_>>, one: Option<&TrafficMatch>) -> bool {
    let has_peer = peer.map_or_else(|| deny.has_every_peer(), |peer| deny.has_peer(peer));
    let is_all = || deny.rule.traffic == Traffic::Any;
    has_peer && one.map_or_else(is_all, |one| deny.has_match(one, Requests::Ignored))
}

/// The order of actions at one tier and priority.
fn rank(action: Action) -> u8 {
    match action {
        Action::Deny => 0,
        Action::Allow => 1,
        Action::Pass => 2,
    }
}

/// Whether this rule also covers the other: then the first of the two counts.
fn is_all_of(rule: &RuleView<'_>, other: &RuleView<'_>) -> bool {
    rule.has_subjects_of(other) && rule.has_peers_of(other) && rule.has_traffic_of(other, Requests::Compared)
}
