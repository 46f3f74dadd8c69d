//! A step of a test: what changes in the world, and the probes that follow.

use super::Probe;
use crate::object::{NamedPort, Namespace, Policy};
use policy::rule::PolicyId;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Changes, made in the order of these fields, then probes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// What people call it; may be empty.
    pub name: String,
    /// Workloads that go away.
    pub remove_workloads: Vec<WorkloadName>,
    /// Namespaces that come or get other labels.
    pub namespaces: Vec<Namespace>,
    /// Workloads that come or change; each replaces the one of the same name.
    pub workloads: Vec<WorkloadState>,
    /// Hosts outside the cluster that come or change.
    pub externals: Vec<External>,
    /// The whole set of policies from here on, where given.
    pub policies: Option<Vec<Policy>>,
    /// Policies that go away.
    pub delete: Vec<PolicyId>,
    /// Policies that come or change.
    pub apply: Vec<Policy>,
    /// What is then asked, matrices included.
    pub probes: Vec<Probe>,
}

/// Names a workload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A workload as a test describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadState {
    /// Its name.
    pub name: WorkloadName,
    /// Its own labels.
    pub labels: BTreeMap<String, String>,
    /// Its addresses; where a family is missing the engine may assign one, where all are missing it must.
    pub addresses: Vec<IpAddr>,
    /// Its ports that have names.
    pub named_ports: Vec<NamedPort>,
}

/// A host outside the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct External {
    /// Its name in this test.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}
