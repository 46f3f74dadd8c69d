//! Selectors, peers and traffic that can match nothing, each by itself.

use super::constraint::Constraints;
use super::cover::{PeerView, RuleView, family};
use super::requests::ExpressionCache;
use crate::rule::{
    Action, Cidr, CidrReach, Direction, Entity, Family, HttpRule, Peer, Port, Traffic, TrafficMatch,
};

/// Why nobody can be selected, where that is so.
pub(super) fn selector(constraints: &Constraints<'_>) -> Option<String> {
    Some(format!("selects nobody: {}", constraints.contradiction()?))
}

/// What of a rule can match nothing, and whether that is all of it.
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
        found.push(format!("{does} nobody: no peer is listed; leave the field out where anyone is meant"));
    }
    let mut has_traffic = entry.rule.traffic == Traffic::Any;
    if let Traffic::Of(matches) = &entry.rule.traffic {
        if matches.is_empty() {
            found.push("is about no traffic: neither a port nor an ICMP message is listed".to_owned());
        }
        // Of a rule without peers nothing more need be said.
        let peers = entry.peers.as_ref().filter(|_| !has_nobody).map(|_| living.as_slice());
        for one in matches {
            let why = peers.and_then(|peers| traffic(one, peers, entry.rule.direction));
            has_traffic |= why.is_none();
            found.extend(why);
            // A rule that no request matches still decides on connections.
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

/// Whether all that the rule is there for is to refuse what it does not allow: the way to write "nothing".
fn isolates(entry: &RuleView<'_>) -> bool {
    let direction = entry.rule.direction;
    let denies = match direction {
        Direction::Ingress => entry.spec.default_deny_ingress,
        Direction::Egress => entry.spec.default_deny_egress,
    };
    let beside = entry.spec.rules.iter().filter(|rule| rule.direction == direction).count();
    denies && entry.rule.action == Action::Allow && beside == 1
}

/// Why a peer can be nobody, where that is so.
pub(super) fn peer(who: &PeerView<'_>) -> Option<String> {
    match who.peer {
        Peer::Labels(_) | Peer::Nodes(_) => {
            let why = who.constraints.as_ref()?.contradiction()?;
            Some(format!("peer {} selects nobody: {why}", who.peer))
        }
        Peer::Cidr { block, except, .. } if is_held(block, except) => {
            Some(format!("block {block} has no address left: its exceptions hold them all"))
        }
        Peer::Entity(Entity::None) => Some("entity none is nobody".to_owned()),
        _ => None,
    }
}

/// Why none of these peers can have such traffic.
fn traffic(one: &TrafficMatch, peers: &[&Peer], direction: Direction) -> Option<String> {
    match one {
        TrafficMatch::Icmp { family, .. } => {
            let other = if *family == Family::Ipv4 { Family::Ipv6 } else { Family::Ipv4 };
            let never = peers.iter().all(|peer| family_of(peer) == Some(other));
            let name = if other == Family::Ipv4 { "IPv4" } else { "IPv6" };
            never.then(|| format!("{one} is never sent: all peers of the rule are {name} addresses"))
        }
        TrafficMatch::Port { port: Port::Named(name), .. } if direction == Direction::Egress => {
            let never = peers.iter().all(|peer| is_outside(peer));
            never.then(|| {
                format!("port `{name}` is nowhere: all peers of the rule are outside the cluster, and name no ports")
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

/// Whether the exceptions together hold the whole block.
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
