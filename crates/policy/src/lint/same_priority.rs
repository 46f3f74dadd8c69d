//! Policies of administrators that have the same priority and opposite actions for the same connections.
//!
//! Their API does not define which one wins: another implementation may choose the other one.

use super::cover::{PeerView, RuleView};
use super::flaw::{Flaw, Lint};
use crate::rule::{Peer, PolicyKind, Subject, Tier};
use std::collections::{BTreeMap, BTreeSet};

/// The most rules of one priority that a rule is compared with. Beyond, some flaws are missed, but none is invented.
const MAX_COMPARED: usize = 1000;

/// Whether the rules belong to two policies whose order the API does not define.
pub(super) fn have_same_priority(one: &RuleView<'_>, other: &RuleView<'_>) -> bool {
    let place = |entry: &RuleView<'_>| Some((entry.spec.tier, order(entry)?));
    one.policy != other.policy && place(one).is_some_and(|of_one| place(other) == Some(of_one))
}

/// The priority of the policy, if its kind has priorities.
fn order(entry: &RuleView<'_>) -> Option<u32> {
    matches!(entry.policy.kind, PolicyKind::ClusterNetworkPolicy | PolicyKind::AdminNetworkPolicy)
        .then_some(entry.rule.priority >> 16)
}

/// One finding for each pair of policies of the same priority, at the first rule that disagrees.
pub(super) fn ties(entries: &[RuleView<'_>]) -> Vec<Lint> {
    let mut groups = BTreeMap::<(Tier, u32), Vec<&RuleView<'_>>>::new();
    for entry in entries {
        if let Some(order) = order(entry) {
            groups.entry((entry.spec.tier, order)).or_default().push(entry);
        }
    }
    let (mut lints, mut reported) = (Vec::new(), BTreeSet::new());
    for group in groups.values() {
        for (number, entry) in group.iter().enumerate() {
            for earlier in group[..number].iter().rev().take(MAX_COMPARED).rev() {
                if have_same_priority(entry, earlier)
                    && disagree(entry, earlier)
                    && reported.insert((entry.policy, earlier.policy))
                {
                    lints.push(entry.lint(Flaw::SamePriority(earlier.origin())));
                }
            }
        }
    }
    lints
}

/// Whether the rules have different actions for some connections.
fn disagree(one: &RuleView<'_>, other: &RuleView<'_>) -> bool {
    let is_about_workloads = |entry: &RuleView<'_>| matches!(entry.spec.subject, Subject::Workloads(_));
    one.rule.action != other.rule.action
        && one.rule.direction == other.rule.direction
        && is_about_workloads(one) == is_about_workloads(other)
        && one.subject.may_overlap(&other.subject)
        && have_common_peer(one, other)
        && one.rule.traffic.overlaps(&other.rule.traffic)
}

fn have_common_peer(one: &RuleView<'_>, other: &RuleView<'_>) -> bool {
    match (&one.peers, &other.peers) {
        (None, Some(peers)) | (Some(peers), None) => !peers.is_empty(),
        (None, None) => true,
        (Some(some), Some(others)) => {
            some.iter().any(|one| others.iter().any(|other| may_overlap(one, other)))
        }
    }
}

/// Whether an endpoint can be both peers. Peers that are named in different ways count as disjoint.
fn may_overlap(one: &PeerView<'_>, other: &PeerView<'_>) -> bool {
    match (one.peer, other.peer) {
        (Peer::Labels(_), Peer::Labels(_)) | (Peer::Nodes(_), Peer::Nodes(_)) => one
            .constraints
            .as_ref()
            .zip(other.constraints.as_ref())
            .is_some_and(|(one, other)| one.may_overlap(other)),
        (Peer::Cidr { block: one, .. }, Peer::Cidr { block: other, .. }) => {
            one.encloses(other) || other.encloses(one)
        }
        (one, other) => one == other,
    }
}
