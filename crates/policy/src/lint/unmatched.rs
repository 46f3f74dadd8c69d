//! Selectors, peers and traffic that can match nothing by themselves.

use super::constraint::Constraints;
use super::cover::{PeerView, RuleView, family};
use super::requests::ExpressionCache;
use crate::rule::{
    Action, Cidr, CidrReach, Direction, Entity, Family, HttpRule, Peer, Port, Traffic, TrafficMatch,
};

/// Why the selector can select no endpoint, if it cannot.
pub(super) fn selector(constraints: &Constraints<'_>) -> Option<String> {
    Some(format!("selects no endpoint: {}", constraints.contradiction()?))
}

/// The parts of a rule that can match nothing, and whether the whole rule can match nothing.
pub(super) fn rule(entry: &RuleView<'_>, expressions: &mut ExpressionCache) -> (Vec<String>, bool) {
    let (mut found, mut living) = (Vec::new(), Vec::new());
    for who in entry.peers.iter().flatten() {
        match peer(who) {
            Some(why) => found.push(why),
            None => living.push(who.peer),
        }
    }
    let has_nobody = entry.peers.is_some() && living.is_empty();
    if has_nobody && found.is_empty() && !isolates(entry) {
        let does = match entry.rule.action {
            Action::Allow => "allows",
            Action::Deny => "denies",
            Action::Pass => "passes",
        };
        found.push(format!(
            "{does} no peer: the list of peers is empty; leave the field out to match every peer"
        ));
    }
    let mut has_traffic = entry.rule.traffic == Traffic::Any;
    if let Traffic::Of(matches) = &entry.rule.traffic {
        if matches.is_empty() {
            found.push("matches no traffic: no port and no ICMP message is listed".to_owned());
        }
        // The traffic of a rule without peers needs no second message.
        let peers = entry.peers.as_ref().filter(|_| !has_nobody).map(|_| living.as_slice());
        for one in matches {
            let why = peers.and_then(|peers| traffic(one, peers, entry.rule.direction));
            has_traffic |= why.is_none();
            found.extend(why);
            // A rule whose HTTP rules match no request still decides on connections.
            found.extend(requests(one).iter().filter_map(|rule| expressions.why_unmatched(rule)));
        }
    }
    (found, has_nobody || !has_traffic)
}

fn requests(one: &TrafficMatch) -> &[HttpRule] {
    match one {
        TrafficMatch::Port { http: Some(rules), .. } => rules,
        _ => &[],
    }
}

/// Whether the rule exists only for its default deny: an empty rule is the way to allow nothing.
fn isolates(entry: &RuleView<'_>) -> bool {
    let direction = entry.rule.direction;
    let denies = match direction {
        Direction::Ingress => entry.spec.default_deny_ingress,
        Direction::Egress => entry.spec.default_deny_egress,
    };
    let beside = entry.spec.rules.iter().filter(|rule| rule.direction == direction).count();
    denies && entry.rule.action == Action::Allow && beside == 1
}

/// Why the peer can match no endpoint, if it cannot.
pub(super) fn peer(who: &PeerView<'_>) -> Option<String> {
    match who.peer {
        Peer::Labels(_) | Peer::Nodes(_) => {
            let why = who.constraints.as_ref()?.contradiction()?;
            Some(format!("peer {} selects no endpoint: {why}", who.peer))
        }
        Peer::Cidr { block, except, .. } if is_held(block, except) => {
            Some(format!("block {block} matches no address: its exceptions cover all of it"))
        }
        Peer::Entity(Entity::None) => Some("entity none matches no peer".to_owned()),
        _ => None,
    }
}

/// Why no peer of these can have the traffic, if none can.
fn traffic(one: &TrafficMatch, peers: &[&Peer], direction: Direction) -> Option<String> {
    match one {
        TrafficMatch::Icmp { family, .. } => {
            let other = if *family == Family::Ipv4 { Family::Ipv6 } else { Family::Ipv4 };
            let never = peers.iter().all(|peer| family_of(peer) == Some(other));
            let name = if other == Family::Ipv4 { "IPv4" } else { "IPv6" };
            never.then(|| format!("{one} matches no packet: all peers of the rule are {name} addresses"))
        }
        TrafficMatch::Port { port: Port::Named(name), .. } if direction == Direction::Egress => {
            let never = peers.iter().all(|peer| is_outside(peer));
            never.then(|| {
                format!("port `{name}` matches nothing: all peers of the rule are outside the cluster and have no named ports")
            })
        }
        TrafficMatch::Port { .. } => None,
    }
}

fn family_of(peer: &Peer) -> Option<Family> {
    match peer {
        Peer::Cidr { block, .. } => Some(family(block)),
        Peer::Entity(Entity::WorldIpv4) => Some(Family::Ipv4),
        Peer::Entity(Entity::WorldIpv6) => Some(Family::Ipv6),
        _ => None,
    }
}

fn is_outside(peer: &Peer) -> bool {
    matches!(
        peer,
        Peer::Cidr { reach: CidrReach::World, .. }
            | Peer::CidrGroup { .. }
            | Peer::Domain(_)
            | Peer::Entity(Entity::World | Entity::WorldIpv4 | Entity::WorldIpv6)
    )
}

/// Whether the exceptions cover the whole block.
fn is_held(block: &Cidr, except: &[Cidr]) -> bool {
    if except.iter().any(|one| one.encloses(block)) {
        return true;
    }
    let within: Vec<Cidr> = except.iter().filter(|one| block.encloses(one)).copied().collect();
    !within.is_empty() && halves(block).is_some_and(|halves| halves.iter().all(|half| is_held(half, &within)))
}

fn halves(block: &Cidr) -> Option<[Cidr; 2]> {
    let length = block.length() + 1;
    let upper = match block.address() {
        std::net::IpAddr::V4(v4) => {
            (v4.to_bits() | 1u32.checked_shl(32 - u32::from(length))?).to_be_bytes().into()
        }
        std::net::IpAddr::V6(v6) => {
            (v6.to_bits() | 1u128.checked_shl(128 - u32::from(length))?).to_be_bytes().into()
        }
    };
    Some([Cidr::new(block.address(), length)?, Cidr::new(upper, length)?])
}
