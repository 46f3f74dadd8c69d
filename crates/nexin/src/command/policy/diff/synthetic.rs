//! Workloads and nodes made up for policies that nobody is known for: one that each selector selects, and one that has no
//! labels.

use super::parties::peers;
use super::traffic::PortNames;
use crate::command::policy::scenario::Scenario;
use abi::identity::{FIRST_ALLOCATED, REMOTE_NODE};
use agent::explain::{End, Surroundings};
use identity::{Labels, Operator, Selector, Source, key};
use policy::party::NamedPorts;
use policy::rule::{Peer, Port, Protocol, Rule, Spec, Subject, Traffic, TrafficMatch};
use std::collections::{BTreeMap, BTreeSet};

/// One workload for each selector of a subject or a peer, and one without labels in each namespace that some name. Each
/// has all ports that rules call by name, at numbers made up for them.
pub(super) fn workloads(worlds: &[Scenario; 2]) -> (Vec<End>, PortNames) {
    let subjects = specs(worlds).filter_map(|spec| match &spec.subject {
        Subject::Workloads(selector) => Some(selector),
        Subject::Nodes(_) => None,
    });
    let peers = peers(worlds).filter_map(|peer| match peer {
        Peer::Labels(selector) => Some(selector),
        _ => None,
    });
    let mut ends = BTreeMap::new();
    let mut namespaces = BTreeSet::new();
    for selector in subjects.chain(peers) {
        if let Some((namespace, end)) = selected(selector, &worlds[1]) {
            namespaces.insert(namespace);
            ends.insert(end.name.clone(), end);
        }
    }
    if namespaces.is_empty() {
        namespaces.insert("default".to_owned());
    }
    for namespace in namespaces {
        let end = workload(&namespace, &BTreeMap::new(), &BTreeMap::new(), &worlds[1]);
        ends.insert(end.name.clone(), end);
    }
    let names = port_names(worlds);
    let mut ports = NamedPorts::default();
    names.iter().for_each(|(port, name)| ports.insert(name, Protocol::Any, *port));
    (ends.into_values().map(|end| End { ports: ports.clone(), ..end }).collect(), names)
}

/// One node for each selector of nodes that selects none of those that are there.
pub(super) fn nodes(worlds: &[Scenario; 2], there: &[&End]) -> Vec<End> {
    let subjects = specs(worlds).filter_map(|spec| match &spec.subject {
        Subject::Nodes(selector) => Some(selector),
        Subject::Workloads(_) => None,
    });
    let peers = peers(worlds).filter_map(|peer| match peer {
        Peer::Nodes(selector) => Some(selector),
        _ => None,
    });
    let nodes: Vec<_> = there.iter().filter(|end| end.is_node()).map(|end| end.as_subject()).collect();
    let mut ends = BTreeMap::new();
    for selector in subjects.chain(peers) {
        let is_there = nodes.iter().any(|node| selector.selects(&node.labels));
        if let Some(end) = node(selector).filter(|_| !is_there) {
            ends.insert(end.name.clone(), end);
        }
    }
    ends.into_values().collect()
}

fn specs(worlds: &[Scenario; 2]) -> impl Iterator<Item = &Spec> {
    worlds.iter().flat_map(|world| world.policies.iter()).flat_map(|policy| &policy.specs)
}

/// Numbers for all ports that rules call by name, which no rule calls by number.
fn port_names(worlds: &[Scenario; 2]) -> PortNames {
    let rules: Vec<&Rule> = specs(worlds).flat_map(|spec| &spec.rules).collect();
    let ports = rules.iter().flat_map(|rule| match &rule.traffic {
        Traffic::Any => &[][..],
        Traffic::Of(matches) => matches,
    });
    let (mut names, mut taken) = (BTreeSet::new(), Vec::new());
    for one in ports {
        match one {
            TrafficMatch::Port { port: Port::Named(name), .. } => drop(names.insert(name.clone())),
            TrafficMatch::Port { port: Port::Range(first, last), .. } => taken.push(*first..=*last),
            TrafficMatch::Port { port: Port::Any, .. } | TrafficMatch::Icmp { .. } => {}
        }
    }
    // A range that is wide may hold them; one that people think of as some ports should not. Every other number: two
    // that are neighbours would be told as a range.
    let is_free = |port: &u16| !taken.iter().any(|range| range.len() < WIDE && range.contains(port));
    (FIRST_PORT..=u16::MAX).step_by(2).filter(is_free).zip(names).collect()
}

/// A node that the selector selects.
fn node(selector: &Selector) -> Option<End> {
    let mut labels = BTreeMap::new();
    for requirement in selector.requirements() {
        let value = match &requirement.operator {
            Operator::In(values) => values.first()?.to_owned(),
            Operator::Exists => "any".to_owned(),
            Operator::NotIn(_) | Operator::DoesNotExist => continue,
        };
        labels.insert(requirement.name.clone(), value);
    }
    let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let mut all = Labels::reserved("remote-node");
    labels.into_iter().for_each(|(key, value)| all.insert(Source::K8s, key, value));
    let end = End { is_one: false, ..End::new(&format!("node {}", pairs.join(",")), REMOTE_NODE, all) };
    selector.selects(&end.as_subject().labels).then_some(end)
}

/// A workload that the selector selects, with its namespace; nothing where none that could be made up is selected.
fn selected(selector: &Selector, world: &Scenario) -> Option<(String, End)> {
    let (mut namespace, mut own, mut around) = ("default".to_owned(), BTreeMap::new(), BTreeMap::new());
    for requirement in selector.requirements() {
        let value = match &requirement.operator {
            Operator::In(values) => values.first()?.to_owned(),
            Operator::Exists => "any".to_owned(),
            Operator::NotIn(_) | Operator::DoesNotExist => continue,
        };
        let label = requirement.name.strip_prefix(key::NAMESPACE_LABELS);
        // A namespace is called what its label says.
        let is_name = requirement.name == key::NAMESPACE || label == Some(key::METADATA_NAME);
        match label {
            _ if is_name && requirement.operator == Operator::Exists => {}
            _ if is_name => namespace = value,
            Some(name) => drop(around.insert(name.to_owned(), value)),
            None => drop(own.insert(requirement.name.to_string(), value)),
        }
    }
    let end = workload(&namespace, &own, &around, world);
    selector.selects(&end.labels).then_some((namespace, end))
}

fn workload(
    namespace: &str,
    own: &BTreeMap<String, String>,
    around: &BTreeMap<String, String>,
    world: &Scenario,
) -> End {
    let pairs = |labels: &BTreeMap<String, String>| -> Vec<String> {
        labels.iter().map(|(key, value)| format!("{key}={value}")).collect()
    };
    let mut name = if own.is_empty() { "(no labels)".to_owned() } else { pairs(own).join(",") };
    name = format!("{namespace}/{name}");
    if !around.is_empty() {
        name = format!("{name} of {}", pairs(around).join(","));
    }
    let text = |labels: &'_ BTreeMap<String, String>| labels.clone();
    let (own, around) = (text(own), text(around));
    let namespace_labels = world.namespace_labels(namespace).into_iter();
    let namespace_labels =
        namespace_labels.chain(around.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    let own = own.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    End::new(&name, FIRST_ALLOCATED, Labels::of_workload(namespace, namespace_labels, own))
}

/// Ports are numbered from here on, where nobody is known to listen.
const FIRST_PORT: u16 = 60_001;
/// A range of so many ports is no list of some.
const WIDE: usize = 1000;
