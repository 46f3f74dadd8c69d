//! Rules that deny connections from a node to its own workloads, and so the kubelet's probes.

use crate::item::Item;
use identity::Labels;
use policy::rule::{Action, Direction, Entity, Peer, Peers, Protocol, Rule, Traffic, TrafficMatch};

/// Warns about a rule that denies the subject's own node, which default deny never does.
pub(super) fn warn(item: &Item<'_>, rule: &Rule) {
    let denies = (rule.action, rule.direction) == (Action::Deny, Direction::Ingress);
    if denies && has_own_node(&rule.peers) && may_be_probe(&rule.traffic) {
        item.warn(
            "also denies the workload's own node, and with it the probes of the kubelet; if these must pass, select \
             peers that are not the node",
        );
    }
}

/// Whether the local node is among the peers. A selector of nodes may select it.
fn has_own_node(peers: &Peers) -> bool {
    let Peers::Of(peers) = peers else { return true };
    let host = Labels::reserved("host");
    peers.iter().any(|peer| match peer {
        Peer::Entity(entity) => matches!(entity, Entity::All | Entity::Cluster | Entity::Host),
        Peer::Labels(selector) => selector.selects(&host),
        Peer::Nodes(_) => true,
        Peer::Cidr { .. } | Peer::CidrGroup { .. } | Peer::Service(_) | Peer::Domain(_) => false,
    })
}

/// Whether the traffic may be a probe: all network probes use TCP.
fn may_be_probe(traffic: &Traffic) -> bool {
    let Traffic::Of(matches) = traffic else { return true };
    matches
        .iter()
        .any(|one| matches!(one, TrafficMatch::Port { protocol: Protocol::Tcp | Protocol::Any, .. }))
}
