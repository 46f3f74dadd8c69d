//! The state as earlier releases stored it: one file that was replaced as a whole.

use super::stored::{StoredLabel, restored_labels};
use crate::state::{State, WorkloadRecord};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// The contents of the file.
#[derive(Deserialize)]
struct EarlierState {
    workloads: Vec<WorkloadRecord>,
    identities: Vec<(u32, Vec<StoredLabel>)>,
    next_identity: Option<u32>,
    services: BTreeMap<String, Vec<IpAddr>>,
    last_endpoint: u32,
    #[serde(default)]
    last_rule_set: u32,
}

/// The state that the bytes of the file describe.
pub(super) fn parse(bytes: &[u8]) -> serde_json::Result<State> {
    let earlier: EarlierState = serde_json::from_slice(bytes)?;
    let identities = earlier.identities.iter();
    Ok(State {
        workloads: earlier.workloads.into_iter().map(|one| (one.id, Arc::new(one))).collect(),
        identities: identities.map(|(number, labels)| (*number, Arc::new(restored_labels(labels)))).collect(),
        next_identity: earlier.next_identity,
        services: earlier.services.into_iter().collect(),
        last_endpoint: earlier.last_endpoint,
        last_rule_set: earlier.last_rule_set,
        latest_addresses: Vec::new(),
    })
}
