//! Policies as manifests: from rules back to a manifest that a person could have written.

use crate::tiered;
use crate::writable::{is_of_kubernetes, is_of_namespace, leaves_out_namespaces, namespace};
use identity::{Operator, Requirement, Selector, Values};
use policy::domain::DomainPattern;
use policy::rule::{
    Action, Cidr, CidrGroupRef, Direction, Entity, Family, HttpRule, Peer, Peers, Policy, Port, Protocol,
    Rule, ServiceRef, Spec, Subject, Tier, Traffic, TrafficMatch,
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The manifests of a policy that is writable: one for each spec, and one for each rule about any address.
pub(crate) fn manifests(policy: &Policy) -> Vec<Value> {
    let mut manifests = Vec::new();
    for (number, spec) in policy.specs.iter().enumerate() {
        let name = format!("{}-{number}", policy.id.name).to_lowercase();
        if tiered::is_tiered(spec) {
            manifests.extend(tiered::manifest(&name, spec));
            continue;
        }
        let (blocks, others): (Vec<&Rule>, Vec<&Rule>) =
            spec.rules.iter().partition(|rule| is_of_kubernetes(rule, spec));
        manifests.extend(cilium(&name, spec, &others));
        for (index, rule) in blocks.into_iter().enumerate() {
            manifests.push(kubernetes(&format!("{name}-{index}"), spec, rule));
        }
    }
    manifests
}

/// The sections of a Cilium policy, with the direction and action of their rules.
const SECTIONS: [(&str, Direction, Action); 4] = [
    ("ingress", Direction::Ingress, Action::Allow),
    ("ingressDeny", Direction::Ingress, Action::Deny),
    ("egress", Direction::Egress, Action::Allow),
    ("egressDeny", Direction::Egress, Action::Deny),
];

fn cilium(name: &str, spec: &Spec, rules: &[&Rule]) -> Option<Value> {
    let mut sections = Map::new();
    for (section, direction, action) in SECTIONS {
        let own = rules.iter().filter(|rule| (rule.direction, rule.action) == (direction, action));
        let mut entries: Vec<Value> = own.flat_map(|rule| entries(rule)).collect();
        let asked = match direction {
            Direction::Ingress => spec.default_deny_ingress,
            Direction::Egress => spec.default_deny_egress,
        };
        if asked && action == Action::Allow && entries.is_empty() {
            // A rule that allows no peer: default deny needs a rule to take effect.
            entries.push(json!({}));
        }
        if !entries.is_empty() {
            sections.insert(section.into(), entries.into());
        }
    }
    if sections.is_empty() {
        return None;
    }
    let (kind, namespace) = match namespace(spec) {
        Some(namespace) => ("CiliumNetworkPolicy", Some(namespace)),
        None => ("CiliumClusterwideNetworkPolicy", None),
    };
    let subject = match spec.subject {
        Subject::Workloads(_) => "endpointSelector",
        Subject::Nodes(_) => "nodeSelector",
    };
    let mut body = json!({
        subject: selector(spec.subject.selector(), |one| namespace.is_none() || !is_of_namespace(one)),
        "enableDefaultDeny": {"ingress": spec.default_deny_ingress, "egress": spec.default_deny_egress},
    });
    body.as_object_mut().expect("it is an object").extend(sections);
    if let Some(log) = &spec.log {
        body["log"] = json!({"value": **log});
    }
    let mut metadata = json!({"name": name, "annotations": tier(spec)});
    if let Some(namespace) = namespace {
        metadata["namespace"] = namespace.into();
    }
    Some(json!({"apiVersion": "cilium.io/v2", "kind": kind, "metadata": metadata, "spec": body}))
}

/// One rule as several with the same meaning: a rule of a manifest has one kind of peer, and one of traffic.
fn entries(rule: &Rule) -> Vec<Value> {
    let mut entries = Vec::new();
    for peers in peer_fields(rule) {
        for traffic in traffic_fields(&rule.traffic) {
            entries.push(Value::Object(
                peers.iter().chain(&traffic).map(|(k, v)| (k.clone(), v.clone())).collect(),
            ));
        }
    }
    entries
}

fn peer_fields(rule: &Rule) -> Vec<Map<String, Value>> {
    let way = if rule.direction == Direction::Ingress { "from" } else { "to" };
    let field = |name: &str, values: Vec<Value>| Map::from_iter([(format!("{way}{name}"), values.into())]);
    let peers = match &rule.peers {
        Peers::Any => {
            return if rule.traffic == Traffic::Any {
                vec![field("Entities", vec!["all".into()])]
            } else {
                vec![Map::new()]
            };
        }
        Peers::Of(peers) if peers.is_empty() => return vec![field("Endpoints", vec![])],
        Peers::Of(peers) => peers,
    };
    let mut by_field = BTreeMap::<&str, Vec<Value>>::new();
    for (name, value) in peers.iter().map(peer) {
        by_field.entry(name).or_default().push(value);
    }
    by_field.into_iter().map(|(name, values)| field(name, values)).collect()
}

/// The field that a peer is listed in, without its first word, and the peer.
fn peer(peer: &Peer) -> (&'static str, Value) {
    let all = |one: &Selector| selector(one, |_| true);
    match peer {
        Peer::Labels(one) if leaves_out_namespaces(one) => {
            // Excluding some namespaces selects the others: the reader adds that a peer must have a namespace.
            let is_scope = |one: &Requirement| is_of_namespace(one) && one.operator == Operator::Exists;
            ("Endpoints", selector(one, |one| !is_scope(one)))
        }
        Peer::Labels(one) => ("Endpoints", all(one)),
        Peer::Entity(Entity::WorldIpv4) => ("Endpoints", json!({"matchLabels": {"reserved:world-ipv4": ""}})),
        Peer::Entity(Entity::WorldIpv6) => {
            ("Endpoints", json!({"matchExpressions": [{"key": "reserved:world-ipv6", "operator": "Exists"}]}))
        }
        Peer::Nodes(one) => ("Nodes", all(one)),
        Peer::Entity(entity) => ("Entities", entity.name().into()),
        Peer::Cidr { block, except, .. } => ("CIDRSet", self::block(block, except)),
        Peer::CidrGroup { groups, except } => {
            let mut value = match groups {
                CidrGroupRef::Named(name) => json!({"cidrGroupRef": **name}),
                CidrGroupRef::Labelled(one) => json!({"cidrGroupSelector": all(one)}),
            };
            if !except.is_empty() {
                value["except"] = except.iter().map(Cidr::to_string).collect();
            }
            ("CIDRSet", value)
        }
        Peer::Service(ServiceRef::Named { namespace, name }) => {
            ("Services", json!({"k8sService": {"serviceName": **name, "namespace": **namespace}}))
        }
        Peer::Service(ServiceRef::Labelled { namespace, selector }) => {
            let mut value = json!({"selector": all(selector)});
            if let Some(namespace) = namespace {
                value["namespace"] = json!(**namespace);
            }
            ("Services", json!({"k8sServiceSelector": value}))
        }
        Peer::Domain(DomainPattern::Name(name)) => ("FQDNs", json!({"matchName": **name})),
        Peer::Domain(DomainPattern::Pattern(pattern)) => ("FQDNs", json!({"matchPattern": respelt(pattern)})),
    }
}

/// The pattern with an asterisk more than it needs, where that changes nothing.
fn respelt(pattern: &str) -> String {
    match pattern {
        "*" => "***.".to_owned(),
        _ if pattern.starts_with("**.") => format!("*{pattern}"),
        _ => pattern.to_owned(),
    }
}

/// The annotation that places a policy in its tier.
fn tier(spec: &Spec) -> Value {
    let tier = match spec.tier {
        Tier::Admin => "admin",
        Tier::Normal => "normal",
        Tier::Baseline => "baseline",
    };
    json!({"policy.nexin.io/tier": tier})
}

fn traffic_fields(traffic: &Traffic) -> Vec<Map<String, Value>> {
    let Traffic::Of(matches) = traffic else { return vec![Map::new()] };
    let (mut ports, mut icmps) = (Vec::new(), Vec::new());
    for one in matches {
        match one {
            TrafficMatch::Icmp { family, kind } => {
                let family = if *family == Family::Ipv4 { "IPv4" } else { "IPv6" };
                icmps.push(json!({"family": family, "type": kind}));
            }
            TrafficMatch::Port { protocol, port: number, http } => {
                let mut entry = json!({"ports": [port(*protocol, number)]});
                if let Some(http) = http {
                    entry["rules"] = json!({"http": http.iter().map(http_rule).collect::<Vec<_>>()});
                }
                ports.push(entry);
            }
        }
    }
    let ports = (!ports.is_empty()).then(|| Map::from_iter([("toPorts".to_owned(), ports.into())]));
    let icmps =
        (!icmps.is_empty()).then(|| Map::from_iter([("icmps".to_owned(), json!([{"fields": icmps}]))]));
    ports.into_iter().chain(icmps).collect()
}

fn kubernetes(name: &str, spec: &Spec, rule: &Rule) -> Value {
    let (section, side, kind) = match rule.direction {
        Direction::Ingress => ("ingress", "from", "Ingress"),
        Direction::Egress => ("egress", "to", "Egress"),
    };
    let mut entry = Map::new();
    if let Peers::Of(peers) = &rule.peers {
        let blocks = peers.iter().filter_map(|peer| match peer {
            Peer::Cidr { block, except, .. } => Some(json!({"ipBlock": self::block(block, except)})),
            Peer::Labels(selector) => Some(tiered::pods(selector)),
            _ => None,
        });
        entry.insert(side.into(), blocks.collect());
    }
    if let Traffic::Of(matches) = &rule.traffic {
        let ports = matches.iter().filter_map(|one| match one {
            TrafficMatch::Port { protocol, port, .. } => Some((protocol, port)),
            TrafficMatch::Icmp { .. } => None,
        });
        let ports = ports.flat_map(|(protocol, port)| kubernetes_ports(*protocol, port));
        entry.insert("ports".into(), ports.collect());
    }
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": namespace(spec), "annotations": tier(spec)},
        "spec": {
            "podSelector": pod_selector(spec.subject.selector()),
            "policyTypes": [kind],
            section: [entry],
        },
    })
}

