//! The world that files describe: who is there, and which policies are in force. No agent is asked.

mod read;
mod step;

use crate::outcome::BadInput;
use abi::identity::{FIRST_ALLOCATED, HOST, REMOTE_NODE, WORLD};
use agent::explain::End;
use identity::{Labels, Source, filter};
use manifest::{NamedPort, Object, ObjectName, Protocol};
use policy::book::RuleBook;
use policy::catalog::{Backends, Catalog, Service};
use policy::directory::Directory;
use policy::party::NamedPorts;
use policy::ready::Numbers;
use policy::rule::Policy;
use policy::set::PolicySet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Namespace and name.
type Name = (String, String);
type Text = BTreeMap<String, String>;

/// Who is there, and which policies are in force.
#[derive(Clone, Debug, Default)]
pub(super) struct Scenario {
    namespaces: BTreeMap<String, Text>,
    workloads: BTreeMap<Name, Workload>,
    /// Hosts outside the cluster by name.
    externals: BTreeMap<String, Vec<IpAddr>>,
    /// The domain names that they are known by.
    names: BTreeMap<String, BTreeSet<String>>,
    /// The nodes by name, each with its labels; `host` is the local one.
    nodes: BTreeMap<String, (Text, Vec<IpAddr>)>,
    groups: BTreeSet<String>,
    services: BTreeMap<Name, manifest::Service>,
    /// Who is behind services without selector.
    endpoints: BTreeMap<ObjectName, manifest::Endpoints>,
    /// The policies, and what they refer to.
    pub(super) policies: PolicySet,
    /// Numbers of what policies name; nobody compiles them here.
    directory: Directory,
    book: RuleBook,
    given: u32,
}

#[derive(Clone, Debug)]
struct Workload {
    labels: Text,
    ports: NamedPorts,
    addresses: Vec<IpAddr>,
}

impl Scenario {
    /// Takes what a document describes, in place of what had its name.
    fn take(&mut self, object: Object) {
        match object {
            Object::Policy(policy) => self.apply(policy),
            Object::Namespace(namespace) => drop(self.namespaces.insert(namespace.name, namespace.labels)),
            Object::Workload(one) => {
                self.admit((one.namespace, one.name), one.labels, &one.named_ports, Vec::new());
            }
            Object::Node(node) => drop(self.nodes.insert(node.name, (node.labels, node.addresses))),
            Object::CidrGroup(one) => {
                self.groups.insert(one.name.clone());
                self.refer(|catalog| catalog.put_group(&one.name, one.group));
            }
            Object::Service(service) => {
                let name = (service.namespace.clone(), service.name.clone());
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
        let Self { policies, directory, book, .. } = self;
        policies.apply(policy, &mut Numbers { directory, book });
    }

    /// Changes what policies refer to.
    fn refer(&mut self, change: impl FnOnce(&mut Catalog)) {
        let Self { policies, directory, book, .. } = self;
        policies.refer(change, &mut Numbers { directory, book });
    }

    /// Takes a workload. Files seldom say which addresses pods will have: each gets some of its own.
    fn admit(&mut self, name: Name, labels: Text, named: &[NamedPort], addresses: Vec<IpAddr>) {
        let mut ports = NamedPorts::default();
        named.iter().for_each(|port| ports.insert(&port.name, protocol(port.protocol), port.port));
        let addresses = if addresses.is_empty() { self.give() } else { addresses };
        self.workloads.insert(name, Workload { labels, ports, addresses });
    }

    fn give(&mut self) -> Vec<IpAddr> {
        self.given += 1;
        let v4 = Ipv4Addr::from_bits(FIRST_V4.to_bits() + self.given);
        let v6 = Ipv6Addr::from_bits(FIRST_V6.to_bits() + u128::from(self.given));
        vec![v4.into(), v6.into()]
    }

    /// Tells policies who stands behind a service.
    fn refer_to(&mut self, name: &Name) {
        let Some(service) = self.services.get(name) else { return };
        let backends = if service.selector.is_empty() {
            let behind =
                self.endpoints.values().filter(|one| (&one.namespace, &one.service) == (&name.0, &name.1));
            Backends::Addresses(behind.flat_map(|one| one.addresses.iter().copied()).collect())
        } else {
            Backends::Selected(service.selector.clone())
        };
        let mut labels = Labels::default();
        service.labels.iter().for_each(|(key, value)| labels.insert(Source::K8s, key, value));
        let service = Service { labels, backends };
        self.refer(|catalog| catalog.put_service(&name.0, &name.1, service));
    }

    /// Who is called by a name, an address, `host`, `world`, or the labels of a workload that is not there.
    pub(super) fn end(&self, text: &str) -> Result<End, BadInput> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(End { addresses: vec![address], ..self.end_at(address) });
        }
        if let Some(end) = End::by_labels(text, |namespace| self.namespace_labels(namespace)) {
            return Ok(end);
        }
        let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
        let name = (namespace.to_owned(), name.to_owned());
        match (self.workloads.get(&name), text) {
            (Some(workload), _) => Ok(self.workload(&name, workload)),
            (None, "host") => Ok(self.node("host")),
            (None, "world") => Ok(world("world", Vec::new())),
            (None, _) if self.externals.contains_key(text) => Ok(self.external(text)),
            (None, _) if self.nodes.contains_key(text) => Ok(self.node(text)),
            (None, _) => Err(self.nobody(&name)),
        }
    }

