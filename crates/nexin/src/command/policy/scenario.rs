//! The scenario that files describe: workloads, nodes, hosts, services and policies. Needs no agent.

mod ends;
mod host_network;
mod merge;
mod owners;
mod read;
mod step;
#[cfg(test)]
mod tests;

use identity::{Labels, Selector, Source};
use manifest::{NamedPort, Object, ObjectName, PodCount, PolicyPositions, TransportProtocol};
use policy::catalog::{Backends, Catalog, ServiceEntry};
use policy::endpoint_view::NamedPorts;
use policy::registry::Registry;
use policy::rule::{Peer, Peers, Policy};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Namespace and name.
type Name = (String, String);
type LabelMap = BTreeMap<String, String>;

/// Workloads, nodes, hosts, services and policies.
#[derive(Clone, Debug, Default)]
pub(super) struct Scenario {
    namespaces: BTreeMap<String, LabelMap>,
    workloads: BTreeMap<Name, ScenarioWorkload>,
    /// The default addresses of the local node in PolicyTests.
    local: Vec<IpAddr>,
    /// Owners of workloads, each with the workloads that it created.
    owners: BTreeMap<Name, Vec<Name>>,
    /// Hosts outside the cluster by name.
    externals: BTreeMap<String, Vec<IpAddr>>,
    /// The domain names of external hosts.
    names: BTreeMap<String, BTreeSet<String>>,
    /// The nodes by name, with labels and addresses; `host` is the local node.
    nodes: BTreeMap<String, (LabelMap, Vec<IpAddr>)>,
    groups: BTreeSet<String>,
    services: BTreeMap<Name, manifest::Service>,
    /// The listed addresses of services.
    endpoints: BTreeMap<ObjectName, manifest::Endpoints>,
    /// The policies, and the objects that they refer to. They are not compiled here.
    pub(super) registry: Registry,
    /// The places of policies in manifests.
    pub(super) positions: PolicyPositions,
    /// Remarks on the files.
    pub(super) notes: Vec<String>,
    /// Whether audit mode is on: traffic that policy denies is forwarded and reported.
    audit: bool,
    assigned: u32,
    /// The labels that selectors name.
    named: BTreeSet<identity::Name>,
    /// The addresses that files give to workloads.
    placed: BTreeSet<IpAddr>,
}

#[derive(Clone, Debug)]
struct ScenarioWorkload {
    labels: LabelMap,
    ports: NamedPorts,
    addresses: Vec<IpAddr>,
    /// Whether its addresses are given in the files, rather than assigned here.
    is_placed: bool,
    /// Whether it is one pod, several equal pods, or none.
    pods: PodCount,
    /// Whether it is in the network namespace of its node.
    host_network: bool,
    /// The node that it runs on, if known.
    node: Option<String>,
    /// Whether a PolicyTest describes it, rather than a manifest.
    is_of_test: bool,
}

impl Scenario {
    /// Adds an object, or replaces the object with its name.
    fn take(&mut self, object: Object) {
        match object {
            Object::Policy(policy) => self.apply(policy),
            Object::Namespace(namespace) => drop(self.namespaces.insert(namespace.name, namespace.labels)),
            Object::Workload(one) => {
                let name = (one.namespace, one.name);
                self.add_node_addresses(one.node.as_deref(), &one.node_addresses);
                self.admit(name.clone(), one.labels, &one.named_ports, one.addresses);
                self.workloads.entry(name).and_modify(|known| {
                    (known.pods, known.host_network, known.node) = (one.pods, one.host_network, one.node);
                    known.is_of_test = false;
                });
            }
            Object::Node(node) => {
                let (labels, addresses) = self.nodes.entry(node.name).or_default();
                *labels = node.labels;
                // Without addresses of its own, a node keeps those from the status of its pods.
                if !node.addresses.is_empty() {
                    *addresses = node.addresses;
                }
            }
            Object::CidrGroup(one) => {
                self.groups.insert(one.name.clone());
                self.refer(|catalog| catalog.put_cidr_group(&one.name, one.group));
            }
            Object::Service(service) => {
                let name = (service.namespace.clone(), service.name.clone());
                self.named.extend(service.selector.keys().map(identity::Name::from));
                self.services.insert(name.clone(), service);
                self.refer_to(&name);
            }
            Object::Endpoints(one) => {
                let name = (one.namespace.clone(), one.service.clone());
                self.endpoints.insert(Object::Endpoints(one.clone()).name(), one);
                self.refer_to(&name);
            }
        }
    }

