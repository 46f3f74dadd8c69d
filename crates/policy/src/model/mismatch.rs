//! Why a rule does not match a connection: what the connection has, and what the rule needs.

use super::applies::{is_one, matching, requests_of};
use super::decision::{ConsideredRule, RuleOutcome};
use super::query::{Context, Query};
use super::request;
use crate::endpoint_view::EndpointView;
use crate::rule::{
    Action, Cidr, CidrReach, Direction, Family, Peer, Peers, Port, Rule, Traffic, TrafficMatch,
};
use abi::identity::{HOST, KUBE_APISERVER, is_remote_node, is_workload, is_world, reserved_name};
use abi::protocol;
use identity::{Labels, Operator, Requirement, Selector, Values, key};
use std::net::IpAddr;

/// One difference between a connection and a rule.
pub(super) struct Mismatch {
    /// As a clause: `peer has app=db, needs app=web`.
    pub(super) what: String,
    /// How far the difference is: 1 for another value, 2 for another kind.
    pub(super) distance: u32,
}

impl Mismatch {
    /// Another value of the same kind.
    fn value(what: String) -> Self {
        Self { what, distance: 1 }
    }

    /// Another kind.
    fn kind(what: String) -> Self {
        Self { what, distance: 2 }
    }
}

/// The differences, part by part.
pub(super) fn mismatches(
    considered: &ConsideredRule<'_>,
    context: &Context<'_>,
    query: &Query<'_>,
) -> Vec<Mismatch> {
    let rule = considered.rule.rule;
    match considered.outcome {
        RuleOutcome::OtherPeer => {
            let mut missing = peers(&rule.peers, context, &query.peer);
            if rule.traffic != Traffic::Any && matching(rule, query).next().is_none() {
                missing.push(traffic(rule, query));
            }
            missing
        }
        RuleOutcome::OtherTraffic => vec![traffic(rule, query)],
        RuleOutcome::OtherRequest => requests(rule, query),
        // No attribute of the connection could make such a rule match.
        RuleOutcome::OtherSubject | RuleOutcome::OtherDirection => Vec::new(),
        RuleOutcome::Outranked | RuleOutcome::Passes | RuleOutcome::Decides => Vec::new(),
    }
}

/// The differences to the closest peer of a rule; the endpoint is none of the rule's peers.
fn peers(peers: &Peers, context: &Context<'_>, party: &EndpointView<'_>) -> Vec<Mismatch> {
    let peers = match peers {
        Peers::Any => &[][..],
        Peers::Of(peers) => peers,
    };
    debug_assert!(!peers.iter().any(|peer| is_one(peer, context, party)), "the endpoint is one of the peers");
    let missing = peers.iter().map(|one| peer(one, party));
    let distance = |missing: &Vec<Mismatch>| missing.iter().map(|one| one.distance).sum::<u32>();
    missing.min_by_key(distance).unwrap_or_else(|| vec![Mismatch::kind("the rule lists no peer".to_owned())])
}

fn peer(peer: &Peer, party: &EndpointView<'_>) -> Vec<Mismatch> {
    match peer {
        Peer::Labels(selector) if is_workload(party.number) => labels(selector, party.labels, "peer"),
        Peer::Nodes(selector) if party.number == HOST || is_remote_node(party.number) => {
            labels(selector, party.labels, "peer")
        }
        Peer::Labels(_) | Peer::Nodes(_) | Peer::Entity(_) | Peer::Service(_) => needs(party, peer),
        Peer::Cidr { reach: CidrReach::World, .. } | Peer::CidrGroup { .. } | Peer::Domain(_)
            if !is_world(party.number) =>
        {
            needs(party, peer)
        }
        Peer::Cidr { block, except, .. } => vec![Mismatch::value(address(party.address, block, except))],
        Peer::CidrGroup { .. } => needs(party, peer),
        Peer::Domain(_) if party.names.is_empty() => {
            let kind = kind(party);
            vec![Mismatch::value(format!("peer is {kind}, without a known domain name, needs {peer}"))]
        }
        Peer::Domain(_) => {
            let names: Vec<&str> = party.names.iter().map(String::as_str).collect();
            vec![Mismatch::value(format!("peer is {}, needs {peer}", names.join(", ")))]
        }
    }
}

/// The kind of the peer, and what the rule needs.
fn needs(party: &EndpointView<'_>, peer: &Peer) -> Vec<Mismatch> {
    vec![Mismatch::kind(format!("peer is {}, needs {peer}", kind(party)))]
}

fn address(address: Option<IpAddr>, block: &Cidr, except: &[Cidr]) -> String {
    // An unspecified address stands for any address, so no address is known.
    let Some(address) = address.filter(|address| !address.is_unspecified()) else {
        return format!("peer has no known address, needs one in {block}");
    };
    match except.iter().find(|one| one.contains(address) && block.contains(address)) {
        Some(one) => format!("peer is {address}, which {one} leaves out of {block}"),
        None => format!("peer is {address}, not in {block}"),
    }
}

/// The kind of a peer whose labels do not describe it.
fn kind(party: &EndpointView<'_>) -> String {
    let at = party.address.filter(|address| !address.is_unspecified());
    let at = at.map(|address| format!(" {address}")).unwrap_or_default();
    match party.number {
        HOST => "the node".to_owned(),
        KUBE_APISERVER => format!("an API server outside the cluster{at}"),
        number if is_world(number) && at.is_empty() => "outside the cluster".to_owned(),
        number if is_world(number) => format!("outside the cluster,{at}"),
        number if is_remote_node(number) => "another node".to_owned(),
        number => match reserved_name(number) {
            Some(name) => name.to_owned(),
            None => "a workload".to_owned(),
        },
    }
}

