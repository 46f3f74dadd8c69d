//! Specs as ClusterNetworkPolicy: reduced to what such a manifest can express, and written.

use crate::writable::{is_around, is_of_namespace, is_reserved};
use identity::{Operator, Requirement, Selector, Source, key};
use policy::domain::DomainPattern;
use policy::rule::{
    Action, CidrReach, Direction, Peer, Peers, Port, Protocol, Rule, Spec, Subject, Tier, Traffic,
    TrafficMatch, priority,
};
use serde_json::{Map, Value, json};

/// The priority of all such policies.
const ORDER: u16 = 10;

/// Whether a spec is written as a ClusterNetworkPolicy: it is of another tier than the normal one, and has no field that
/// only the Cilium kinds have.
pub(crate) fn is_tiered(spec: &Spec) -> bool {
    spec.tier != Tier::Normal && spec.log.is_none() && matches!(spec.subject, Subject::Workloads(_))
}

/// The spec, reduced to what a ClusterNetworkPolicy can express.
pub(crate) fn bent(spec: Spec) -> Spec {
    let mut indices = [0, 0];
    let mut rules: Vec<Rule> = spec.rules.into_iter().filter_map(bent_rule).collect();
    for rule in &mut rules {
        let index = &mut indices[rule.direction as usize];
        rule.priority = priority(ORDER, *index);
        *index += 1;
    }
    let subject = Subject::Workloads(of_workloads(spec.subject.selector()));
    Spec { subject, default_deny_ingress: false, default_deny_egress: false, rules, ..spec }
}

fn bent_rule(rule: Rule) -> Option<Rule> {
    let everybody = vec![Peer::Labels(Selector::default())];
    let peers = match rule.peers {
        Peers::Any => everybody,
        Peers::Of(peers) => peers,
    };
    let peers: Vec<Peer> =
        peers.into_iter().filter_map(|peer| bent_peer(peer, rule.direction, rule.action)).collect();
    let has_names = peers.iter().all(|peer| matches!(peer, Peer::Labels(_)));
    let traffic = match rule.traffic {
        Traffic::Any => Traffic::Any,
        Traffic::Of(matches) => {
            Traffic::Of(matches.into_iter().filter_map(|one| bent_match(one, has_names)).collect())
        }
    };
    let says_something = !peers.is_empty() && traffic != Traffic::Of(Vec::new());
    says_something.then_some(Rule { peers: Peers::Of(peers), traffic, ..rule })
}

fn bent_peer(peer: Peer, direction: Direction, action: Action) -> Option<Peer> {
    let goes_out = direction == Direction::Egress;
    match peer {
        Peer::Labels(selector) if is_reserved(&selector) => None,
        Peer::Labels(selector) => Some(Peer::Labels(of_workloads(&selector))),
        Peer::Nodes(_) if goes_out => Some(peer),
        Peer::Cidr { block, .. } if goes_out => {
            Some(Peer::Cidr { block, except: Vec::new(), reach: CidrReach::Everything })
        }
        Peer::Domain(_) if goes_out && action == Action::Allow => domain(&peer).is_some().then_some(peer),
        _ => None,
    }
}

fn bent_match(one: TrafficMatch, has_names: bool) -> Option<TrafficMatch> {
    let TrafficMatch::Port { protocol, port, .. } = one else { return None };
    let (protocol, port) = match port {
        Port::Any => (protocol, Port::Range(1, u16::MAX)),
        Port::Range(_, 0) => return None,
        Port::Range(first, last) => (protocol, Port::Range(first.max(1), last)),
        Port::Named(_) if !has_names => return None,
        Port::Named(name) => (Protocol::Any, Port::Named(name)),
    };
    Some(TrafficMatch::Port { protocol, port, http: None })
}

/// The selector, limited to workloads: each has a namespace.
fn of_workloads(selector: &Selector) -> Selector {
    selector.clone().with(Some(Source::K8s), key::NAMESPACE, Operator::Exists)
}