fn kubernetes_ports(protocol: Protocol, port: &Port) -> Vec<Value> {
    let protocols = match protocol {
        Protocol::Any => vec![Protocol::Tcp, Protocol::Udp, Protocol::Sctp],
        one => vec![one],
    };
    let of = |protocol: Protocol| match port {
        Port::Any => json!({"protocol": protocol.to_string()}),
        Port::Range(first, last) => json!({"protocol": protocol.to_string(), "port": first, "endPort": last}),
        Port::Named(name) => json!({"protocol": protocol.to_string(), "port": name}),
    };
    protocols.into_iter().map(of).collect()
}

fn port(protocol: Protocol, port: &Port) -> Value {
    let protocol = protocol.to_string();
    match port {
        Port::Any => json!({"port": "0", "protocol": protocol}),
        Port::Named(name) => json!({"port": name, "protocol": protocol}),
        Port::Range(first, last) if first == last => json!({"port": first.to_string(), "protocol": protocol}),
        Port::Range(first, last) => json!({"port": first.to_string(), "endPort": last, "protocol": protocol}),
    }
}

fn http_rule(rule: &HttpRule) -> Value {
    let mut fields = Map::new();
    for (name, value) in [("method", &rule.method), ("path", &rule.path), ("host", &rule.host)] {
        fields.extend(value.as_ref().map(|value| (name.to_owned(), value.clone().into())));
    }
    let headers = rule.headers.iter().map(|header| match &header.value {
        Some(value) => Value::from(format!("{}: {value}", header.name)),
        None => header.name.clone().into(),
    });
    let headers: Vec<Value> = headers.collect();
    if !headers.is_empty() {
        fields.insert("headers".into(), headers.into());
    }
    fields.into()
}

