//! Which of two rules is asked first, and what is left for the other to do.

use super::Flaw;
use super::cover::{Entry, Requests};
use crate::rule::{Action, Direction, Tier, Traffic, TrafficMatch};
use std::collections::BTreeMap;

/// When rules are asked, as far as it depends on all of them.
#[derive(Debug)]
pub(super) struct Order {
    /// The first priority of each tier at which a rule passes: those after it may be left out.
    passes: BTreeMap<(Direction, Tier), u32>,
}

/// How two rules stand in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// The first is asked before the second, whenever both apply and the second is asked.
    Before,
    /// Both are asked at once.
    Same,
    /// Nothing is certain.
    Unknown,
}

impl Order {
    pub(super) fn of(entries: &[Entry<'_>]) -> Self {
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
        (number, rule): (usize, &Entry<'_>),
        others: impl Iterator<Item = (usize, &'a Entry<'a>)>,
    ) -> Option<Flaw> {
        if parts_void(rule) {
            return Some(Flaw::Voided(rule.origin()));
        }
        let mut others = others.filter(|(other, _)| *other != number);
        others.find_map(|(other_number, other)| {
            let turn = self.turn(other, rule);
            if turn == Turn::Unknown || !other.has_subjects_of(rule) {
                None
            } else if voids(other, rule) {
                Some(Flaw::Voided(other.origin()))
            } else if !other.has_peers_of(rule) {
                None
            } else {
                let is_earlier = other_number < number;
                outdone(other, rule, turn, is_earlier)
            }
        })
    }

    fn turn(&self, first: &Entry<'_>, second: &Entry<'_>) -> Turn {
        let place = |entry: &Entry<'_>| (entry.spec.tier, entry.rule.priority);
        if place(first) == place(second) {
            Turn::Same
        } else if first.spec.tier == second.spec.tier {
            if first.rule.priority < second.rule.priority { Turn::Before } else { Turn::Unknown }
        } else if first.spec.tier < second.spec.tier && self.is_reached(first) {
            Turn::Before
        } else {
            Turn::Unknown
        }
    }

    /// Whether the rule decides whenever it applies and nothing decided before, for later tiers too.
    fn is_reached(&self, entry: &Entry<'_>) -> bool {
        let passes = self.passes.get(&(entry.rule.direction, entry.spec.tier));
        entry.rule.action != Action::Pass && passes.is_none_or(|first| entry.rule.priority <= *first)
    }
}

/// What a rule is beside another that has all its subjects and peers; `is_earlier` where that comes first in the policies.
fn outdone(other: &Entry<'_>, rule: &Entry<'_>, turn: Turn, is_earlier: bool) -> Option<Flaw> {
    let same = other.rule.action == rule.rule.action;
    if same && other.has_traffic_of(rule, Requests::Compared) {
        let counts = turn == Turn::Before || is_earlier || !is_all_of(rule, other);
        return counts.then(|| Flaw::Shadowed(other.origin()));
    }
    let is_first = turn == Turn::Before || rank(other.rule.action) < rank(rule.rule.action);
    let swallows = is_first && other.has_traffic_of(rule, Requests::Ignored);
    swallows.then(|| Flaw::Swallowed(other.origin(), other.rule.action))
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
fn is_all_of(rule: &Entry<'_>, other: &Entry<'_>) -> bool {
    rule.has_subjects_of(other) && rule.has_peers_of(other) && rule.has_traffic_of(other, Requests::Compared)
}

/// Whether the other rule allows the whole connection to a peer and port, of whose requests this one allows some.
fn voids(other: &Entry<'_>, rule: &Entry<'_>) -> bool {
    if other.rule.action != Action::Allow || rule.rule.action != Action::Allow {
        return false;
    }
    let has_requests = |one: &&TrafficMatch| requests(one);
    let mut limited = matches(rule).iter().filter(has_requests);
    let is_whole = |one: &TrafficMatch| {
        let TrafficMatch::Port { protocol, port, .. } = one else { return false };
        let whole = TrafficMatch::Port { protocol: *protocol, port: port.clone(), http: None };
        other.has_match(&whole, Requests::Compared)
    };
    limited.any(is_whole)
        && match &rule.peers {
            None => other.has_everyone(),
            Some(peers) => peers.iter().any(|peer| other.has_peer(peer)),
        }
}

/// Whether one part of the rule allows the connections whose requests another part asks about.
fn parts_void(rule: &Entry<'_>) -> bool {
    matches(rule).iter().any(requests) && voids(rule, rule)
}

fn requests(one: &TrafficMatch) -> bool {
    matches!(one, TrafficMatch::Port { http: Some(_), .. })
}

fn matches<'a>(entry: &Entry<'a>) -> &'a [TrafficMatch] {
    match &entry.rule.traffic {
        Traffic::Any => &[],
        Traffic::Of(matches) => matches,
    }
}
