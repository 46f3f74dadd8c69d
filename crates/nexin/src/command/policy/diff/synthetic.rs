//! Generated workloads and nodes: one for each combination of selectors that can select the same one.

use super::breadth::{MAX_LABEL_SETS, TooMany};
use super::end_group::{EndGroup, peers};
use super::kinds::{Own, kinds};
use super::traffic::PortNames;
use crate::command::policy::scenario::Scenario;
use abi::identity::{FIRST_ALLOCATED, REMOTE_NODE};
use agent::explain::{ConnectionEnd, Inventory};
use identity::{LabelKey, Labels, Requirement, Selector, Source, filter, key};
use policy::endpoint_view::NamedPorts;
use policy::rule::{Peer, Port, Protocol, Rule, Spec, Subject, Traffic, TrafficMatch};
use std::collections::BTreeSet;

/// One workload for each combination of selectors that can select the same one, in every known or named namespace and
/// in another one. The workloads have all named ports of rules, with generated numbers.
pub(super) fn workloads(worlds: &[Scenario; 2]) -> Result<(Vec<EndGroup>, PortNames), TooMany> {
    let selectors = selectors_of_workloads(worlds);
    let names = port_names(worlds);
    let mut ports = NamedPorts::default();
    names.iter().for_each(|(port, name)| ports.insert(name, Protocol::Any, *port));
    let mut seen = BTreeSet::new();
    let mut groups = Vec::new();
    for namespace in namespaces(worlds, &selectors) {
        let known = worlds.each_ref().map(|world| known_labels(world, worlds, &namespace));
        let is_known = worlds.iter().any(|world| world.knows_namespace(&namespace));
        let fixed = known.each_ref().map(|labels| workload_labels(&namespace, labels, &Own::new()));
        let is_free = |key: &str| !is_fixed(key, is_known);
        for (selected, own) in kinds(&selectors, &fixed, is_free)? {
            if seen.insert(selected) {
                let name = workload_name(&namespace, &own);
                let ends = known.each_ref().map(|known| {
                    let labels = workload_labels(&namespace, known, &own);
                    ConnectionEnd {
                        ports: ports.clone(),
                        ..ConnectionEnd::new(&name, FIRST_ALLOCATED, labels)
                    }
                });
                groups.push(EndGroup { names: vec![name], ends, has_any_ports: true });
            }
            if groups.len() > MAX_LABEL_SETS {
                return Err(TooMany::Kinds);
            }
        }
    }
    Ok((groups, names))
}

/// One node for each combination of node selectors that can select the same one: with `all`, for each combination
/// that no known node has; else only if one of the selectors selects no known node.
pub(super) fn nodes(
    worlds: &[Scenario; 2],
    known: &[&ConnectionEnd],
    all: bool,
) -> Result<Vec<ConnectionEnd>, TooMany> {
    let subjects = specs(worlds).filter_map(|spec| match &spec.subject {
        Subject::Nodes(selector) => Some(selector),
        Subject::Workloads(_) => None,
    });
    let peers = peers(worlds).filter_map(|peer| match peer {
        Peer::Nodes(selector) => Some(selector),
        Peer::Labels(selector) if selector.requirements().iter().any(is_reserved) => Some(selector),
        _ => None,
    });
    let selectors: BTreeSet<&Selector> = subjects.chain(peers).collect();
    let selectors: Vec<&Selector> = selectors.into_iter().collect();
    let selects = |labels: &Labels| selectors.iter().map(|one| one.selects(labels)).collect::<Vec<bool>>();
    let shows = |end: &ConnectionEnd| [selects(&end.as_subject().labels), selects(&end.labels)].concat();
    let known: Vec<Vec<bool>> = known.iter().filter(|end| end.is_node()).map(|end| shows(end)).collect();
    let fixed = ["host", "remote-node"].map(Labels::reserved);
    let mut nodes = Vec::new();
    for own in kinds(&selectors, &fixed, is_relevant)?.into_values().filter(|own| !own.is_empty()) {
        let mut labels = Labels::reserved("remote-node");
        own.iter().for_each(|(key, value)| labels.insert(Source::K8s, key, value));
        let end = ConnectionEnd::new(&format!("node {}", pairs(&own)), REMOTE_NODE, labels);
        let shown = shows(&end);
        let adds = |at: usize| shown[at] && known.iter().all(|known| !known[at]);
        if if all { !known.contains(&shown) } else { (0..shown.len()).any(adds) } {
            nodes.push(end);
        }
    }
    Ok(nodes)
}

