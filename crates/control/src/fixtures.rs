//! Builders of changes for tests, and the check of what packets get between two writes.
//!
//! A part of a change that a test does not name has the value that most tests want.

mod packets;
mod planned_rows;
mod random_changes;
mod random_worlds;
mod row_graph;
mod services;
mod step_check;

pub use packets::ReaderPacket;
pub use planned_rows::{check_changed_rows, check_found_rows, check_overlapping_rows};
pub use random_changes::random_change;
pub use random_worlds::check_world;
pub use services::{listed, random_service_change, remove_service, service};
pub use step_check::{Promise, StepCheck, check_rows, packets_between};

use crate::change::{Change, Endpoint, Wire, Workload};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// A workload of this node. Its number gives its name, its address (`10.0.0.ID`) and its interface ([`interface_of`]).
pub fn endpoint(id: u32, namespace: &str, app: &str) -> Endpoint {
    let workload = Workload {
        namespace: namespace.into(),
        name: format!("workload-{id}"),
        labels: BTreeMap::from([("app".into(), app.into())]).into(),
        addresses: vec![address_of(id)],
        named_ports: Arc::default(),
    };
    let wire = Wire { interface: interface_of(id), ..Wire::default() };
    Endpoint { id, workload, wire, audit: false, host_ports: Vec::new() }
}

/// A workload of this node comes, or is relabelled: see [`endpoint`].
pub fn workload(id: u32, namespace: &str, app: &str) -> Change {
    Change::Endpoint(Box::new(endpoint(id, namespace, app)))
}

/// The address of the [`endpoint`] of this number.
///
/// # Panics
///
/// Where the number is above 255.
pub fn address_of(id: u32) -> IpAddr {
    IpAddr::from([10, 0, 0, u8::try_from(id).expect("a test has fewer workloads")])
}

/// The index of the interface of the [`endpoint`] of this number.
pub fn interface_of(id: u32) -> u32 {
    100 + id
}

/// A namespace comes, or is relabelled: its label `tier` has this value.
pub fn namespace(name: &str, tier: &str) -> Change {
    Change::Namespace { name: name.into(), labels: BTreeMap::from([("tier".into(), tier.into())]) }
}
