//! Evaluates policy for a connection by the reference model, on both sides, and explains the verdict.

mod destinations;
mod end;
mod inventory;
mod protocol;
mod side;

pub use end::{ConnectionEnd, HostNetworkPod};
pub use inventory::Inventory;
pub use protocol::protocol_name;
pub use side::in_common;

use abi::protocol::is_icmp;
use api::view::{Branch, Explanation, SideVerdict};
use api::{Cause, ExplainProbe, Failure, HttpProbe};
use destinations::Destinations;
use l7::RequestView;
use policy::model::{Query, Verdict};
use policy::rule::Direction;
use policy::set::SubmittedPolicies;
use protocol::protocol_number;
use std::net::IpAddr;

/// Explains the verdict on a connection between two ends, or on a request on it.
///
/// # Errors The probe is invalid.
pub fn explain(inventory: &dyn Inventory, probe: &ExplainProbe) -> Result<Explanation, Failure> {
    let protocol = protocol_number(&probe.protocol)?;
    let from = inventory::end(inventory, &probe.from)?;
    let found = destinations::destinations(inventory, &from, probe, protocol)?;
    let mut head = probe.http.as_ref().map(head);
    let mut fields = [l7::Field::default(); l7::head::MAX_FIELDS];
    let request = match &mut head {
        None => None,
        Some(head) => Some(l7::Request::parse(head, &mut fields).map_err(malformed)?.view()),
    };
    let connections = found.ends.iter().map(|(to, port)| {
        let traffic = ProbedTraffic { protocol, port: *port, family: probe.family.as_deref(), request };
        Ok((
            format!("{}:{port}", to.asked_name()),
            connection(&from, to, inventory.policies(), &traffic, found.is_service)?,
        ))
    });
    let connections: Vec<(String, Judged)> = connections.collect::<Result<_, Failure>>()?;
    let mut remarks = from.remarks.clone();
    remarks.extend(found.ends.iter().flat_map(|(to, _)| to.remarks.iter().cloned()));
    let mut explanation = explanation(found, connections);
    for remark in remarks {
        if !explanation.notes.contains(&remark) {
            explanation.notes.push(remark);
        }
    }
    Ok(explanation)
}

/// What a connection between two ends carries.
struct ProbedTraffic<'a> {
    protocol: u8,
    port: u16,
    family: Option<&'a str>,
    request: Option<RequestView<'a>>,
}

/// The verdict of both sides on a connection.
struct Judged {
    verdict: Verdict,
    sides: Vec<SideVerdict>,
    notes: Vec<String>,
}

/// Evaluates both sides. A connection of an end to itself is not subject to policy, through a service or not.
fn connection(
    from: &ConnectionEnd,
    to: &ConnectionEnd,
    policies: &SubmittedPolicies,
    traffic: &ProbedTraffic<'_>,
    is_service: bool,
) -> Result<Judged, Failure> {
    if from.is(to) {
        let why = if is_service {
            "is a backend of the service itself: no policy applies"
        } else {
            "connects to itself: the connection does not leave it"
        };
        let notes = vec![format!("{} {why}", from.name)];
        return Ok(Judged { verdict: Verdict::Allow, sides: Vec::new(), notes });
    }
    let (source, destination) = addresses(from, to, traffic.family)?;
    let &ProbedTraffic { protocol, port, request, .. } = traffic;
    let port = if is_icmp(protocol) { port << 8 } else { port };
    let (mut sides, mut notes) = (Vec::new(), Vec::new());
    let ends = [
        (Direction::Egress, (from, source), (to, destination)),
        (Direction::Ingress, (to, destination), (from, source)),
    ];
    for (direction, (subject, own), (peer, other)) in ends {
        let (as_subject, as_peer) = (subject.as_subject(), peer.as_peer_of(subject));
        let (as_subject, as_peer) = (as_subject.known_at(own), as_peer.known_at(other));
        let (party, peer) = (as_subject.view(own), as_peer.view(other));
        let query = Query { direction, subject: party, peer, protocol, port, request };
        if subject.has_policy(policies) {
            sides.push(side::side(policies, subject, &query));
        } else if subject.is_node()
            && let Some(nearest) = side::nearest_policy(policies, &query)
        {
            notes.push(format!("{}: {nearest}", subject.name));
        }
    }
    let verdict = sides.iter().map(|(verdict, _)| *verdict).max().unwrap_or(Verdict::Allow);
    Ok(Judged { verdict, sides: sides.into_iter().map(|(_, side)| side).collect(), notes })
}

/// Merges the verdicts of all destinations into one if they agree, else lists each.
fn explanation(found: Destinations, connections: Vec<(String, Judged)>) -> Explanation {
    let mut notes = found.notes;
    let verdict = connections.iter().map(|(_, one)| one.verdict).max().unwrap_or(Verdict::Drop);
    let limits = |judged: &Judged| in_common(judged.sides.iter().filter_map(|side| side.requests.clone()));
    let differs = |one: &Judged| one.verdict != verdict || limits(one) != limits(&connections[0].1);
    let differ = connections.iter().any(|(_, one)| differs(one));
    let requests = connections.first().and_then(|(_, one)| limits(one));
    let requests = requests.filter(|_| !differ && verdict == Verdict::Allow);
    let mut branches = Vec::new();
    let mut sides = Vec::new();
    if differ {
        branches.extend(connections.into_iter().map(|(to, Judged { verdict, sides, notes: own })| {
            notes.extend(own);
            Branch { to, verdict: verdict.to_string(), sides }
        }));
    } else if let Some((_, first)) = connections.into_iter().next() {
        notes.extend(first.notes);
        sides = first.sides;
    }
    Explanation { verdict: verdict.to_string(), requests, notes, sides, branches }
}

/// The request's head: rules see a request as the proxy parses it, not as it was typed.
fn head(http: &HttpProbe) -> Vec<u8> {
    let host = if http.host.is_empty() { "service" } else { &http.host };
    let fields = http.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    l7::Request::compose(&http.method, &http.path, host, fields)
}

fn malformed(refusal: l7::Refusal) -> Failure {
    Failure::new(
        Cause::Invalid,
        format!(
            "the proxy refuses such a request before it evaluates any rule: {} {}",
            refusal.status, refusal.reason
        ),
    )
}

/// An address of each end, of the same family: the given one, else IPv4 if both ends have it. An end without
/// addresses has an address of each family.
fn addresses(
    from: &ConnectionEnd,
    to: &ConnectionEnd,
    family: Option<&str>,
) -> Result<(IpAddr, IpAddr), Failure> {
    let families: &[bool] = match family {
        None => &[true, false],
        Some(name) if name.eq_ignore_ascii_case("IPv4") => &[true],
        Some(name) if name.eq_ignore_ascii_case("IPv6") => &[false],
        Some(name) => {
            return Err(Failure::new(Cause::Invalid, format!("family {name:?} is neither IPv4 nor IPv6")));
        }
    };
    families.iter().find_map(|v4| Some((from.address(*v4)?, to.address(*v4)?))).ok_or_else(|| {
        let what = family.map_or("no address family in common".into(), |name| format!("no {name} in common"));
        Failure::new(Cause::Invalid, format!("the two ends have {what}; there is no such connection"))
    })
}
