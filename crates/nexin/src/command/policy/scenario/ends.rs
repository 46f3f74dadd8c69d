//! The ends of a scenario: workloads, nodes and hosts by name and address.

use super::{LabelMap, Name, Scenario, ScenarioWorkload};
use abi::identity::{FIRST_ALLOCATED, HOST, REMOTE_NODE, WORLD};
use agent::explain::{ConnectionEnd, Inventory};
use identity::{Labels, Source, filter};
use manifest::PodCount;
use policy::rule::Protocol;
use policy::set::SubmittedPolicies;
use service::{API_SERVER, Candidate, EndpointSlice};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

impl Scenario {
    /// All ends: workloads, external hosts and nodes. Host-network pods are part of their node. [`Self::host`]
    /// returns the local node of tests.
    pub(in crate::command::policy) fn ends(&self) -> impl Iterator<Item = ConnectionEnd> {
        let workloads = self.workloads.iter().filter(|(_, workload)| !workload.host_network);
        let workloads = workloads.map(|(name, workload)| self.workload(name, workload));
        let externals = self.externals.keys().map(|name| self.external(name));
        workloads.chain(externals).chain(self.nodes())
    }

    /// The nodes, except for the local node of tests.
    pub(in crate::command::policy) fn nodes(&self) -> impl Iterator<Item = ConnectionEnd> {
        self.nodes.keys().filter(|name| *name != LOCAL).map(|name| self.node(name))
    }

    /// Whether the local node is described.
    pub(in crate::command::policy) fn knows_host(&self) -> bool {
        self.nodes.contains_key(LOCAL)
    }

    /// The local node, which exists also if no file describes it. A single node is the local node.
    pub(in crate::command::policy) fn host(&self) -> ConnectionEnd {
        match self.lone_node() {
            Some(only) => ConnectionEnd { audit: self.audit, ..self.node(only).as_local() },
            None => self.node(LOCAL),
        }
    }

    /// The single node of manifests. The nodes of tests exist beside the local node.
    fn lone_node(&self) -> Option<&String> {
        let mut nodes = self.nodes.keys();
        let only = nodes.next().filter(|only| *only != LOCAL && self.local.is_empty());
        only.filter(|_| nodes.next().is_none())
    }

    /// Whether there is no workload.
    pub(in crate::command::policy) fn is_empty(&self) -> bool {
        self.workloads.is_empty()
    }

    /// The namespaces with described labels.
    pub(in crate::command::policy) fn namespaces(&self) -> impl Iterator<Item = &str> {
        self.namespaces.keys().map(String::as_str)
    }

    /// Whether the labels of this namespace are described.
    pub(in crate::command::policy) fn knows_namespace(&self, name: &str) -> bool {
        self.namespaces.contains_key(name)
    }

    pub(super) fn workload(&self, (namespace, name): &Name, workload: &ScenarioWorkload) -> ConnectionEnd {
        if workload.host_network {
            return self.host_network_end(&format!("{namespace}/{name}"), workload);
        }
        let ScenarioWorkload { labels, ports, addresses, pods, node, is_of_test, .. } = workload.clone();
        let own = labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let labels = Labels::of_workload(namespace, self.namespace_labels(namespace), own);
        // Labels of single replicas are not part of identities; for workloads of manifests they are, if a policy
        // names them.
        let counts = |label: &str| !is_of_test && self.named.contains(&identity::Name::from(label));
        let labels = filter::relevant_or(labels, counts);
        let end = ConnectionEnd::new(&format!("{namespace}/{name}"), FIRST_ALLOCATED, labels);
        let remarks = without_pods(&end.name, pods);
        let node = node
            .map_or_else(|| self.lone_node().cloned(), |node| self.nodes.contains_key(&node).then_some(node));
        ConnectionEnd {
            ports,
            addresses,
            is_one: pods == PodCount::One,
            audit: self.audit,
            node,
            remarks,
            ..end
        }
    }

    fn external(&self, name: &str) -> ConnectionEnd {
        let names = self.names.get(name).cloned().unwrap_or_default();
        ConnectionEnd { names, ..world(name, self.externals[name].clone()) }.among(&self.api_servers())
    }

    pub(super) fn node(&self, name: &str) -> ConnectionEnd {
        let (number, kind) = if name == LOCAL { (HOST, "host") } else { (REMOTE_NODE, "remote-node") };
        let mut labels = Labels::reserved(kind);
        let (own, mut addresses): (LabelMap, Vec<IpAddr>) = self.nodes.get(name).cloned().unwrap_or_default();
        if name == LOCAL && addresses.is_empty() {
            addresses.clone_from(&self.local);
        }
        own.into_iter().for_each(|(key, value)| labels.insert(Source::K8s, key, value));
        let end = ConnectionEnd {
            addresses,
            is_one: true,
            audit: self.audit,
            ..ConnectionEnd::new(name, number, labels)
        };
        end.among(&self.api_servers())
    }
}