/// A pattern as such a manifest writes it, where it can: `*.` matches one label or more there.
fn domain(peer: &Peer) -> Option<String> {
    match peer {
        Peer::Domain(DomainPattern::Name(name)) => Some(name.to_string()),
        Peer::Domain(DomainPattern::Pattern(pattern)) => {
            let rest = pattern.strip_prefix("**.").filter(|rest| !rest.contains('*'))?;
            Some(format!("*.{rest}"))
        }
        _ => None,
    }
}

/// The manifest of a reduced spec; none where no rule is left.
pub(crate) fn manifest(name: &str, spec: &Spec) -> Option<Value> {
    let mut body = json!({
        "tier": if spec.tier == Tier::Admin { "Admin" } else { "Baseline" },
        "priority": ORDER,
        "subject": {"pods": pods(spec.subject.selector())},
    });
    for (section, direction) in [("ingress", Direction::Ingress), ("egress", Direction::Egress)] {
        let rules: Vec<Value> =
            spec.rules.iter().filter(|rule| rule.direction == direction).map(written).collect();
        if !rules.is_empty() {
            body[section] = rules.into();
        }
    }
    (!spec.rules.is_empty()).then(|| {
        json!({
            "apiVersion": "policy.networking.k8s.io/v1alpha2",
            "kind": "ClusterNetworkPolicy",
            "metadata": {"name": name},
            "spec": body,
        })
    })
}

fn written(rule: &Rule) -> Value {
    let action = match rule.action {
        Action::Allow => "Accept",
        Action::Deny => "Deny",
        Action::Pass => "Pass",
    };
    let side = if rule.direction == Direction::Ingress { "from" } else { "to" };
    let Peers::Of(peers) = &rule.peers else { unreachable!("the spec was reduced") };
    let mut value = json!({"action": action, side: peers.iter().map(written_peer).collect::<Vec<_>>()});
    if let Traffic::Of(matches) = &rule.traffic {
        value["protocols"] = matches.iter().flat_map(written_match).collect();
    }
    value
}

fn written_peer(peer: &Peer) -> Value {
    match peer {
        Peer::Labels(selector) => json!({"pods": pods(selector)}),
        Peer::Nodes(selector) => json!({"nodes": crate::policies::plain(selector.requirements())}),
        Peer::Cidr { block, .. } => json!({"networks": [block.to_string()]}),
        other => json!({"domainNames": [domain(other).expect("the spec was reduced")]}),
    }
}

fn written_match(one: &TrafficMatch) -> Vec<Value> {
    let TrafficMatch::Port { protocol, port, .. } = one else { unreachable!("the spec was reduced") };
    let port = match port {
        Port::Named(name) => return vec![json!({"destinationNamedPort": name})],
        Port::Range(first, last) if first == last => json!({"number": first}),
        Port::Range(first, last) => json!({"range": {"start": first, "end": last}}),
        Port::Any => unreachable!("the spec was reduced"),
    };
    let of = |protocol: &u8| match protocol {
        6 => json!({"tcp": {"destinationPort": port}}),
        17 => json!({"udp": {"destinationPort": port}}),
        _ => json!({"sctp": {"destinationPort": port}}),
    };
    protocol.numbers().iter().map(of).collect()
}

/// A selector of workloads as one of namespaces and one of pods.
pub(crate) fn pods(selector: &Selector) -> Value {
    let (namespaces, own): (Vec<_>, Vec<_>) = selector.requirements().iter().cloned().partition(is_around);
    let of_namespaces = namespaces
        .into_iter()
        .filter(|one| !is_of_namespace(one) || one.operator != Operator::Exists)
        .map(|one| match one.name.strip_prefix(key::NAMESPACE_LABELS) {
            Some(label) => Requirement { name: label.into(), ..one },
            None => Requirement { name: key::METADATA_NAME.into(), ..one },
        });
    let of_namespaces: Vec<Requirement> = of_namespaces.collect();
    let mut pods = Map::new();
    pods.insert("namespaceSelector".into(), crate::policies::plain(&of_namespaces));
    pods.insert("podSelector".into(), crate::policies::plain(&own));
    pods.into()
}