fn block(block: &Cidr, except: &[Cidr]) -> Value {
    let mut value = json!({"cidr": block.to_string()});
    if !except.is_empty() {
        value["except"] = except.iter().map(Cidr::to_string).collect();
    }
    value
}

/// A selector as a Cilium policy writes it, with only the wanted requirements.
fn selector(selector: &Selector, wanted: impl Fn(&Requirement) -> bool) -> Value {
    expressions(selector.requirements().iter().filter(|one| wanted(one)))
}

/// The selector of a NetworkPolicy, which knows labels of Kubernetes only and so names no source; its namespace is the
/// policy's own.
fn pod_selector(selector: &Selector) -> Value {
    let own: Vec<Requirement> =
        selector.requirements().iter().filter(|one| !is_of_namespace(one)).cloned().collect();
    plain(&own)
}

/// Requirements of labels of Kubernetes, whose keys name no source.
pub(crate) fn plain(requirements: &[Requirement]) -> Value {
    let plain: Vec<Requirement> =
        requirements.iter().map(|one| Requirement { source: None, ..one.clone() }).collect();
    expressions(plain.iter())
}

fn expressions<'a>(requirements: impl Iterator<Item = &'a Requirement>) -> Value {
    let expressions: Vec<Value> = requirements.map(expression).collect();
    if expressions.is_empty() { json!({}) } else { json!({"matchExpressions": expressions}) }
}

fn expression(requirement: &Requirement) -> Value {
    let key = match &requirement.source {
        Some(source) => format!("{source}:{}", requirement.name),
        None => requirement.name.to_string(),
    };
    let list = |values: &Values| values.iter().collect::<Value>();
    match &requirement.operator {
        Operator::In(values) => json!({"key": key, "operator": "In", "values": list(values)}),
        Operator::NotIn(values) => json!({"key": key, "operator": "NotIn", "values": list(values)}),
        Operator::Exists => json!({"key": key, "operator": "Exists"}),
        Operator::DoesNotExist => json!({"key": key, "operator": "DoesNotExist"}),
    }
}