    fn apply(&mut self, policy: Policy) {
        self.named.extend(selectors(&policy).flat_map(Selector::requirements).map(|one| one.name.clone()));
        self.registry.put(policy);
    }

    /// Changes the objects that policies refer to.
    fn refer(&mut self, change: impl FnOnce(&mut Catalog)) {
        self.registry.refer(change);
    }

    /// Adds a workload. A workload without addresses in the files is assigned addresses.
    fn admit(&mut self, name: Name, labels: LabelMap, named: &[NamedPort], addresses: Vec<IpAddr>) {
        let mut ports = NamedPorts::default();
        named.iter().for_each(|port| ports.insert(&port.name, protocol(port.protocol), port.port));
        let is_placed = !addresses.is_empty();
        self.placed.extend(&addresses);
        let addresses = if is_placed { addresses } else { self.assign_addresses() };
        let (pods, host_network, node, is_of_test) = (PodCount::One, false, None, true);
        let workload =
            ScenarioWorkload { labels, ports, addresses, is_placed, pods, host_network, node, is_of_test };
        self.workloads.insert(name, workload);
    }

    fn assign_addresses(&mut self) -> Vec<IpAddr> {
        loop {
            self.assigned += 1;
            let v4 = Ipv4Addr::from_bits(FIRST_V4.to_bits() + self.assigned);
            let v6 = Ipv6Addr::from_bits(FIRST_V6.to_bits() + u128::from(self.assigned));
            let assigned: Vec<IpAddr> = vec![v4.into(), v6.into()];
            if !self.placed.iter().any(|placed| assigned.contains(placed)) {
                return assigned;
            }
        }
    }

    /// The lists of a service's addresses.
    fn lists_of(&self, (namespace, name): &Name) -> impl Iterator<Item = &manifest::Endpoints> {
        self.endpoints.values().filter(move |one| one.namespace == *namespace && one.service == *name)
    }

    /// Updates the backends of a service that policies refer to.
    fn refer_to(&mut self, name: &Name) {
        let Some(service) = self.services.get(name) else { return };
        let backends = if service.selector.is_empty() {
            Backends::Addresses(self.lists_of(name).flat_map(manifest::Endpoints::addresses).collect())
        } else {
            Backends::Selected(service.selector.clone())
        };
        let mut labels = Labels::default();
        service.labels.iter().for_each(|(key, value)| labels.insert(Source::K8s, key, value));
        let service = ServiceEntry { labels, backends };
        self.refer(|catalog| catalog.put_service(&name.0, &name.1, service));
    }
}

/// All workload selectors of a policy.
fn selectors(policy: &Policy) -> impl Iterator<Item = &Selector> {
    policy.specs.iter().flat_map(|spec| {
        let peers = spec.rules.iter().filter_map(|rule| match &rule.peers {
            Peers::Any => None,
            Peers::Of(peers) => Some(peers),
        });
        let of_peers = peers.flatten().filter_map(|peer| match peer {
            Peer::Labels(selector) => Some(selector),
            _ => None,
        });
        of_peers.chain([spec.subject.selector()])
    })
}

fn protocol(protocol: TransportProtocol) -> policy::rule::Protocol {
    match protocol {
        TransportProtocol::Tcp => policy::rule::Protocol::Tcp,
        TransportProtocol::Udp => policy::rule::Protocol::Udp,
        TransportProtocol::Sctp => policy::rule::Protocol::Sctp,
    }
}

/// Assigned addresses follow these, as in `nexin test`.
const FIRST_V4: Ipv4Addr = Ipv4Addr::new(10, 200, 128, 0);
const FIRST_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x200, 0, 0, 0x8000, 0, 0, 0);
