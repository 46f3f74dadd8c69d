//! The world that files describe: who is there, and which policies are in force. No agent is asked.

mod ends;
mod host_network;
mod merge;
mod owners;
mod read;
mod step;
#[cfg(test)]
mod tests;

use identity::{Labels, Selector, Source};
use manifest::{NamedPort, Object, ObjectName, PodCount, PolicyPositions, Protocol};
use policy::book::RuleBook;
use policy::catalog::{Backends, Catalog, ServiceEntry};
use policy::compiled_rule::Numbers;
use policy::directory::Directory;
use policy::endpoint_view::NamedPorts;
use policy::rule::{Peer, Peers, Policy};
use policy::set::PolicySet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Namespace and name.
type Name = (String, String);
type LabelMap = BTreeMap<String, String>;

/// Who is there, and which policies are in force.
#[derive(Clone, Debug, Default)]
pub(super) struct Scenario {
    namespaces: BTreeMap<String, LabelMap>,
    workloads: BTreeMap<Name, ScenarioWorkload>,
    /// The default addresses of the local node, which tests have.
    local: Vec<IpAddr>,
    /// What makes workloads that are there themselves, each with those.
    owners: BTreeMap<Name, Vec<Name>>,
    /// Hosts outside the cluster by name.
    externals: BTreeMap<String, Vec<IpAddr>>,
    /// The domain names that they are known by.
    names: BTreeMap<String, BTreeSet<String>>,
    /// The nodes by name, each with its labels; `host` is the local one.
    nodes: BTreeMap<String, (LabelMap, Vec<IpAddr>)>,
    groups: BTreeSet<String>,
    services: BTreeMap<Name, manifest::Service>,
    /// Addresses that are listed for services.
    endpoints: BTreeMap<ObjectName, manifest::Endpoints>,
    /// The policies, and what they refer to.
    pub(super) policies: PolicySet,
    /// Numbers of what policies name; nobody compiles them here.
    directory: Directory,
    book: RuleBook,
    /// Where policies of manifests stand.
    pub(super) positions: PolicyPositions,
    /// What is worth knowing about what was read.
    pub(super) notes: Vec<String>,
    /// Whether what policy refuses is let through and reported.
    audit: bool,
    assigned: u32,
    /// The labels that selectors name.
    named: BTreeSet<identity::Name>,
    /// The addresses that workloads are known to have.
    placed: BTreeSet<IpAddr>,
}

#[derive(Clone, Debug)]
struct ScenarioWorkload {
    labels: LabelMap,
    ports: NamedPorts,
    addresses: Vec<IpAddr>,
    /// Whether its addresses are written down, rather than assigned here.
    is_placed: bool,
    /// How many pods it is, which are alike.
    pods: PodCount,
    /// Whether it shares the network of its node.
    host_network: bool,
    /// The node that it runs on, where that is known.
    node: Option<String>,
    /// Whether a test describes it, rather than a manifest.
    is_of_test: bool,
}

impl Scenario {
    /// Takes what a document describes, in place of what had its name.
    fn take(&mut self, object: Object) {
        match object {
            Object::Policy(policy) => self.apply(policy),
            Object::Namespace(namespace) => drop(self.namespaces.insert(namespace.name, namespace.labels)),
            Object::Workload(one) => {
                let name = (one.namespace, one.name);
                self.learn_node(one.node.as_deref(), &one.node_addresses);
                self.admit(name.clone(), one.labels, &one.named_ports, one.addresses);
                self.workloads.entry(name).and_modify(|known| {
                    (known.pods, known.host_network, known.node) = (one.pods, one.host_network, one.node);
                    known.is_of_test = false;
                });
            }
            Object::Node(node) => {
                let (labels, addresses) = self.nodes.entry(node.name).or_default();
                *labels = node.labels;
                // What pods say of their node is known already, where it says nothing itself.
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
        let Self { policies, directory, book, .. } = self;
        policies.apply(policy, &mut Numbers { directory, book });
    }

    /// Changes what policies refer to.
    fn refer(&mut self, change: impl FnOnce(&mut Catalog)) {
        let Self { policies, directory, book, .. } = self;
        policies.refer(change, &mut Numbers { directory, book });
    }

    /// Takes a workload. Files seldom say which addresses pods will have: each that has none gets some of its own.
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

    /// The lists of addresses of a service.
    fn lists_of(&self, (namespace, name): &Name) -> impl Iterator<Item = &manifest::Endpoints> {
        self.endpoints.values().filter(move |one| one.namespace == *namespace && one.service == *name)
    }

    /// Tells policies what the backends of a service are.
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

/// All selectors of workloads in a policy.
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

fn protocol(protocol: Protocol) -> policy::rule::Protocol {
    match protocol {
        Protocol::Tcp => policy::rule::Protocol::Tcp,
        Protocol::Udp => policy::rule::Protocol::Udp,
        Protocol::Sctp => policy::rule::Protocol::Sctp,
    }
}

/// Addresses are assigned from after these, as `nexin test` gives them.
const FIRST_V4: Ipv4Addr = Ipv4Addr::new(10, 200, 128, 0);
const FIRST_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x200, 0, 0, 0x8000, 0, 0, 0);