/// The requirements that the labels do not match; `who` is the endpoint that has the labels.
pub(super) fn labels(selector: &Selector, labels: &Labels, who: &str) -> Vec<Mismatch> {
    let missing = selector.requirements().iter().filter(|requirement| !requirement.matches(labels));
    missing.map(|requirement| Mismatch::value(unmet(requirement, labels, who))).collect()
}

fn unmet(requirement: &Requirement, labels: &Labels, who: &str) -> String {
    let (whose, name) = whose(&requirement.name, who);
    let value = labels.value(requirement.source.as_ref(), &requirement.name);
    // A label whose name is a word of these sentences is quoted.
    let quote = if WORDS.contains(&name) { "`" } else { "" };
    let has = match value {
        Some(value) => format!("{whose} has {quote}{name}={value}{quote}"),
        None if quote.is_empty() => format!("{whose} has no {name}"),
        None => format!("{whose} has no label {quote}{name}{quote}"),
    };
    let pair = |value: &str| format!("{quote}{name}={value}{quote}");
    let list = |values: &Values| values.iter().map(pair).collect::<Vec<_>>().join(" or ");
    if let Some(hint) = mistaken(&requirement.name) {
        return format!("{has}; {hint}");
    }
    match &requirement.operator {
        Operator::In(values) => format!("{has}, needs {}", list(values)),
        Operator::NotIn(values) if values.len() == 1 => format!("{has}, needs any other or none"),
        Operator::NotIn(values) => format!("{has}, needs any but {}", list(values)),
        Operator::Exists => format!("{has}, needs one"),
        Operator::DoesNotExist => format!("{has}, must have none"),
    }
}

/// Label names that are also words of these sentences.
const WORDS: &[&str] = &[
    "address", "any", "kind", "label", "labels", "name", "needs", "node", "none", "one", "other", "peer",
    "port", "protocol", "rule", "subject", "type", "value",
];

/// A hint for a label that no workload has, if its name resembles a namespace label.
fn mistaken(name: &str) -> Option<String> {
    let rest = name.strip_prefix("io.kubernetes.pod.namespace.labels.")?;
    Some(format!("no workload has a label of this name; did you mean `{}{rest}`?", key::NAMESPACE_LABELS))
}

/// The owner of a label, and the name that people use for it.
fn whose<'a>(name: &'a str, who: &str) -> (String, &'a str) {
    match name.strip_prefix(key::NAMESPACE_LABELS) {
        Some(name) => (format!("{who}'s namespace"), name),
        None if name == key::NAMESPACE => (who.to_owned(), "namespace"),
        None => (who.to_owned(), name),
    }
}

/// The traffic of the query, and the traffic of the rule.
fn traffic(rule: &Rule, query: &Query<'_>) -> Mismatch {
    let matches = match &rule.traffic {
        Traffic::Of(matches) if !matches.is_empty() => matches,
        _ => return Mismatch::kind("the rule matches no traffic".to_owned()),
    };
    let has: Vec<String> = matches.iter().map(|one| port(one, rule, query)).collect();
    let what = format!("{}, rule has {}", sent(query), has.join(" or "));
    let of_its_protocol = |one: &TrafficMatch| match one {
        TrafficMatch::Icmp { family, .. } => family.icmp() == query.protocol,
        TrafficMatch::Port { protocol, .. } => protocol.numbers().contains(&query.protocol),
    };
    if matches.iter().any(of_its_protocol) { Mismatch::value(what) } else { Mismatch::kind(what) }
}

/// The traffic of a query as text.
fn sent(query: &Query<'_>) -> String {
    let kind = query.port.to_be_bytes()[0];
    let Some(name) = protocol::name(query.protocol) else {
        return format!("IP protocol {}", query.protocol);
    };
    match query.protocol {
        number if protocol::is_icmp(number) => format!("{name} type {kind}"),
        _ => format!("port {}/{name}", query.port),
    }
}

/// A port or ICMP type of a rule; for a named port also its number at the receiver.
fn port(one: &TrafficMatch, rule: &Rule, query: &Query<'_>) -> String {
    match one {
        TrafficMatch::Icmp { family: Family::Ipv4, kind } => format!("ICMP type {kind}"),
        TrafficMatch::Icmp { family: Family::Ipv6, kind } => format!("ICMPv6 type {kind}"),
        TrafficMatch::Port { port, protocol, http } => {
            let receiver = match query.direction {
                Direction::Ingress => &query.subject,
                Direction::Egress => &query.peer,
            };
            let meaning = match port {
                Port::Named(name) => match receiver.ports.resolve(name, *protocol).next() {
                    Some((_, number)) => format!(" (which is {number})"),
                    None => " (which the receiver does not have)".to_owned(),
                },
                Port::Any | Port::Range(..) => String::new(),
            };
            let spoken = http.is_some() && rule.action == Action::Allow && query.protocol != protocol::TCP;
            let spoken = if spoken { " with HTTP rules, which are for TCP alone" } else { "" };
            format!("{port}/{protocol}{meaning}{spoken}")
        }
    }
}

/// The differences between the request and the closest HTTP rule.
fn requests(rule: &Rule, query: &Query<'_>) -> Vec<Mismatch> {
    let Some(request) = &query.request else { return Vec::new() };
    let rules = matching(rule, query).filter_map(requests_of).flatten();
    let missing = rules.map(|rule| request::differences(rule, request)).min_by_key(Vec::len);
    let missing = missing.unwrap_or_else(|| vec!["the rule allows no request".to_owned()]);
    missing.into_iter().map(Mismatch::value).collect()
}
