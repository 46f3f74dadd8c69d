//! Whether one rule matches one connection: its direction, its peers, its traffic.

use super::decision::RuleOutcome;
use super::query::{Context, Query};
use crate::catalog::{Backends, ServiceEntry};
use crate::endpoint_view::EndpointView;
use crate::rule::{
    Action, Cidr, CidrReach, Direction, Entity, HttpRule, Peer, Peers, Port, Rule, Traffic, TrafficMatch,
};
use abi::identity::{HOST, is_remote_node, is_world};
use abi::protocol;
use identity::{Source, key};
use std::net::IpAddr;

/// The outcome of a rule whose subject is selected; [`RuleOutcome::Outranked`] stands for a match until its turn comes.
pub(super) fn examine(rule: &Rule, context: &Context<'_>, query: &Query<'_>) -> RuleOutcome {
    if rule.direction != query.direction {
        RuleOutcome::OtherDirection
    } else if !is_peer(&rule.peers, context, &query.peer) {
        RuleOutcome::OtherPeer
    } else if rule.traffic != Traffic::Any && matching(rule, query).next().is_none() {
        RuleOutcome::OtherTraffic
    } else {
        RuleOutcome::Outranked
    }
}

fn is_peer(peers: &Peers, context: &Context<'_>, party: &EndpointView<'_>) -> bool {
    match peers {
        Peers::Any => true,
        Peers::Of(peers) => peers.iter().any(|peer| is_one(peer, context, party)),
    }
}

pub(super) fn is_one(peer: &Peer, context: &Context<'_>, party: &EndpointView<'_>) -> bool {
    // Rules match addresses outside the cluster only, except `ipBlock`.
    let outside = party.address.filter(|_| is_world(party.number));
    match peer {
        Peer::Labels(selector) => selector.selects(party.labels),
        Peer::Entity(Entity::WorldIpv4) => outside.is_some_and(|address| address.is_ipv4()),
        Peer::Entity(Entity::WorldIpv6) => outside.is_some_and(|address| address.is_ipv6()),
        // A node that has the address of an API server is still a node.
        Peer::Entity(Entity::KubeApiserver) => {
            party.labels.value(Some(&Source::Reserved), key::KUBE_APISERVER).is_some()
        }
        Peer::Entity(entity) => entity.names(party.number),
        Peer::Cidr { block, except, reach: CidrReach::World } => {
            outside.is_some_and(|address| holds(block, except, address))
        }
        Peer::Cidr { block, except, reach: CidrReach::Everything } => {
            party.address.is_some_and(|address| holds(block, except, address))
        }
        Peer::CidrGroup { groups, except } => outside.is_some_and(|address| {
            context
                .catalog
                .cidr_groups(groups)
                .flat_map(|group| &group.blocks)
                .any(|block| holds(block, except, address))
        }),
        Peer::Service(meant) => context
            .catalog
            .services(meant)
            .any(|(namespace, service)| is_behind(service, namespace, party, outside)),
        Peer::Domain(pattern) => outside.is_some() && party.names.iter().any(|name| pattern.matches(name)),
        Peer::Nodes(selector) => {
            (party.number == HOST || is_remote_node(party.number)) && selector.selects(party.labels)
        }
    }
}

fn holds(block: &Cidr, except: &[Cidr], address: IpAddr) -> bool {
    block.contains(address) && !except.iter().any(|except| except.contains(address))
}

fn is_behind(
    service: &ServiceEntry,
    namespace: &str,
    party: &EndpointView<'_>,
    outside: Option<IpAddr>,
) -> bool {
    let label = |name: &str| party.labels.value(Some(&Source::K8s), name);
    match &service.backends {
        Backends::Selected(labels) => {
            label(key::NAMESPACE) == Some(namespace)
                && labels.iter().all(|(name, value)| label(name) == Some(value.as_str()))
        }
        Backends::Addresses(addresses) => outside.is_some_and(|address| addresses.contains(&address)),
    }
}

/// The parts of the rule's traffic that match the connection.
pub(super) fn matching<'a>(rule: &'a Rule, query: &Query<'_>) -> impl Iterator<Item = &'a TrafficMatch> {
    let matches = match &rule.traffic {
        Traffic::Any => &[][..],
        Traffic::Of(matches) => matches,
    };
    matches.iter().filter(|one| match one {
        TrafficMatch::Icmp { family, kind } => {
            query.protocol == family.icmp() && query.port.to_be_bytes()[0] == *kind
        }
        TrafficMatch::Port { protocol, port, http } => {
            // HTTP requires TCP: an HTTP rule allows no other protocol.
            let spoken = http.is_none() || rule.action != Action::Allow || query.protocol == protocol::TCP;
            let receiver = match query.direction {
                Direction::Ingress => &query.subject,
                Direction::Egress => &query.peer,
            };
            let right_port = match port {
                Port::Any => true,
                Port::Range(first, last) => (*first..=*last).contains(&query.port),
                Port::Named(name) => {
                    receiver.ports.resolve(name, *protocol).any(|known| known == (query.protocol, query.port))
                }
            };
            spoken && protocol.numbers().contains(&query.protocol) && right_port
        }
    })
}

/// Whether the rule allows only requests on the connection, not the connection itself.
pub(super) fn only_requests(rule: &Rule, query: &Query<'_>) -> bool {
    rule.traffic != Traffic::Any && matching(rule, query).all(|one| requests_of(one).is_some())
}

/// The HTTP rules of this part of the traffic.
pub(super) fn requests_of(one: &TrafficMatch) -> Option<&[HttpRule]> {
    match one {
        TrafficMatch::Port { http, .. } => http.as_deref(),
        TrafficMatch::Icmp { .. } => None,
    }
}