impl Inventory for Scenario {
    fn named(&self, text: &str) -> Option<ConnectionEnd> {
        let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
        let name = (namespace.to_owned(), name.to_owned());
        match self.workloads.get(&name) {
            Some(workload) => Some(self.workload(&name, workload)),
            None if self.owners.contains_key(&name) => self.owned(&name),
            None if text == LOCAL => Some(self.host()),
            None if self.externals.contains_key(text) => Some(self.external(text)),
            None if self.nodes.contains_key(text) => Some(self.node(text)),
            None => {
                let known = |names: &&str| self.names.get(*names).is_some_and(|names| names.contains(text));
                self.externals.keys().map(String::as_str).find(known).map(|name| self.external(name))
            }
        }
    }

    fn prefers_service(&self, text: &str) -> bool {
        let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
        self.workloads.get(&(namespace.to_owned(), name.to_owned())).is_some_and(|one| !one.is_of_test)
    }

    fn at(&self, address: IpAddr) -> ConnectionEnd {
        let is_there = |one: &ScenarioWorkload| {
            one.addresses.contains(&address)
                || self.addresses_of(one).contains(&address) && one.node.is_none()
        };
        let mut workloads = self.workloads.iter();
        if let Some((name, found)) = workloads.find(|(_, one)| is_there(one)) {
            return self.workload(name, found);
        }
        let mut externals = self.externals.iter();
        if let Some((name, _)) = externals.find(|(_, addresses)| addresses.contains(&address)) {
            return self.external(name);
        }
        match self.nodes.iter().find(|(_, (_, addresses))| addresses.contains(&address)) {
            Some((name, _)) => self.node(name),
            None if self.local.contains(&address) => self.node(LOCAL),
            None => world(&address.to_string(), vec![address]).among(&self.api_servers()),
        }
    }

    fn namespace_labels(&self, name: &str) -> Vec<(&str, &str)> {
        let labels = self.namespaces.get(name).into_iter().flatten();
        labels.map(|(key, value)| (key.as_str(), value.as_str())).collect()
    }

    fn candidates(&self) -> Vec<Candidate> {
        // Only pods that exist stand behind a service.
        let present = self.workloads.iter().filter(|(_, workload)| workload.pods != PodCount::None);
        let candidates = present.map(|((namespace, _), workload)| Candidate {
            namespace: namespace.clone(),
            labels: workload.labels.clone().into(),
            addresses: self.addresses_of(workload).into_owned(),
            named_ports: named_ports(workload).into(),
        });
        candidates.collect()
    }

    fn services(&self) -> Box<dyn Iterator<Item = &service::Service> + '_> {
        Box::new(self.services.values())
    }

    fn listed_slices(&self, service: &service::Service) -> Vec<&EndpointSlice> {
        self.lists_of(&(service.namespace.clone(), service.name.clone()))
            .flat_map(|list| &list.slices)
            .collect()
    }

    fn api_servers(&self) -> BTreeSet<IpAddr> {
        let (namespace, name) = API_SERVER;
        let lists = self.endpoints.values().filter(|one| one.namespace == namespace && one.service == name);
        lists.flat_map(manifest::Endpoints::addresses).collect()
    }

    fn policies(&self) -> &SubmittedPolicies {
        self.registry.policies.submitted()
    }

    fn audits(&self) -> bool {
        self.audit
    }

    fn workloads(&self) -> Vec<String> {
        self.workloads.keys().map(|(namespace, name)| format!("{namespace}/{name}")).collect()
    }

    fn place(&self) -> &'static str {
        "in these files"
    }
}

/// The remark on a workload without pods.
fn without_pods(name: &str, pods: PodCount) -> Vec<String> {
    let remark = format!("{name} has no pods now; it is evaluated as if it had one");
    (pods == PodCount::None).then_some(remark).into_iter().collect()
}

fn named_ports(workload: &ScenarioWorkload) -> BTreeMap<(String, u8), u16> {
    let names = workload.ports.names();
    let ports = names.flat_map(|name| {
        let known = workload.ports.resolve(name, Protocol::Any);
        known.map(|(number, port)| ((name.to_owned(), number), port))
    });
    ports.collect()
}

fn world(name: &str, addresses: Vec<IpAddr>) -> ConnectionEnd {
    ConnectionEnd { addresses, ..ConnectionEnd::new(name, WORLD, Labels::reserved("world")) }
}

/// The name of the local node in tests.
pub(super) const LOCAL: &str = "host";