/// All subject and peer selectors that can select workloads.
fn selectors_of_workloads(worlds: &[Scenario; 2]) -> Vec<&Selector> {
    let subjects = specs(worlds).filter_map(|spec| match &spec.subject {
        Subject::Workloads(selector) => Some(selector),
        Subject::Nodes(_) => None,
    });
    let peers = peers(worlds).filter_map(|peer| match peer {
        Peer::Labels(selector) => Some(selector),
        _ => None,
    });
    let selectors: BTreeSet<&Selector> = subjects.chain(peers).collect();
    selectors.into_iter().collect()
}

/// All known or named namespaces, and one that is neither.
fn namespaces(worlds: &[Scenario; 2], selectors: &[&Selector]) -> Vec<String> {
    let requirements = selectors.iter().flat_map(|selector| selector.requirements());
    let naming = requirements.filter(|one| is_name_of_namespace(&one.name));
    let named = naming.flat_map(|one| one.operator.values()).map(str::to_owned);
    let known = worlds.iter().flat_map(Scenario::namespaces).map(str::to_owned);
    let named: BTreeSet<String> = named.chain(known).collect();
    let others =
        ["default", "other"].map(str::to_owned).into_iter().chain((1..).map(|at| format!("other{at}")));
    let other = others.into_iter().find(|name| !named.contains(name));
    other.into_iter().chain(named).collect()
}

/// The labels of a namespace in one scenario, or in the other if only that one knows it.
fn known_labels(world: &Scenario, worlds: &[Scenario; 2], namespace: &str) -> Own {
    let mut knowing = [world].into_iter().chain(worlds).filter(|world| world.knows_namespace(namespace));
    let labels = knowing.next().map(|world| world.namespace_labels(namespace)).unwrap_or_default();
    labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Whether the value of a key is fixed by the namespace: the name of the namespace, labels of a known namespace, and
/// labels that are not part of an identity.
fn is_fixed(key: &str, is_known: bool) -> bool {
    is_name_of_namespace(key) || (is_known && key.starts_with(key::NAMESPACE_LABELS)) || !is_relevant(key)
}

fn is_name_of_namespace(key: &str) -> bool {
    key == key::NAMESPACE || key.strip_prefix(key::NAMESPACE_LABELS) == Some(key::METADATA_NAME)
}

fn is_relevant(key: &str) -> bool {
    filter::is_relevant(&LabelKey { source: Source::K8s, name: key.into() })
}

fn is_reserved(one: &Requirement) -> bool {
    one.source == Some(Source::Reserved)
}

fn specs(worlds: &[Scenario; 2]) -> impl Iterator<Item = &Spec> {
    worlds.iter().flat_map(|world| world.registry.policies.iter()).flat_map(|policy| &policy.specs)
}

/// Numbers for all named ports of rules, which no rule uses.
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
    // Wide ranges may contain these numbers, narrow ones must not. Every second number is used: neighbours would be
    // printed as a range.
    let is_free = |port: &u16| !taken.iter().any(|range| range.len() < WIDE && range.contains(port));
    (FIRST_PORT..=u16::MAX).step_by(2).filter(is_free).zip(names).collect()
}

/// The labels of a workload: known labels of its namespace, and generated labels of its own and of the namespace.
fn workload_labels(namespace: &str, known: &Own, generated: &Own) -> Labels {
    let around = generated
        .iter()
        .filter_map(|(key, value)| Some((key.strip_prefix(key::NAMESPACE_LABELS)?, &**value)));
    let own = generated.iter().filter(|(key, _)| !key.starts_with(key::NAMESPACE_LABELS));
    let known = known.iter().map(|(key, value)| (&**key, &**value));
    let mut labels =
        Labels::of_workload(namespace, known.chain(around), own.map(|(key, value)| (&**key, &**value)));
    if let Some(cluster) = generated.get(key::CLUSTER) {
        labels.insert(Source::K8s, key::CLUSTER, cluster);
    }
    labels
}

/// The name of a generated workload, The name of a generated workload, `shop/app=web of team=a`: namespace, own labels, labels of the namespace.
fn workload_name(namespace: &str, generated: &Own) -> String {
    let (around, own): (Own, Own) =
        generated.clone().into_iter().partition(|(key, _)| key.starts_with(key::NAMESPACE_LABELS));
    let around =
        around.into_iter().map(|(key, value)| (key[key::NAMESPACE_LABELS.len()..].to_owned(), value));
    let around: Own = around.collect();
    let own = if own.is_empty() { "(no labels)".to_owned() } else { pairs(&own) };
    if around.is_empty() {
        format!("{namespace}/{own}")
    } else {
        format!("{namespace}/{own} of {}", pairs(&around))
    }
}

fn pairs(labels: &Own) -> String {
    let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(",")
}

/// The first generated port number, in a range without well-known ports.
const FIRST_PORT: u16 = 60_001;
/// A range of this many ports counts as wide.
const WIDE: usize = 1000;
