//! The objects that manifests describe, as plain data.

use policy::catalog::CidrGroupEntry;
use policy::rule::{Cidr, PolicyId};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

pub use crate::workload::{NamedPort, OwnerReference, Ownership, PodCount, WorkloadObject};
pub use policy::rule::Policy;
pub use service::{
    EndpointPort, EndpointSlice, Service, ServicePort, ServicePortRef, TargetPort, TransportProtocol,
};

/// The object of one document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// A policy of any kind, in its internal form.
    Policy(Policy),
    /// A namespace.
    Namespace(Namespace),
    /// A service.
    Service(Service),
    /// The backends of a service by address: Endpoints, or an EndpointSlice.
    Endpoints(Endpoints),
    /// A CiliumCIDRGroup.
    CidrGroup(CidrGroup),
    /// A node.
    Node(NodeObject),
    /// A Pod, or a controller that makes pods: Deployment, ReplicaSet, ReplicationController, StatefulSet, DaemonSet, Job
    /// or CronJob.
    Workload(WorkloadObject),
}

/// The name of an object: `Kind/namespace/name`, or `Kind/name` for a cluster-scoped kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// The kind, as in its manifest; `Workload` for every kind that runs pods.
    pub kind: &'static str,
    /// The namespace; none for a cluster-scoped kind.
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
}

/// A namespace and its labels, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// What one Endpoints object or one EndpointSlice lists for a service. A service may have several; all of them count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// The namespace of the service.
    pub namespace: String,
    /// The service; empty where an EndpointSlice has no label with the name of a service, so that no service uses it.
    pub service: String,
    /// The name of an EndpointSlice; Endpoints have the name of their service.
    pub slice_name: Option<String>,
    /// The addresses that are ready, with the ports that they serve.
    pub slices: Vec<EndpointSlice>,
}

impl Endpoints {
    /// The addresses of all slices.
    pub fn addresses(&self) -> BTreeSet<IpAddr> {
        self.slices.iter().flat_map(|slice| &slice.addresses).copied().collect()
    }
}

/// A CIDR group that policies refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CidrGroup {
    /// Its name.
    pub name: String,
    /// Its labels, of source `k8s`, and its blocks.
    pub group: CidrGroupEntry,
}

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeObject {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Those of its addresses that other nodes reach it by (`InternalIP`).
    pub internal_addresses: Vec<IpAddr>,
    /// The blocks of the addresses of its pods (`podCIDRs`).
    pub pod_blocks: Vec<Cidr>,
}

impl Object {
    /// The name of the object.
    pub fn name(&self) -> ObjectName {
        let of = |kind, namespace: Option<&String>, name: &String| ObjectName {
            kind,
            namespace: namespace.cloned(),
            name: name.clone(),
        };
        match self {
            Self::Policy(policy) => (&policy.id).into(),
            Self::Namespace(namespace) => of("Namespace", None, &namespace.name),
            Self::Service(service) => of("Service", Some(&service.namespace), &service.name),
            Self::Endpoints(Endpoints { namespace, slice_name: Some(slice), .. }) => {
                of("EndpointSlice", Some(namespace), slice)
            }
            Self::Endpoints(Endpoints { namespace, service, .. }) => {
                of("Endpoints", Some(namespace), service)
            }
            Self::CidrGroup(group) => of("CiliumCIDRGroup", None, &group.name),
            Self::Node(node) => of("Node", None, &node.name),
            Self::Workload(workload) => of("Workload", Some(&workload.namespace), &workload.name),
        }
    }
}

impl From<&PolicyId> for ObjectName {
    fn from(id: &PolicyId) -> Self {
        Self { kind: id.kind.name(), namespace: id.namespace.clone(), name: id.name.clone() }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{}/{namespace}/{}", self.kind, self.name),
            None => write!(f, "{}/{}", self.kind, self.name),
        }
    }
}
