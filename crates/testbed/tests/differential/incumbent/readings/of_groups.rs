//! The incumbent's reading of CIDR groups: an address has the labels of all its groups together.

use identity::{Labels, Operator, Requirement, Selector, Source};
use manifest::Object;
use policy::catalog::CidrGroupEntry;
use policy::rule::{Cidr, CidrGroupRef, CidrReach, Peer, Peers};
use std::collections::BTreeSet;
use testbed::TestState;

/// A selector of groups matches the labels of an address, which are the labels of all groups around the address; most
/// addresses outside have none.
pub(super) fn labels_of_an_address_are_merged(state: &mut TestState) {
    let groups: Vec<CidrGroupEntry> = state.objects.values().filter_map(as_group).collect();
    let rules =
        state.policies.values_mut().flat_map(|policy| &mut policy.specs).flat_map(|spec| &mut spec.rules);
    for rule in rules {
        if let Peers::Of(peers) = &mut rule.peers {
            *peers = std::mem::take(peers).into_iter().flat_map(|peer| as_blocks(peer, &groups)).collect();
        }
    }
}

fn as_group(object: &Object) -> Option<CidrGroupEntry> {
    match object {
        Object::CidrGroup(named) => Some(named.group.clone()),
        _ => None,
    }
}

/// The blocks whose addresses match the selector, each without the nested blocks, which are matched on their own.
fn as_blocks(peer: Peer, groups: &[CidrGroupEntry]) -> Vec<Peer> {
    let Peer::CidrGroup { groups: CidrGroupRef::Labelled(selector), except } = &peer else {
        return vec![peer];
    };
    let everywhere = ["0.0.0.0", "::"].map(|zero| zero.parse().expect("an address"));
    let mut blocks: BTreeSet<Cidr> = groups.iter().flat_map(|group| group.blocks.iter().copied()).collect();
    blocks.extend(everywhere.into_iter().filter_map(|zero| Cidr::new(zero, 0)));
    let meant = blocks.iter().filter(|block| selects(selector, **block, groups));
    let as_peer = |block: &Cidr| {
        let within = |one: &&Cidr| block.encloses(one) && *one != block;
        let except = except.iter().chain(blocks.iter()).filter(within).copied().collect();
        Peer::Cidr { block: *block, except, reach: CidrReach::World }
    };
    let is_left_out = |block: &Cidr| except.iter().any(|one| one.encloses(block));
    meant.filter(|block| !is_left_out(block)).map(as_peer).collect()
}

fn selects(selector: &Selector, block: Cidr, groups: &[CidrGroupEntry]) -> bool {
    let holding: Vec<&Labels> = groups
        .iter()
        .filter(|group| group.blocks.iter().any(|one| one.encloses(&block)))
        .map(|group| &group.labels)
        .collect();
    selector.requirements().iter().all(|one| holds(one, &holding))
}

/// Whether the labels together match a requirement: one label has a wanted value, and none an excluded value.
fn holds(requirement: &Requirement, labels: &[&Labels]) -> bool {
    let asks = match &requirement.operator {
        Operator::NotIn(values) => Operator::In(values.clone()),
        Operator::DoesNotExist => Operator::Exists,
        other => other.clone(),
    };
    let positive = Requirement { operator: asks, source: Some(Source::K8s), ..requirement.clone() };
    let has = labels.iter().any(|labels| positive.matches(labels));
    has == requirement.requires_label()
}
