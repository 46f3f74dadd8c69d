//! Whether one rule certainly matches everything that another rule matches.

use super::constraint::Constraints;
use super::flaw::{Flaw, Lint, origin};
use super::requests;
use crate::book::RuleOrigin;
use crate::domain::DomainPattern;
use crate::rule::{
    Action, Cidr, CidrReach, Entity, Family, HttpRule, Peer, Peers, PolicyId, Port, Protocol, Rule, Spec,
    Subject, Traffic, TrafficMatch,
};
use abi::protocol;
use identity::key;
use std::rc::Rc;
use std::sync::Arc;

/// A rule, with the constraints of its selectors.
#[derive(Debug)]
pub(super) struct RuleView<'a> {
    pub(super) policy: &'a PolicyId,
    pub(super) spec: &'a Spec,
    pub(super) rule: &'a Rule,
    pub(super) subject: Rc<Constraints<'a>>,
    /// None: every peer.
    pub(super) peers: Option<Vec<PeerView<'a>>>,
}

/// A peer, with the constraints of its selector.
#[derive(Debug)]
pub(super) struct PeerView<'a> {
    pub(super) peer: &'a Peer,
    pub(super) constraints: Option<Constraints<'a>>,
}

/// Whether HTTP rules are part of a comparison of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Requests {
    /// The allowed requests are compared.
    Compared,
    /// Only the connections are compared.
    Ignored,
}

impl<'a> RuleView<'a> {
    pub(super) fn new(
        policy: &'a PolicyId,
        spec: &'a Spec,
        rule: &'a Rule,
        subject: Rc<Constraints<'a>>,
    ) -> Self {
        let peers = match &rule.peers {
            Peers::Any => None,
            Peers::Of(peers) => Some(peers.iter().map(PeerView::of).collect()),
        };
        Self { policy, spec, rule, subject, peers }
    }

    pub(super) fn origin(&self) -> RuleOrigin {
        origin(self.policy, &self.rule.place)
    }

    pub(super) fn lint(&self, flaw: Flaw) -> Lint {
        Lint { at: self.origin(), flaw }
    }

    /// Whether this rule selects every subject of the other rule, in the same direction.
    pub(super) fn has_subjects_of(&self, other: &Self) -> bool {
        let same_kind = matches!(
            (&self.spec.subject, &other.spec.subject),
            (Subject::Workloads(_), Subject::Workloads(_)) | (Subject::Nodes(_), Subject::Nodes(_))
        );
        same_kind && self.rule.direction == other.rule.direction && other.subject.imply(&self.subject)
    }

    /// Whether this rule matches every peer of the other rule.
    pub(super) fn has_peers_of(&self, other: &Self) -> bool {
        match &other.peers {
            None => self.has_every_peer(),
            Some(others) => others.iter().all(|other| self.has_peer(other)),
        }
    }

    /// Whether this rule matches the peer.
    pub(super) fn has_peer(&self, other: &PeerView<'_>) -> bool {
        self.peers.as_ref().is_none_or(|peers| peers.iter().any(|peer| peer.covers(other)))
    }

    /// Whether this rule matches every peer.
    pub(super) fn has_every_peer(&self) -> bool {
        self.peers.as_ref().is_none_or(|peers| peers.iter().any(PeerView::is_every_peer))
    }

    /// Whether this rule matches all traffic of the other rule.
    pub(super) fn has_traffic_of(&self, other: &Self, requests: Requests) -> bool {
        match &other.rule.traffic {
            Traffic::Any => self.rule.traffic == Traffic::Any,
            Traffic::Of(others) => others.iter().all(|other| self.has_match(other, requests)),
        }
    }

    /// Whether this rule matches the traffic.
    pub(super) fn has_match(&self, other: &TrafficMatch, requests: Requests) -> bool {
        match &self.rule.traffic {
            Traffic::Any => true,
            Traffic::Of(matches) => {
                matches.iter().any(|one| is_within(other, one, self.rule.action, requests))
            }
        }
    }
}

impl<'a> PeerView<'a> {
    fn of(peer: &'a Peer) -> Self {
        let constraints = match peer {
            Peer::Labels(selector) | Peer::Nodes(selector) => Some(Constraints::of(selector)),
            _ => None,
        };
        Self { peer, constraints }
    }

    fn is_every_peer(&self) -> bool {
        match self.peer {
            Peer::Entity(Entity::All) => true,
            Peer::Labels(_) => self.constraints.as_ref().is_some_and(Constraints::are_none),
            _ => false,
        }
    }

