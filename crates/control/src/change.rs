//! The changes of the world of a node.

use crate::aggregation::MonitorAggregation;
use identity::Labels;
use policy::catalog::CidrGroupEntry;
use policy::rule::{Cidr, EnforcementMode, Policy, PolicyId};
use service::{BackendSource, EndpointSlice, Service, TransportProtocol};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// One change. Several may be applied together, and then take effect together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A namespace is added or relabelled.
    Namespace {
        /// Its name.
        name: String,
        /// Its labels.
        labels: BTreeMap<String, String>,
    },
    /// A namespace is removed; its workloads lose its labels.
    RemoveNamespace(String),
    /// A workload is added, or replaces the one with its number.
    Endpoint(Box<Endpoint>),
    /// A workload is removed.
    RemoveEndpoint(u32),
    /// A workload of another node is added, or replaces the one with its name.
    RemoteWorkload(Box<RemoteWorkload>),
    /// A workload of another node is removed.
    RemoveRemoteWorkload {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A policy is added, or replaces the one with its name.
    Policy(Policy),
    /// A policy is removed.
    RemovePolicy(PolicyId),
    /// A service is added, or replaces the one with its name. Its addresses have been assigned.
    Service(Box<Service>),
    /// A service is removed.
    RemoveService {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// One of the lists of addresses behind a service: its Endpoints, or an EndpointSlice.
    EndpointSlices {
        /// The service's namespace.
        namespace: String,
        /// The service's name.
        service: String,
        /// The name of the list, where the service has several.
        list: String,
        /// The addresses and the ports that they serve. A list without an address is removed.
        slices: Vec<EndpointSlice>,
    },
    /// A group of blocks is added, or replaces the one with its name.
    CidrGroup {
        /// Its name.
        name: String,
        /// Its blocks and labels.
        group: CidrGroupEntry,
    },
    /// A group of blocks is removed.
    RemoveCidrGroup(String),
    /// The domain names of an address outside the cluster; without names the address is forgotten.
    Names {
        /// The address.
        address: IpAddr,
        /// The names, as [`policy::domain::canonical_name`] writes them.
        names: BTreeSet<String>,
    },
    /// The cluster assigns an identity to labels: workloads with these labels get its number, and keep their policies,
    /// groups and connections.
    Identity {
        /// The identity.
        number: u32,
        /// The security-relevant labels.
        labels: Arc<Labels>,
    },
    /// The cluster withdraws an identity. Workloads that have it keep its number.
    RemoveIdentity(u32),
    /// The settings, labels and addresses of the node.
    Node(Box<Node>),
    /// Another node of the cluster is added, or replaces the one with its name. If the name is this node's, only the labels
    /// and the blocks of pods count.
    RemoteNode(Box<RemoteNode>),
    /// Another node is removed, or this node loses its labels.
    RemoveRemoteNode(String),
}

/// A workload of the cluster: its names, labels and addresses, on any node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// Namespace.
    pub namespace: String,
    /// Name, unique in the namespace.
    pub name: String,
    /// Its own labels.
    pub labels: Arc<BTreeMap<String, String>>,
    /// Its addresses; at most one of each family counts as its own source.
    pub addresses: Vec<IpAddr>,
    /// Its ports by name (in lower case) and protocol number.
    pub named_ports: Arc<BTreeMap<(String, u8), u16>>,
}

/// The veth pair of a workload: its host-side end and its end in the workload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wire {
    /// Index of the host-side interface.
    pub interface: u32,
    /// Link-layer address of the workload's end.
    pub mac: [u8; 6],
    /// Link-layer address of the host-side end.
    pub host_mac: [u8; 6],
}

/// A workload of this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// Number on this node, from 1 to [`LAST_ENDPOINT`].
    pub id: u32,
    /// The workload.
    pub workload: Workload,
    /// The veth pair between the workload and the node.
    pub wire: Wire,
    /// Whether audit mode is on: traffic that policy denies is forwarded and reported.
    pub audit: bool,
    /// Ports of the node that lead to the workload.
    pub host_ports: Vec<HostPort>,
}

/// A port of the node that leads to a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// The address of the node; none for all, and an unspecified one for all of its family.
    pub address: Option<IpAddr>,
    /// The port of the node.
    pub port: u16,
    /// The protocol.
    pub protocol: TransportProtocol,
    /// The port of the workload.
    pub container_port: u16,
}

/// The number of the endpoint that stands for the node's own processes.
pub(crate) const NODE: u32 = 0;

/// The highest number of an endpoint; `control` numbers workloads of other nodes above it.
pub const LAST_ENDPOINT: u32 = u32::MAX >> 1;

/// A workload of another node. Policies know its identity by its addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoteWorkload {
    /// The name of its node.
    pub node: String,
    /// The workload.
    pub workload: Workload,
}

/// The settings, labels and addresses of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its name; empty where it is not known.
    pub name: String,
    /// The name of its cluster, by which policies select workloads; none: `default`.
    pub cluster: Option<String>,
    /// The node's own addresses.
    pub addresses: Vec<IpAddr>,
    /// The node's labels, by which host policies and other nodes' policies select it.
    pub labels: BTreeMap<String, String>,
    /// The blocks of the addresses of pods that its own Node object has.
    pub pod_blocks: Vec<Cidr>,
    /// The blocks of the addresses of all pods of the cluster, as the configuration knows them.
    pub cluster_blocks: Vec<Cidr>,
    /// What packets of workloads to addresses outside the cluster get; none for their own addresses.
    pub masquerade: Option<Masquerade>,
    /// Where the backends of services with selectors come from.
    pub backends: BackendSource,
    /// Interface and port of the node proxy; none while there is no proxy.
    pub proxy: Option<ProxyLocation>,
    /// How far events of forwarded packets are aggregated.
    pub monitor_aggregation: MonitorAggregation,
    /// The endpoints for which policies are enforced.
    pub mode: EnforcementMode,
    /// Whether audit mode is on for the node and all workloads.
    pub audit: bool,
}

/// What packets of workloads to addresses outside the cluster get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Masquerade {
    /// The node's addresses, at most one of each family. Packets of a family without one are dropped.
    pub addresses: Vec<IpAddr>,
    /// The ports: none of the node's own sockets takes one of them by itself.
    pub ports: RangeInclusive<u16>,
    /// Blocks outside the cluster whose addresses see the workloads' own addresses.
    pub except: Vec<Cidr>,
}

/// Another node of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoteNode {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Those of its addresses by which this node reaches the pods of the other one.
    pub internal_addresses: Vec<IpAddr>,
    /// The blocks of the addresses of its pods. An address in them that no workload has is unknown, and not the world's.
    pub pod_blocks: Vec<Cidr>,
}

/// The interface and port of the node proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyLocation {
    /// Index of the interface whose ingress hook hands packets to it.
    pub interface: u32,
    /// The port that it listens on.
    pub port: u16,
}
