//! A generated world, and the probes of it.

use crate::catalog::{Catalog, CidrGroupEntry, ServiceEntry};
use crate::endpoint_view::{EndpointView, NamedPorts};
use crate::model::Query;
use crate::rule::{Direction, EnforcementMode, Policy};
use abi::identity::{FIRST_NODE, REMOTE_NODE, reserved_name};
use identity::{Labels, Source};
use l7::rule::{Field, RequestView};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// A world: everything that a probe can refer to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GeneratedWorld {
    /// Namespaces by name, with their labels.
    pub namespaces: BTreeMap<String, Vec<(String, String)>>,
    /// Workloads; namespace and name together are unique.
    pub workloads: Vec<GeneratedWorkload>,
    /// Hosts outside the cluster, and nodes.
    pub others: Vec<GeneratedPeer>,
    /// The CIDR groups, by name.
    pub groups: BTreeMap<String, CidrGroupEntry>,
    /// The services, by namespace and name.
    pub services: BTreeMap<(String, String), ServiceEntry>,
    /// The enforcement mode.
    pub mode: EnforcementMode,
    /// Whether denied traffic is forwarded and reported.
    pub audit: bool,
    /// The policies in force, sorted by name.
    pub policies: Vec<Policy>,
}

/// A workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratedWorkload {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its own labels.
    pub own: Vec<(String, String)>,
    /// All its labels, with the labels of its namespace.
    pub labels: Labels,
    /// Its named ports.
    pub ports: NamedPorts,
    /// An address of each family.
    pub addresses: [IpAddr; 2],
}

/// A peer that is no workload: a host outside the cluster, or a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratedPeer {
    /// Its name.
    pub name: String,
    /// Its reserved identity.
    pub identity: u32,
    /// The labels of a node.
    pub own: Vec<(String, String)>,
    /// All its labels, with the label of its reserved identity.
    pub labels: Labels,
    /// The domain names of a host outside the cluster.
    pub names: BTreeSet<String>,
    /// An address of each family.
    pub addresses: [IpAddr; 2],
}

/// One end of a probe, by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GeneratedEnd {
    /// Of [`GeneratedWorld::workloads`].
    Workload(usize),
    /// Of [`GeneratedWorld::others`].
    Other(usize),
}

/// One connection or request between two ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratedProbe {
    /// The end that opens the connection.
    pub from: GeneratedEnd,
    /// The end that receives it. At least one end is a workload or the local node.
    pub to: GeneratedEnd,
    /// Index into the ends' addresses: 0 for IPv4, 1 for IPv6.
    pub family: usize,
    /// IP protocol number.
    pub protocol: u8,
    /// Destination port; for ICMP the type in the upper byte and the code in the lower.
    pub port: u16,
    /// The request, on TCP.
    pub request: Option<GeneratedRequest>,
}

/// An HTTP request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratedRequest {
    /// Method.
    pub method: String,
    /// Path with query.
    pub path: String,
    /// Authority.
    pub host: String,
    /// Header fields.
    pub headers: Vec<(String, String)>,
}

impl GeneratedWorld {
    /// The catalog of its CIDR groups and services.
    pub fn catalog(&self) -> Catalog {
        let mut catalog = Catalog::new();
        self.groups.iter().for_each(|(name, group)| catalog.put_cidr_group(name, group.clone()));
        for ((namespace, name), service) in &self.services {
            catalog.put_service(namespace, name, service.clone());
        }
        catalog
    }

    /// A probe as the policies of one of its ends see it, without its request.
    pub fn query(&self, probe: &GeneratedProbe, direction: Direction) -> Query<'_> {
        let [subject, peer] = probe.subject_and_peer(direction).map(|end| self.view(end, probe.family));
        Query { direction, subject, peer, protocol: probe.protocol, port: probe.port, request: None }
    }

    /// The end of a probe as policies see it.
    pub fn view(&self, end: GeneratedEnd, family: usize) -> EndpointView<'_> {
        match end {
            GeneratedEnd::Workload(index) => {
                let GeneratedWorkload { labels, ports, addresses, .. } = &self.workloads[index];
                let number = abi::identity::FIRST_ALLOCATED + index as u32;
                EndpointView { ports, address: Some(addresses[family]), ..EndpointView::new(number, labels) }
            }
            GeneratedEnd::Other(index) => {
                let GeneratedPeer { identity, own, labels, names, addresses, .. } = &self.others[index];
                let number = match (*identity, own.is_empty()) {
                    (REMOTE_NODE, false) => FIRST_NODE + index as u32,
                    (identity, _) => identity,
                };
                EndpointView { names, address: Some(addresses[family]), ..EndpointView::new(number, labels) }
            }
        }
    }
}

impl GeneratedProbe {
    /// The end whose policies are evaluated in this direction, and the other end.
    pub fn subject_and_peer(&self, direction: Direction) -> [GeneratedEnd; 2] {
        match direction {
            Direction::Egress => [self.from, self.to],
            Direction::Ingress => [self.to, self.from],
        }
    }
}

impl GeneratedRequest {
    /// The request as rules see it; `headers` are its [`Self::fields`].
    pub fn view<'a>(&'a self, headers: &'a [Field<'a>]) -> RequestView<'a> {
        RequestView { method: &self.method, path: &self.path, host: &self.host, headers }
    }

    /// The header fields, borrowed.
    pub fn fields(&self) -> Vec<Field<'_>> {
        self.headers.iter().map(|(name, value)| Field { name, value: value.as_bytes() }).collect()
    }
}

impl GeneratedPeer {
    /// A peer with a reserved identity and addresses, without further labels and names.
    pub fn new(name: &str, identity: u32, addresses: [IpAddr; 2]) -> Self {
        let labels = Labels::reserved(reserved_name(identity).expect("others have reserved identities"));
        Self { name: name.into(), identity, own: Vec::new(), labels, names: BTreeSet::new(), addresses }
    }

    pub(super) fn known_by(self, names: &[&str]) -> Self {
        Self { names: names.iter().map(|name| (*name).to_owned()).collect(), ..self }
    }

    pub(super) fn labelled(mut self, own: Vec<(String, String)>) -> Self {
        own.iter().for_each(|(key, value)| self.labels.insert(Source::K8s, key.as_str(), value.as_str()));
        Self { own, ..self }
    }
}
