//! What manifests describe, as plain data.

use std::collections::BTreeMap;

pub use policy::rule::Policy;
pub use service::{Protocol, Service};

/// What one document describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// Any kind of policy, in its one internal form.
    Policy(Policy),
    /// A namespace.
    Namespace(Namespace),
    /// A service.
    Service(Service),
    /// A Pod, Deployment, ReplicaSet, StatefulSet or DaemonSet.
    Workload(Workload),
}

/// A namespace and its labels, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// What is to run: the part of a pod, or of a controller's pod template, that a network policy can see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Its namespace.
    pub namespace: String,
    /// The name of the pod or of its controller.
    pub name: String,
    /// The labels of its pods.
    pub labels: BTreeMap<String, String>,
    /// How many pods there shall be.
    pub replicas: u32,
    /// The ports that its containers name.
    pub named_ports: Vec<NamedPort>,
}

/// A port of a workload that has a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamedPort {
    /// Its name, in lower case.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number.
    pub port: u16,
}
