//! Workloads made up for policies that nobody is known for: one that each selector selects, and one that has no labels.

use super::parties::peers;
use crate::command::policy::scenario::Scenario;
use abi::identity::FIRST_ALLOCATED;
use agent::explain::{End, Surroundings};
use identity::{Labels, Operator, Selector, key};
use policy::rule::{Peer, Subject};
use std::collections::{BTreeMap, BTreeSet};

/// One workload for each selector of a subject or a peer, and one without labels in each namespace that some name.
pub(super) fn workloads(worlds: &[Scenario; 2]) -> Vec<End> {
    let policies = worlds.iter().flat_map(|world| world.policies.iter());
    let subjects = policies.flat_map(|policy| &policy.specs).filter_map(|spec| match &spec.subject {
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
    for namespace in namespaces {
        let end = workload(&namespace, &BTreeMap::new(), &BTreeMap::new(), &worlds[1]);
        ends.insert(end.name.clone(), end);
    }
    ends.into_values().collect()
}

/// A workload that the selector selects, with its namespace; nothing where none that could be made up is selected.
fn selected(selector: &Selector, world: &Scenario) -> Option<(String, End)> {
    let (mut namespace, mut own, mut around) = ("default".to_owned(), BTreeMap::new(), BTreeMap::new());
    for requirement in &selector.requirements {
        let value = match &requirement.operator {
            Operator::In(values) => values.first()?.clone(),
            Operator::Exists => "any".to_owned(),
            Operator::NotIn(_) | Operator::DoesNotExist => continue,
        };
        match requirement.name.strip_prefix(key::NAMESPACE_LABELS) {
            None if requirement.name == key::NAMESPACE && requirement.operator == Operator::Exists => {}
            None if requirement.name == key::NAMESPACE => namespace = value,
            Some(name) => drop(around.insert(name.to_owned(), value)),
            None => drop(own.insert(requirement.name.clone(), value)),
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