    /// Whether this peer covers the other one.
    pub(super) fn covers(&self, other: &PeerView<'_>) -> bool {
        if self.is_every_peer() || self.peer == other.peer {
            return true;
        }
        let implied = || match (&self.constraints, &other.constraints) {
            (Some(own), Some(others)) => others.imply(own),
            _ => false,
        };
        match (self.peer, other.peer) {
            (_, Peer::Entity(Entity::None)) => true,
            (Peer::Labels(_), Peer::Labels(_) | Peer::Nodes(_)) => implied(),
            (Peer::Nodes(_), Peer::Nodes(_)) => implied(),
            (Peer::Entity(entity), _) => is_of_entity(*entity, other),
            (Peer::Cidr { reach: CidrReach::World, .. }, Peer::Cidr { reach: CidrReach::Everything, .. }) => {
                false
            }
            (Peer::Cidr { block, except, .. }, Peer::Cidr { block: inner, except: left_out, .. }) => {
                block.encloses(inner) && except.iter().all(|one| is_left_out(one, inner, left_out))
            }
            (Peer::Cidr { block, except, .. }, Peer::Entity(Entity::WorldIpv4)) => {
                block.address().is_ipv4() && block.length() == 0 && except.is_empty()
            }
            (Peer::Cidr { block, except, .. }, Peer::Entity(Entity::WorldIpv6)) => {
                block.address().is_ipv6() && block.length() == 0 && except.is_empty()
            }
            (Peer::CidrGroup { groups, except }, Peer::CidrGroup { groups: others, except: left_out }) => {
                groups == others && except.iter().all(|one| left_out.iter().any(|other| other.encloses(one)))
            }
            (Peer::Domain(pattern), Peer::Domain(DomainPattern::Name(name))) => pattern.matches(name),
            (Peer::Domain(DomainPattern::Pattern(pattern)), Peer::Domain(_)) => **pattern == *"*",
            _ => false,
        }
    }
}

/// Whether the entity covers the peer.
fn is_of_entity(entity: Entity, peer: &PeerView<'_>) -> bool {
    let is_world = match peer.peer {
        Peer::Cidr { reach: CidrReach::World, block, .. } => Some(Some(family(block))),
        Peer::CidrGroup { .. } | Peer::Domain(_) | Peer::Entity(Entity::World) => Some(None),
        Peer::Entity(Entity::WorldIpv4) => Some(Some(Family::Ipv4)),
        Peer::Entity(Entity::WorldIpv6) => Some(Some(Family::Ipv6)),
        _ => None,
    };
    match (entity, is_world) {
        (Entity::World, Some(_))
        | (Entity::WorldIpv4, Some(Some(Family::Ipv4)))
        | (Entity::WorldIpv6, Some(Some(Family::Ipv6))) => true,
        // Only workloads have a namespace.
        (Entity::Cluster, None) => match (peer.peer, &peer.constraints) {
            (Peer::Labels(_), Some(constraints)) => constraints.need(key::NAMESPACE),
            (Peer::Nodes(_), _) => true,
            (Peer::Entity(entity), _) => *entity != Entity::All,
            _ => false,
        },
        _ => false,
    }
}

/// The family of a block's addresses.
pub(super) fn family(block: &Cidr) -> Family {
    if block.address().is_ipv4() { Family::Ipv4 } else { Family::Ipv6 }
}

/// Whether the exception removes no address of the inner block, beyond those that the inner block's own exceptions
/// remove.
fn is_left_out(exception: &Cidr, inner: &Cidr, left_out: &[Cidr]) -> bool {
    let is_apart = !exception.encloses(inner) && !inner.encloses(exception);
    is_apart || left_out.iter().any(|one| one.encloses(exception))
}

/// Whether `wide` covers `narrow` in rules with this action.
fn is_within(narrow: &TrafficMatch, wide: &TrafficMatch, action: Action, requests: Requests) -> bool {
    let (
        TrafficMatch::Port { protocol, port, http },
        TrafficMatch::Port { protocol: wide_protocol, port: wide_port, http: wide_http },
    ) = (narrow, wide)
    else {
        return narrow == wide;
    };
    let numbers = numbers(*wide_protocol, wide_http, action);
    let has_protocol = self::numbers(*protocol, http, action).iter().all(|number| numbers.contains(number));
    let has_port = match (wide_port, port) {
        (Port::Any | Port::Range(0, u16::MAX), _) => true,
        (Port::Range(..), Port::Any) => false,
        (Port::Range(first, last), Port::Range(from, to)) => first <= from && to <= last,
        (wide, narrow) => wide == narrow,
    };
    let has_requests = || match (wide_http, http) {
        _ if action != Action::Allow || requests == Requests::Ignored => true,
        (None, _) => true,
        (Some(_), None) => false,
        (Some(wide), Some(narrow)) => requests::are_within(narrow, wide),
    };
    has_protocol && has_port && has_requests()
}

/// The protocols that the traffic matches. HTTP requires TCP, so an HTTP rule allows no other protocol.
fn numbers(protocol: Protocol, http: &Option<Arc<[HttpRule]>>, action: Action) -> &'static [u8] {
    match (http, action) {
        (Some(_), Action::Allow) if protocol.numbers().contains(&protocol::TCP) => &[protocol::TCP],
        (Some(_), Action::Allow) => &[],
        _ => protocol.numbers(),
    }
}
