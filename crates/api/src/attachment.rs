//! Attachments: interfaces that the agent makes for the containers of a runtime, as CNI plugins request them.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

/// The name of an attachment: a container and an interface in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttachmentName {
    /// The runtime's identifier of the container or sandbox.
    pub container: String,
    /// Name of the interface in the container.
    pub interface: String,
}

/// An attachment to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttachmentSpec {
    /// Its name.
    pub name: AttachmentName,
    /// Name of the network configuration.
    pub network: String,
    /// Path of the container's network namespace.
    pub network_namespace: PathBuf,
    /// The pod that the container belongs to; none for a container that is no pod's.
    #[serde(default)]
    pub pod: Option<PodIdentifier>,
    /// Labels; those of the pod's object replace them.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Ports by name, `http` to `80/TCP`; those of the pod's object replace them.
    #[serde(default)]
    pub named_ports: BTreeMap<String, String>,
    /// Its addresses. The agent assigns one of each family that is missing, unless the interface is another plugin's.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// Whether another plugin made the interface, so that only policy is added.
    #[serde(default)]
    pub chained: bool,
    /// Ports of the node that lead to the container.
    #[serde(default)]
    pub host_ports: Vec<AttachmentPort>,
}

/// A port of the node that leads to a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttachmentPort {
    /// The address of the node; none for all.
    #[serde(default)]
    pub address: Option<IpAddr>,
    /// The port of the node.
    pub port: u16,
    /// TCP, UDP or SCTP.
    pub protocol: String,
    /// The port of the container.
    pub container_port: u16,
}

/// The names of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PodIdentifier {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID, if the runtime states it.
    #[serde(default)]
    pub uid: Option<String>,
}

/// An attachment that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentSummary {
    /// Number of its workload on this node.
    pub id: u32,
    /// Name of the host-side interface.
    pub host_interface: String,
    /// Link-layer address of the host-side interface.
    pub host_mac: String,
    /// Link-layer address of the interface in the container.
    pub mac: String,
    /// MTU of both.
    pub mtu: u32,
    /// The addresses, with the gateway of each.
    pub addresses: Vec<AttachmentAddress>,
}

/// An address of an attachment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentAddress {
    /// The address.
    pub address: IpAddr,
    /// The gateway of its family.
    pub gateway: IpAddr,
}

/// Whether attachments can be made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentReadiness {
    /// Why not, one sentence for each reason; empty if they can.
    pub reasons: Vec<String>,
}
