//! What is to run, as plain data: pods and the controllers that make them, as much of them as a policy can see.

use service::Protocol;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The part of a pod, or of a controller's pod template, that a network policy can see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadObject {
    /// Its namespace.
    pub namespace: String,
    /// The name of the pod or of its controller.
    pub name: String,
    /// The labels of its pods; under [`identity::key::SERVICE_ACCOUNT`] their service account, where it is not `default`.
    pub labels: BTreeMap<String, String>,
    /// How many pods there are at one time.
    pub pods: PodCount,
    /// The ports that its containers name.
    pub named_ports: Vec<NamedPort>,
    /// The addresses that a pod is known to have; none of a pod that has those of its node.
    pub addresses: Vec<IpAddr>,
    /// Whether its pods share the network of their node: to policies they are the node.
    pub host_network: bool,
    /// The node that a pod runs on, where that is known.
    pub node: Option<String>,
    /// The addresses that its node is known to have, by the status of the pod.
    pub node_addresses: Vec<IpAddr>,
    /// What it is to others, and others to it.
    pub ownership: Ownership,
}

/// How many pods a workload has at one time. PodCount of one workload are others to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodCount {
    /// None now: it is scaled to zero, suspended, or has ended.
    None,
    /// One.
    One,
    /// More than one, or as many as something else decides.
    Several,
}

/// How a workload is referred to, and which it says are its owners.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ownership {
    /// The group of its kind.
    pub group: String,
    /// Its kind.
    pub kind: String,
    /// The number that the cluster gave it, where it is known.
    pub uid: Option<String>,
    /// Its `ownerReferences`.
    pub owners: Vec<OwnerReference>,
}

/// One of the owners that an object names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerReference {
    /// The group of its kind.
    pub group: String,
    /// Its kind.
    pub kind: String,
    /// Its name; it is in the namespace of what it owns.
    pub name: String,
    /// Its number, where it is given.
    pub uid: Option<String>,
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

/// The kinds of pods, and of what makes pods.
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

/// Whether objects of the kind are pods, or make pods.
pub(crate) fn runs_pods(kind: &str) -> bool {
    KINDS.contains(&kind)
}

impl WorkloadObject {
    /// Whether the other names this one as an owner. Numbers are compared where both have one: an object that was made
    /// again under its name owns nothing of the one before.
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
    /// So many.
    pub fn of(number: u32) -> Self {
        match number {
            0 => Self::None,
            1 => Self::One,
            _ => Self::Several,
        }
    }
}
