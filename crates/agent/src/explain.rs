//! What policy says of a connection, asked of the reference model over the policies in force.

use api::view::{Considered, Explanation, Side};
use api::{Cause, Failure, HttpProbe, Probe};
use control::{Endpoint, World};
use identity::Labels;
use policy::model::{self, Context, Finding, Query, Verdict};
use policy::party::Party;
use policy::rule::Direction;
use std::net::IpAddr;

/// One end of a connection as it was named.
struct End<'a> {
    endpoint: Option<&'a Endpoint>,
    labels: Labels,
    identity: u32,
    addresses: Vec<IpAddr>,
}

/// Explains what becomes of a connection, and of a request on it where there is one.
pub(crate) fn explain(world: &World, probe: &Probe) -> Result<Explanation, Failure> {
    let (from, to) = (end(world, &probe.from)?, end(world, &probe.to)?);
    let protocol = protocol_number(&probe.protocol)?;
    let (source, destination) = addresses(&from, &to)?;
    let mut head = probe.http.as_ref().map(head);
    let mut fields = [l7::Field::default(); l7::head::MAX_FIELDS];
    let request = match &mut head {
        None => None,
        Some(head) => Some(l7::Request::parse(head, &mut fields).map_err(malformed)?.view()),
    };
    let port = if matches!(protocol, 1 | 58) { probe.port << 8 } else { probe.port };
    let mut sides = Vec::new();
    for (direction, subject, peer) in [(Direction::Egress, &from, &to), (Direction::Ingress, &to, &from)] {
        let Some(endpoint) = subject.endpoint else { continue };
        let (own, other) =
            if direction == Direction::Egress { (source, destination) } else { (destination, source) };
        let query = Query {
            direction,
            subject: party(world, subject, own),
            peer: party(world, peer, other),
            protocol,
            port,
            request,
        };
        sides.push(side(world, endpoint, &query));
    }
    let verdict = sides.iter().map(|(verdict, _)| *verdict).max().unwrap_or(Verdict::Allow);
    Ok(Explanation {
        verdict: word(verdict).into(),
        sides: sides.into_iter().map(|(_, side)| side).collect(),
    })
}

/// The request's head: rules see a request as the proxy reads it, not as it was typed.
fn head(http: &HttpProbe) -> Vec<u8> {
    let host = if http.host.is_empty() { "service" } else { &http.host };
    let fields = http.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    l7::Request::compose(&http.method, &http.path, host, fields)
}

fn malformed(refusal: l7::Refusal) -> Failure {
    Failure::new(
        Cause::Invalid,
        format!(
            "the proxy refuses such a request before any rule is asked: {} {}",
            refusal.status, refusal.reason
        ),
    )
}

fn side(world: &World, subject: &Endpoint, query: &Query<'_>) -> (Verdict, Side) {
    let policies = world.enforcement().policies();
    let context = Context { catalog: policies.catalog(), mode: policies.mode() };
    let decision = model::verdict(policies.iter().map(|policy| &**policy), &context, query);
    let considered = decision.considered.iter().filter(|one| one.finding > Finding::OtherDirection);
    let considered = considered.map(|one| Considered {
        rule: one.rule.to_string(),
        applies: one.finding > Finding::Outranked,
        why: one.to_string(),
    });
    let side = Side {
        direction: if query.direction == Direction::Egress { "egress" } else { "ingress" }.into(),
        subject: format!("{}/{}", subject.namespace, subject.name),
        verdict: word(decision.verdict).into(),
        rule: decision.rule().map(|rule| rule.to_string()),
        reason: decision.to_string(),
        considered: considered.collect(),
    };
    (decision.verdict, side)
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "allow",
        Verdict::DenyRequest => "deny",
        Verdict::Drop => "drop",
    }
}

fn party<'a>(world: &'a World, end: &'a End<'_>, address: IpAddr) -> Party<'a> {
    let known = end.endpoint.and_then(|endpoint| world.party(endpoint));
    let party = known.unwrap_or(Party::new(end.identity, &end.labels));
    Party { address: Some(address), ..party }
}

fn end<'a>(world: &'a World, name: &str) -> Result<End<'a>, Failure> {
    let reserved = |identity, addresses| End {
        endpoint: None,
        labels: world.identities().labels(identity).cloned().unwrap_or_default(),
        identity,
        addresses,
    };
    match name {
        "host" => return Ok(reserved(abi::identity::HOST, world.node().addresses.clone())),
        "world" => return Ok(reserved(abi::identity::WORLD, Vec::new())),
        _ => {}
    }
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(match world.endpoint_at(address) {
            Some(endpoint) => workload(endpoint),
            None if world.node().addresses.contains(&address) => reserved(abi::identity::HOST, vec![address]),
            None => reserved(abi::identity::WORLD, vec![address]),
        });
    }
    let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
    world.endpoint(namespace, name).map(workload).ok_or_else(|| {
        Failure::new(
            Cause::NotFound,
            format!(
                "no workload {namespace}/{name} on this node; name one of `nexin endpoint list`, an address, `host` or `world`"
            ),
        )
    })
}

fn workload(endpoint: &Endpoint) -> End<'_> {
    End {
        endpoint: Some(endpoint),
        labels: Labels::default(),
        identity: 0,
        addresses: endpoint.addresses.clone(),
    }
}

/// An address of each end, of the same family, IPv4 where both have it; the world has whatever the other end needs.
fn addresses(from: &End<'_>, to: &End<'_>) -> Result<(IpAddr, IpAddr), Failure> {
    let of = |end: &End<'_>, v4: bool| match end.addresses.iter().find(|address| address.is_ipv4() == v4) {
        None if end.addresses.is_empty() && v4 => Some(IpAddr::from([0u8; 4])),
        None if end.addresses.is_empty() => Some(IpAddr::from([0u8; 16])),
        found => found.copied(),
    };
    [true, false].into_iter().find_map(|v4| Some((of(from, v4)?, of(to, v4)?))).ok_or_else(|| {
        Failure::new(
            Cause::Invalid,
            "the two ends have no address family in common; there is no such connection",
        )
    })
}

fn protocol_number(name: &str) -> Result<u8, Failure> {
    Ok(match name.to_ascii_uppercase().as_str() {
        "TCP" => 6,
        "UDP" => 17,
        "SCTP" => 132,
        "ICMP" => 1,
        "ICMPV6" => 58,
        _ => {
            return Err(Failure::new(
                Cause::Invalid,
                format!("protocol {name:?} is none of TCP, UDP, SCTP, ICMP and ICMPv6"),
            ));
        }
    })
}

/// The protocol's name as people write it behind a port.
pub(crate) fn protocol_name(number: u8) -> &'static str {
    match number {
        6 => "TCP",
        17 => "UDP",
        132 => "SCTP",
        1 => "ICMP",
        58 => "ICMPv6",
        _ => "ANY",
    }
}
