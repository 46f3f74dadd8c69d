//! Which constructs of the policy language a rule is made of, to count how often each decided.

use policy::generate::World;
use policy::rule::{
    Action, CidrReach, GroupRef, Peer, Peers, Port, Rule, ServiceRef, Spec, Subject, Tier, Traffic,
    TrafficMatch,
};
use std::collections::{BTreeMap, BTreeSet};

/// The constructs of each rule of a world, by the rule's name as engines tell it.
pub(crate) fn by_rule(world: &World) -> BTreeMap<String, BTreeSet<&'static str>> {
    let policies = world.policies.iter();
    let specs = policies.flat_map(|policy| policy.specs.iter().map(move |spec| (policy, spec)));
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
        Peer::Labels(_) => "peer: labels",
        Peer::Cidr { reach: CidrReach::World, .. } => "peer: block of the world",
        Peer::Cidr { reach: CidrReach::Everything, .. } => "peer: block of everything",
        Peer::Group { groups: GroupRef::Named(_), .. } => "peer: group by name",
        Peer::Group { groups: GroupRef::Labelled(_), .. } => "peer: groups by label",
        Peer::Service(ServiceRef::Named { .. }) => "peer: service by name",
        Peer::Service(ServiceRef::Labelled { .. }) => "peer: services by label",
        Peer::Domain(_) => "peer: domain",
        Peer::Nodes(_) => "peer: nodes",
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
