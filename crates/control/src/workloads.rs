//! Changes of namespaces and workloads.

use crate::change::{Change, Endpoint};
use crate::peers::Arrival;
use crate::step::{Step, Subject};
use crate::world::{Owner, World};
use foldhash::HashMap;
use identity::{Labels, Source, filter, key};
use policy::endpoint_view::NamedPorts;
use policy::rule::Protocol;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

impl World {
    pub(crate) fn relabel_namespace(
        &mut self,
        name: String,
        labels: BTreeMap<String, String>,
        step: &mut Step,
    ) {
        let known = self.namespaces.entry(name.clone()).or_default();
        if known.labels == labels {
            return;
        }
        let before = std::mem::replace(&mut known.labels, labels);
        known.endpoints.iter().for_each(|id| step.mark(Subject::Workload(*id)));
        step.undo.push(Change::Namespace { name, labels: before });
    }

    pub(crate) fn put_endpoint(&mut self, mut endpoint: Box<Endpoint>, step: &mut Step) {
        let id = endpoint.id;
        match self.endpoints.get(&id) {
            Some(before) if *before == endpoint => return,
            Some(before) => step.undo.push(Change::Endpoint(before.clone())),
            None => step.undo.push(Change::RemoveEndpoint(id)),
        }
        self.disown(id, step);
        self.own(&endpoint.addresses, &Owner::Endpoint(id), step);
        self.namespaces.entry(endpoint.namespace.clone()).or_default().endpoints.insert(id);
        step.mark(Subject::Workload(id));
        endpoint.labels = self.labels.intern(endpoint.labels);
        endpoint.named_ports = self.named_ports.intern(endpoint.named_ports);
        self.translation.put_workload(&endpoint);
        self.endpoints.insert(id, endpoint);
    }

    pub(crate) fn remove_endpoint(&mut self, id: u32, step: &mut Step) {
        self.disown(id, step);
        self.translation.remove_workload(id);
        if let Some(before) = self.endpoints.remove(&id) {
            self.peers.dismiss(id, &mut step.peer_changes);
            step.mark_endpoint(id);
            step.undo.push(Change::Endpoint(before));
        }
    }

    /// Takes a workload out of its namespace, and its addresses from it.
    fn disown(&mut self, id: u32, step: &mut Step) {
        let Some(before) = self.endpoints.get(&id) else { return };
        if let Some(namespace) = self.namespaces.get_mut(&before.namespace) {
            namespace.endpoints.remove(&id);
        }
        for address in before.addresses.clone() {
            self.release(address, Owner::Endpoint(id), step);
        }
    }

    /// Records the owner of addresses.
    pub(crate) fn own(&mut self, addresses: &[IpAddr], owner: &Owner, step: &mut Step) {
        for address in addresses {
            self.owners.insert((*address, owner.clone()));
            step.mark_address(*address);
        }
    }

    /// Records that an owner has an address no more.
    pub(crate) fn release(&mut self, address: IpAddr, owner: Owner, step: &mut Step) {
        self.owners.remove(&(address, owner));
        step.mark_address(address);
    }

    /// These workloads, together with those among them that policies see alike.
    pub(crate) fn arrivals(&self, workloads: &[u32]) -> Vec<Arrival> {
        let mut arrivals: Vec<Arrival> = Vec::new();
        // Labels and ports that are the same value need not be looked at again.
        let mut known: HashMap<_, usize> = HashMap::default();
        let mut alike: HashMap<_, usize> = HashMap::default();
        let mut around: HashMap<&str, Arc<Labels>> = HashMap::default();
        let mut ports: HashMap<_, NamedPorts> = HashMap::default();
        for endpoint in workloads.iter().filter_map(|id| self.endpoint_of(*id)) {
            let its_ports = Arc::as_ptr(&endpoint.named_ports);
            let key = (&*endpoint.namespace, Arc::as_ptr(&endpoint.labels), its_ports);
            let place = *known.entry(key).or_insert_with(|| {
                let around = around.entry(&endpoint.namespace);
                let around = around.or_insert_with(|| Arc::new(self.labels_of(&endpoint.namespace))).clone();
                // Policies see what identities are made of, on both ends.
                let labels = Arc::new(filter::relevant(labels(endpoint, &around)));
                let ports = ports.entry(its_ports).or_insert_with(|| named_ports(endpoint)).clone();
                *alike.entry((labels.clone(), ports.clone())).or_insert_with(|| {
                    arrivals.push(Arrival {
                        labels,
                        ports,
                        endpoints: BTreeSet::new(),
                        namespace: endpoint.namespace.clone(),
                        namespace_labels: around,
                        addresses: Vec::new(),
                    });
                    arrivals.len() - 1
                })
            });
            arrivals[place].endpoints.insert(endpoint.id);
            arrivals[place].addresses.extend(&endpoint.addresses);
        }
        arrivals
    }

    /// The labels of a workload of this namespace that has none of its own.
    fn labels_of(&self, namespace: &str) -> Labels {
        let labels = self.namespaces.get(namespace).into_iter().flat_map(|namespace| &namespace.labels);
        let labels = labels.map(|(key, value)| (key.as_str(), value.as_str()));
        let mut labels = Labels::of_namespace(namespace, labels);
        if let Some(cluster) = &self.node.cluster {
            labels.insert(Source::K8s, key::CLUSTER, cluster);
        }
        labels
    }
}

/// A workload's labels, with those around it in its namespace.
fn labels(endpoint: &Endpoint, around: &Labels) -> Labels {
    around.with_own(endpoint.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())))
}

/// The workload's named ports as policy sees them.
fn named_ports(endpoint: &Endpoint) -> NamedPorts {
    let mut ports = NamedPorts::default();
    for ((name, number), port) in endpoint.named_ports.iter() {
        for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
            if protocol.numbers().contains(number) {
                ports.insert(name, protocol, *port);
            }
        }
    }
    ports
}