    /// Everybody who is there, workloads first.
    pub(super) fn ends(&self) -> impl Iterator<Item = End> {
        let workloads = self.workloads.iter().map(|(name, workload)| self.workload(name, workload));
        let externals = self.externals.keys().map(|name| self.external(name));
        let nodes = self.nodes.keys().filter(|name| *name != "host").map(|name| self.node(name));
        workloads.chain(externals).chain(nodes)
    }

    /// Takes over whoever is there in another scenario, in place of its own, but keeps its policies.
    pub(super) fn take_people(&mut self, other: &Self) {
        let Self { namespaces, workloads, externals, nodes, .. } = other.clone();
        (self.namespaces, self.workloads, self.externals, self.nodes) =
            (namespaces, workloads, externals, nodes);
    }

    /// Whether no workload is there.
    pub(super) fn is_empty(&self) -> bool {
        self.workloads.is_empty()
    }

    /// The labels of a namespace, as far as files give it some.
    pub(super) fn namespace_labels(&self, name: &str) -> Vec<(&str, &str)> {
        let labels = self.namespaces.get(name).into_iter().flatten();
        labels.map(|(key, value)| (key.as_str(), value.as_str())).collect()
    }

    fn end_at(&self, address: IpAddr) -> End {
        let mut workloads = self.workloads.iter();
        if let Some((name, found)) = workloads.find(|(_, one)| one.addresses.contains(&address)) {
            return self.workload(name, found);
        }
        let mut externals = self.externals.iter();
        if let Some((name, _)) = externals.find(|(_, addresses)| addresses.contains(&address)) {
            return self.external(name);
        }
        match self.nodes.iter().find(|(_, (_, addresses))| addresses.contains(&address)) {
            Some((name, _)) => self.node(name),
            None => world(&address.to_string(), Vec::new()),
        }
    }

    fn workload(&self, (namespace, name): &Name, workload: &Workload) -> End {
        let own = workload.labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let labels = Labels::of_workload(namespace, self.namespace_labels(namespace), own);
        let end = End::new(&format!("{namespace}/{name}"), FIRST_ALLOCATED, filter::relevant(labels));
        End { ports: workload.ports.clone(), addresses: workload.addresses.clone(), ..end }
    }

    fn external(&self, name: &str) -> End {
        let names = self.names.get(name).cloned().unwrap_or_default();
        End { names, ..world(name, self.externals[name].clone()) }
    }

    /// A node; the local one is there whether or not files describe it.
    pub(super) fn node(&self, name: &str) -> End {
        let (number, kind) = if name == "host" { (HOST, "host") } else { (REMOTE_NODE, "remote-node") };
        let mut labels = Labels::reserved(kind);
        let (own, addresses) = self.nodes.get(name).cloned().unwrap_or_default();
        own.into_iter().for_each(|(key, value)| labels.insert(Source::K8s, key, value));
        End { addresses, ..End::new(name, number, labels) }
    }

    fn nobody(&self, (namespace, name): &Name) -> BadInput {
        let behind = self.services.contains_key(&(namespace.clone(), name.clone()));
        let hint = if behind { "; it is a service: name a workload behind it" } else { "" };
        let known: Vec<String> =
            self.workloads.keys().map(|(namespace, name)| format!("{namespace}/{name}")).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        BadInput(format!(
            "no workload {namespace}/{name} in these files{hint}; workloads: {known}; or give an address, `host`, \
             `world`, or labels: {namespace}/app=web"
        ))
    }
}

fn world(name: &str, addresses: Vec<IpAddr>) -> End {
    End { addresses, ..End::new(name, WORLD, Labels::reserved("world")) }
}

fn protocol(protocol: Protocol) -> policy::rule::Protocol {
    match protocol {
        Protocol::Tcp => policy::rule::Protocol::Tcp,
        Protocol::Udp => policy::rule::Protocol::Udp,
        Protocol::Sctp => policy::rule::Protocol::Sctp,
    }
}

/// Addresses are given from after these, as `nexin test` gives them.
const FIRST_V4: Ipv4Addr = Ipv4Addr::new(10, 200, 128, 0);
const FIRST_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x200, 0, 0, 0x8000, 0, 0, 0);
