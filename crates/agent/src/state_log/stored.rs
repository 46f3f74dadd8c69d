//! The texts of the state's entries, by key.

use crate::entry_log::Durability;
use crate::state::{State, WorkloadRecord};
use abi::identity::FIRST_ALLOCATED;
use identity::{Labels, MapChanges, Source};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::IpAddr;
use std::sync::Arc;

/// Beginnings of the keys of workloads, identities and services; the number or the name follows.
const WORKLOAD: &str = "workload/";
const IDENTITY: &str = "identity/";
const SERVICE: &str = "service/";
/// The key of [`StoredNumbers`].
const NUMBERS: &str = "numbers";

/// Source, key and value of a label.
pub(super) type StoredLabel = (String, String, String);

/// The numbers of the state.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct StoredNumbers {
    next_identity: Option<u32>,
    last_endpoint: u32,
    last_rule_set: u32,
    #[serde(default)]
    latest_addresses: Vec<IpAddr>,
}

impl StoredNumbers {
    fn of(state: &State) -> Self {
        Self {
            next_identity: state.next_identity,
            last_endpoint: state.last_endpoint,
            last_rule_set: state.last_rule_set,
            latest_addresses: state.latest_addresses.clone(),
        }
    }
}

/// What leads from one state to another: the new texts by key, and none for what is removed.
pub(super) fn changes(before: &State, after: &State) -> serde_json::Result<Vec<(String, Option<String>)>> {
    let mut changes = Vec::new();
    let text = |workload: &Arc<WorkloadRecord>| serde_json::to_string(&**workload);
    add(&mut changes, WORKLOAD, after.workloads.changes_since(&before.workloads), text)?;
    let mut identities = after.identities.changes_since(&before.identities);
    identities.retain(|(number, _)| **number >= FIRST_ALLOCATED);
    add(&mut changes, IDENTITY, identities, |labels| serde_json::to_string(&stored_labels(labels)))?;
    add(&mut changes, SERVICE, after.services.changes_since(&before.services), serde_json::to_string)?;
    let numbers = StoredNumbers::of(after);
    if numbers != StoredNumbers::of(before) {
        changes.push((NUMBERS.to_owned(), Some(serde_json::to_string(&numbers)?)));
    }
    Ok(changes)
}

/// What the change from one state to another must outlive. Workloads end with the host, and the maps with the numbers of
/// identities; the addresses of services and the numbers of published rule sets do not.
pub(super) fn durability(
    (before, after): (&State, &State),
    changes: &[(String, Option<String>)],
) -> Durability {
    let are_published = before.last_rule_set != after.last_rule_set;
    let outlives =
        |(key, _): &(String, Option<String>)| key.starts_with(SERVICE) || (key == NUMBERS && are_published);
    if changes.iter().any(outlives) { Durability::Host } else { Durability::Process }
}

fn add<K: Display, V>(
    changes: &mut Vec<(String, Option<String>)>,
    prefix: &str,
    of_map: MapChanges<'_, K, V>,
    text: impl Fn(&V) -> serde_json::Result<String>,
) -> serde_json::Result<()> {
    for (key, value) in of_map {
        changes.push((format!("{prefix}{key}"), value.map(&text).transpose()?));
    }
    Ok(())
}

/// The state of these texts.
pub(super) fn restore(texts: &BTreeMap<String, String>) -> serde_json::Result<State> {
    let mut state = State::default();
    for (key, text) in texts {
        if let Some(name) = key.strip_prefix(SERVICE) {
            let addresses: Vec<IpAddr> = serde_json::from_str(text)?;
            state.services.insert(name.to_owned(), addresses);
        } else if key == NUMBERS {
            let numbers: StoredNumbers = serde_json::from_str(text)?;
            state.next_identity = numbers.next_identity;
            (state.last_endpoint, state.last_rule_set) = (numbers.last_endpoint, numbers.last_rule_set);
            state.latest_addresses = numbers.latest_addresses;
        } else if let Some(number) = key.strip_prefix(IDENTITY) {
            let labels: Vec<StoredLabel> = serde_json::from_str(text)?;
            state.identities.insert(serde_json::from_str(number)?, Arc::new(restored_labels(&labels)));
        } else if key.starts_with(WORKLOAD) {
            let workload: WorkloadRecord = serde_json::from_str(text)?;
            state.workloads.insert(workload.id, Arc::new(workload));
        }
    }
    Ok(state)
}

/// Labels as the disk contains them.
fn stored_labels(labels: &Labels) -> Vec<StoredLabel> {
    let stored = labels.iter();
    stored.map(|(key, value)| (key.source.to_string(), key.name.to_string(), value.to_owned())).collect()
}

/// Labels that the disk contains.
pub(super) fn restored_labels(stored: &[StoredLabel]) -> Labels {
    let mut labels = Labels::default();
    for (source, name, value) in stored {
        labels.insert(source_named(source), name, value);
    }
    labels
}

fn source_named(name: &str) -> Source {
    match name {
        "k8s" => Source::K8s,
        "reserved" => Source::Reserved,
        other => Source::Other(other.into()),
    }
}
