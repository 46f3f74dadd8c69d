//! Pods and the controllers that create them, as plain data: the parts that policies depend on.

use service::TransportProtocol;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The parts of a pod, or of a controller's pod template, that policies depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadObject {
    /// Its namespace.
    pub namespace: String,
    /// The name of the pod or of its controller.
    pub name: String,
    /// The labels of its pods. A service account other than `default` has the key [`identity::key::SERVICE_ACCOUNT`].
    pub labels: BTreeMap<String, String>,
    /// How many pods it has at a time.
    pub pods: PodCount,
    /// The named ports of its containers.
    pub named_ports: Vec<NamedPort>,
    /// The known addresses of a pod; none for a pod that uses its node's network.
    pub addresses: Vec<IpAddr>,
    /// Whether its pods use the host network: for policies they are the node.
    pub host_network: bool,
    /// The node that a pod runs on, if it is known.
    pub node: Option<String>,
    /// The known addresses of its node, from the status of the pod.
    pub node_addresses: Vec<IpAddr>,
    /// Its owners, and how other workloads refer to it as an owner.
    pub ownership: Ownership,
}

/// How many pods a workload has at a time. Pods of one workload are separate peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodCount {
    /// No pod: it is scaled to zero, suspended, or complete.
    None,
    /// One.
    One,
    /// More than one, or an unknown number.
    Several,
}

/// The reference to a workload, and its owner references.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ownership {
    /// The group of its kind.
    pub group: String,
    /// Its kind.
    pub kind: String,
    /// The UID that the API server assigned, if it is known.
    pub uid: Option<String>,
    /// Its `ownerReferences`.
    pub owners: Vec<OwnerReference>,
}

/// An owner reference of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerReference {
    /// The group of its kind.
    pub group: String,
    /// Its kind.
    pub kind: String,
    /// Its name; the owner is in the namespace of the object.
    pub name: String,
    /// Its UID, if the reference has one.
    pub uid: Option<String>,
}

/// A port of a workload that has a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamedPort {
    /// Its name, in lower case.
    pub name: String,
    /// Its protocol.
    pub protocol: TransportProtocol,
    /// Its number.
    pub port: u16,
}

/// The kinds that run pods.
const KINDS: &[&str] = &[
    "Pod",
    "Deployment",
    "ReplicaSet",
    "StatefulSet",
    "DaemonSet",
    "ReplicationController",
    "Job",
    "CronJob",
];

/// Whether objects of the kind run pods.
pub(crate) fn runs_pods(kind: &str) -> bool {
    KINDS.contains(&kind)
}

impl WorkloadObject {
    /// Whether the other workload names this one as an owner. UIDs are compared if both are known: an object that was
    /// created again under its name does not own the pods of its predecessor.
    pub fn owns(&self, other: &Self) -> bool {
        let Ownership { group, kind, uid, .. } = &self.ownership;
        let is_this = |owner: &OwnerReference| {
            let same_number = uid.is_none() || owner.uid.is_none() || *uid == owner.uid;
            (&owner.group, &owner.kind, &owner.name) == (group, kind, &self.name) && same_number
        };
        self.namespace == other.namespace && other.ownership.owners.iter().any(is_this)
    }
}

impl PodCount {
    /// The count for this number of pods.
    pub fn of(number: u32) -> Self {
        match number {
            0 => Self::None,
            1 => Self::One,
            _ => Self::Several,
        }
    }
}
