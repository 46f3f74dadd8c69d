//! The constructs of the policy language in a rule, to count how often each decides.

use crate::writable::{is_reserved, leaves_out_namespaces};
use identity::{Requirement, Source};
use manifest::test::{Expect, Probe, ProbeEnd};
use policy::domain::DomainPattern;
use policy::generate::GeneratedWorld;
use policy::rule::{
    Action, CidrGroupRef, CidrReach, Entity, Peer, Peers, Policy, Port, Rule, ServiceRef, Spec, Subject,
    Tier, Traffic, TrafficMatch,
};
use std::collections::{BTreeMap, BTreeSet};
use testbed::EngineAnswer;

/// The constructs that must decide some pair, where enough pairs are compared. A new construct is a new line.
pub(crate) const ALL: &[&str] = &[
    "subject: workloads",
    "subject: nodes",
    "tier: admin",
    "tier: normal",
    "tier: baseline",
    "action: allow",
    "action: deny",
    "peer: any",
    "peer: labels",
    "peer: all namespaces but some",
    "peer: reserved label",
    "peer: all but a reserved label",
    "peer: block of the world",
    "peer: block of everything",
    "peer: group by name",
    "peer: groups by label",
    "peer: service by name",
    "peer: services by label",
    "peer: domain",
    "peer: every domain",
    "peer: subdomains of any depth",
    "peer: nodes",
    "peer: entity",
    "peer: one family of the world",
    "traffic: any",
    "traffic: ICMP",
    "traffic: requests",
    "traffic: named port",
    "traffic: any port",
    "traffic: port",
    "traffic: range of ports",
    "log",
    "the node: denied",
    "the node: let in by a rule",
    "the node: let in by default",
    "tiers alone: a rule",
    "tiers alone: let through beside a pass",
    SHARER,
];

/// An end that shares the network of a node.
pub(crate) const SHARER: &str = "end: pod of the host network";

/// The number of pairs that is enough for each construct to decide some, and for all but six.
const ENOUGH: usize = 50_000;
const ENOUGH_FOR_MOST: usize = 10_000;

/// How many constructs may decide none of so many pairs.
pub(crate) fn may_never_decide(pairs: usize) -> usize {
    match pairs {
        ENOUGH.. => 0,
        ENOUGH_FOR_MOST.. => 6,
        _ => ALL.len(),
    }
}

/// The constructs of an answer beside those of its rule.
pub(crate) fn of_answer(world: &GeneratedWorld, probe: &Probe, said: &EngineAnswer) -> Vec<&'static str> {
    let specs = || world.policies.iter().flat_map(|policy| &policy.specs);
    let mut constructs = Vec::new();
    if probe.from == ProbeEnd::Host && matches!(probe.to, ProbeEnd::Workload(_)) {
        constructs.extend(match (said.verdict, &said.rule) {
            (Expect::Drop, Some(_)) => Some("the node: denied"),
            (Expect::Allow, Some(_)) => Some("the node: let in by a rule"),
            (Expect::Allow, None) if specs().any(|spec| spec.default_deny_ingress) => {
                Some("the node: let in by default")
            }
            _ => None,
        });
    }
    if specs().all(|spec| spec.tier != Tier::Normal) {
        let passes = specs().flat_map(|spec| &spec.rules).any(|rule| rule.action == Action::Pass);
        constructs.extend(match (said.verdict, &said.rule) {
            (_, Some(_)) => Some("tiers alone: a rule"),
            (Expect::Allow, None) if passes => Some("tiers alone: let through beside a pass"),
            _ => None,
        });
    }
    constructs
}

/// The constructs of each rule of some policies, by the rule's name in answers.
pub(crate) fn by_rule<'a>(
    policies: impl IntoIterator<Item = &'a Policy>,
) -> BTreeMap<String, BTreeSet<&'static str>> {
    let specs = policies.into_iter().flat_map(|policy| policy.specs.iter().map(move |spec| (policy, spec)));
    let rules = specs.flat_map(|(policy, spec)| {
        spec.rules.iter().map(move |rule| (format!("{} {}", policy.id, rule.place), of(spec, rule)))
    });
    rules.collect()
}

fn of(spec: &Spec, rule: &Rule) -> BTreeSet<&'static str> {
    let mut constructs = BTreeSet::from([
        match spec.subject {
            Subject::Workloads(_) => "subject: workloads",
            Subject::Nodes(_) => "subject: nodes",
        },
        match spec.tier {
            Tier::Admin => "tier: admin",
            Tier::Normal => "tier: normal",
            Tier::Baseline => "tier: baseline",
        },
        match rule.action {
            Action::Allow => "action: allow",
            Action::Deny => "action: deny",
            Action::Pass => "action: pass",
        },
    ]);
    match &rule.peers {
        Peers::Any => constructs.extend(["peer: any"]),
        Peers::Of(peers) => constructs.extend(peers.iter().map(of_peer)),
    }
    match &rule.traffic {
        Traffic::Any => constructs.extend(["traffic: any"]),
        Traffic::Of(matches) => constructs.extend(matches.iter().map(of_traffic)),
    }
    if spec.log.is_some() {
        constructs.insert("log");
    }
    constructs
}

fn of_peer(peer: &Peer) -> &'static str {
    match peer {
        Peer::Labels(selector) if is_reserved(selector) => {
            let names = |one: &Requirement| one.source == Some(Source::Reserved) && one.requires_label();
            match selector.requirements().iter().any(names) {
                true => "peer: reserved label",
                false => "peer: all but a reserved label",
            }
        }
        Peer::Labels(selector) if leaves_out_namespaces(selector) => "peer: all namespaces but some",
        Peer::Labels(_) => "peer: labels",
        Peer::Cidr { reach: CidrReach::World, .. } => "peer: block of the world",
        Peer::Cidr { reach: CidrReach::Everything, .. } => "peer: block of everything",
        Peer::CidrGroup { groups: CidrGroupRef::Named(_), .. } => "peer: group by name",
        Peer::CidrGroup { groups: CidrGroupRef::Labelled(_), .. } => "peer: groups by label",
        Peer::Service(ServiceRef::Named { .. }) => "peer: service by name",
        Peer::Service(ServiceRef::Labelled { .. }) => "peer: services by label",
        Peer::Domain(DomainPattern::Pattern(pattern)) if **pattern == *"*" => "peer: every domain",
        Peer::Domain(DomainPattern::Pattern(pattern)) if pattern.starts_with("**.") => {
            "peer: subdomains of any depth"
        }
        Peer::Domain(_) => "peer: domain",
        Peer::Nodes(_) => "peer: nodes",
        Peer::Entity(Entity::WorldIpv4 | Entity::WorldIpv6) => "peer: one family of the world",
        Peer::Entity(_) => "peer: entity",
    }
}

fn of_traffic(one: &TrafficMatch) -> &'static str {
    match one {
        TrafficMatch::Icmp { .. } => "traffic: ICMP",
        TrafficMatch::Port { http: Some(_), .. } => "traffic: requests",
        TrafficMatch::Port { port: Port::Named(_), .. } => "traffic: named port",
        TrafficMatch::Port { port: Port::Any, .. } => "traffic: any port",
        TrafficMatch::Port { port: Port::Range(first, last), .. } if first == last => "traffic: port",
        TrafficMatch::Port { port: Port::Range(..), .. } => "traffic: range of ports",
    }
}
