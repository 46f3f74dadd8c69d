//! Changes of namespaces and workloads.

use crate::change::{Change, Endpoint, LAST_ENDPOINT, RemoteWorkload, Workload};
use crate::ledger::RowSubject;
use crate::peers::AlikeWorkloads;
use crate::step::Step;
use crate::world::{KnownNamespace, Owner, World};
use foldhash::HashMap;
use identity::{Labels, Source, filter, key};
use policy::endpoint_view::NamedPorts;
use policy::rule::Protocol;
use service::Candidate;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

impl World {
    pub(crate) fn relabel_namespace(
        &mut self,
        name: String,
        labels: BTreeMap<String, String>,
        step: &mut Step,
    ) -> Option<Change> {
        let known = self.namespaces.entry(name.clone()).or_default();
        let before = (known.labels != labels).then(|| std::mem::replace(&mut known.labels, labels));
        if before.is_some() {
            step.workloads.extend(&known.workloads);
        }
        self.forget_empty_namespace(&name);
        Some(Change::Namespace { name, labels: before? })
    }

    /// Removes the entry of a namespace that has neither labels nor workloads.
    fn forget_empty_namespace(&mut self, name: &str) {
        let is_empty = |known: &KnownNamespace| known.labels.is_empty() && known.workloads.is_empty();
        if self.namespaces.get(name).is_some_and(is_empty) {
            self.namespaces.remove(name);
        }
    }

    pub(crate) fn put_endpoint(&mut self, mut endpoint: Box<Endpoint>, step: &mut Step) -> Option<Change> {
        let id = endpoint.id;
        if self.endpoints.get(&id).is_some_and(|known| **known == *endpoint) {
            return None;
        }
        let undo = match self.endpoints.remove(&id) {
            Some(before) => {
                self.forget_workload(id, &before.workload, step);
                self.close_host_ports(&before, step);
                Change::Endpoint(Box::new(Arc::unwrap_or_clone(before)))
            }
            None => Change::RemoveEndpoint(id),
        };
        self.know_workload(id, &mut endpoint.workload, step);
        self.services.put_workload(id, candidate(&endpoint.workload));
        self.open_host_ports(&endpoint, step);
        self.endpoints.insert(id, Arc::from(endpoint));
        Some(undo)
    }

    pub(crate) fn remove_endpoint(&mut self, id: u32, step: &mut Step) -> Option<Change> {
        let before = self.endpoints.remove(&id)?;
        self.forget_workload(id, &before.workload, step);
        self.services.remove_workload(id);
        self.close_host_ports(&before, step);
        self.peers.dismiss(id, &mut self.enforcement);
        step.mark(RowSubject::Endpoint(id));
        Some(Change::Endpoint(Box::new(Arc::unwrap_or_clone(before))))
    }

    pub(crate) fn put_remote_workload(
        &mut self,
        mut remote: Box<RemoteWorkload>,
        step: &mut Step,
    ) -> Option<Change> {
        let Workload { namespace, name, .. } = &remote.workload;
        let known = self.remote_workload_number(namespace, name);
        let is_taken = |id| self.remote_workloads.contains_key(&id);
        // If all numbers are taken, the workload stays unknown: no rule matches it.
        let id = known.or_else(|| self.remote_numbers.take(is_taken))?;
        if self.remote_workloads.get(&id).is_some_and(|known| **known == *remote) {
            return None;
        }
        let undo = match self.remote_workloads.remove(&id) {
            Some(before) => {
                self.forget_workload(id, &before.workload, step);
                Change::RemoteWorkload(Box::new(Arc::unwrap_or_clone(before)))
            }
            None => Change::RemoveRemoteWorkload { namespace: namespace.clone(), name: name.clone() },
        };
        self.know_workload(id, &mut remote.workload, step);
        self.remote_workloads.insert(id, Arc::from(remote));
        Some(undo)
    }

    pub(crate) fn remove_remote_workload(
        &mut self,
        namespace: &str,
        name: &str,
        step: &mut Step,
    ) -> Option<Change> {
        let id = self.remote_workload_number(namespace, name)?;
        let before = self.remote_workloads.remove(&id)?;
        self.forget_workload(id, &before.workload, step);
        self.peers.dismiss(id, &mut self.enforcement);
        step.renamed.workloads.insert(id);
        Some(Change::RemoteWorkload(Box::new(Arc::unwrap_or_clone(before))))
    }

    fn remote_workload_number(&self, namespace: &str, name: &str) -> Option<u32> {
        let within = self.namespaces.get(namespace)?.workloads.range(LAST_ENDPOINT + 1..);
        within
            .copied()
            .find(|id| self.remote_workloads.get(id).is_some_and(|known| known.workload.name == name))
    }

    /// Adds a workload to its namespace, and records it as the owner of its addresses.
    fn know_workload(&mut self, id: u32, workload: &mut Workload, step: &mut Step) {
        self.own(&workload.addresses, &Owner::Workload(id), step);
        self.namespaces.entry(workload.namespace.clone()).or_default().workloads.insert(id);
        step.workloads.insert(id);
        workload.labels = self.labels.intern(workload.labels.clone());
        workload.named_ports = self.named_ports.intern(workload.named_ports.clone());
    }

    /// Reverts [`Self::know_workload`].
    fn forget_workload(&mut self, id: u32, workload: &Workload, step: &mut Step) {
        if let Some(known) = self.namespaces.get_mut(&workload.namespace) {
            known.workloads.remove(&id);
            self.forget_empty_namespace(&workload.namespace);
        }
        for address in &workload.addresses {
            self.release(*address, Owner::Workload(id), step);
        }
    }

    /// Records the owner of addresses.
    pub(crate) fn own(&mut self, addresses: &[IpAddr], owner: &Owner, step: &mut Step) {
        for address in addresses {
            self.owners.insert((*address, owner.clone()));
            step.mark_address(*address);
        }
    }

    /// Removes the owner of an address.
    pub(crate) fn release(&mut self, address: IpAddr, owner: Owner, step: &mut Step) {
        self.owners.remove(&(address, owner));
        step.mark_address(address);
    }

    /// These workloads, grouped by the labels and ports that policies distinguish.
    pub(crate) fn arrivals(&self, workloads: &[u32]) -> Vec<AlikeWorkloads> {
        let mut arrivals: Vec<AlikeWorkloads> = Vec::new();
        // Labels and ports that are the same value in memory are equal.
        let mut known: HashMap<_, usize> = HashMap::default();
        let mut alike: HashMap<_, usize> = HashMap::default();
        let mut around: HashMap<&str, Arc<Labels>> = HashMap::default();
        let mut ports: HashMap<_, NamedPorts> = HashMap::default();
        for (id, workload) in workloads.iter().filter_map(|id| Some((*id, self.workload(*id)?))) {
            let its_ports = Arc::as_ptr(&workload.named_ports);
            let key = (&*workload.namespace, Arc::as_ptr(&workload.labels), its_ports);
            let place = *known.entry(key).or_insert_with(|| {
                let around = around.entry(&workload.namespace);
                let around = around.or_insert_with(|| Arc::new(self.labels_of(&workload.namespace))).clone();
                // Policies match only security-relevant labels, at both ends.
                let labels = Arc::new(filter::relevant(labels(workload, &around)));
                let ports = ports.entry(its_ports).or_insert_with(|| named_ports(workload)).clone();
                *alike.entry((labels.clone(), ports.clone())).or_insert_with(|| {
                    arrivals.push(AlikeWorkloads {
                        labels,
                        ports,
                        endpoints: BTreeSet::new(),
                        namespace: workload.namespace.clone(),
                        namespace_labels: around,
                        addresses: Vec::new(),
                    });
                    arrivals.len() - 1
                })
            });
            arrivals[place].endpoints.insert(id);
            arrivals[place].addresses.extend(&workload.addresses);
        }
        arrivals
    }

    /// The cluster assigns an identity to labels, or withdraws it. Returns the change that reverts this; workloads keep a number
    /// of the cluster also then.
    pub(crate) fn assign_identity(
        &mut self,
        number: u32,
        labels: Option<Arc<Labels>>,
        step: &mut Step,
    ) -> Change {
        let (before, renumbered) = self.peers.identities.assign(number, labels);
        let workloads = self.peers.renumber(&renumbered);
        workloads.into_iter().for_each(|id| self.mark_workload(id, step));
        before.map_or(Change::RemoveIdentity(number), |labels| Change::Identity { number, labels })
    }

    /// The identity that the cluster assigned to a workload of this namespace with these own labels, whether there is such a
    /// workload or not.
    pub fn assigned_identity(&self, namespace: &str, own: &BTreeMap<String, String>) -> Option<u32> {
        let own = own.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        self.peers.identities.assigned(&filter::relevant(self.labels_of(namespace).with_own(own)))
    }

    /// The labels to which the cluster assigned this identity.
    pub fn assigned_labels(&self, identity: u32) -> Option<&Arc<Labels>> {
        self.peers.identities.assigned_labels(identity)
    }

    /// Whether the cluster assigned an identity to any labels.
    pub fn has_assigned_identities(&self) -> bool {
        self.peers.identities.has_assigned()
    }

    /// The labels of a workload of this namespace without own labels.
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

/// A workload's own labels and the labels from its namespace.
fn labels(workload: &Workload, around: &Labels) -> Labels {
    around.with_own(workload.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())))
}

/// The workload as services may select it.
pub(crate) fn candidate(workload: &Workload) -> Candidate {
    Candidate {
        namespace: workload.namespace.clone(),
        labels: workload.labels.clone(),
        addresses: workload.addresses.clone(),
        named_ports: workload.named_ports.clone(),
    }
}

/// The workload's named ports that policies can match.
pub(crate) fn named_ports(workload: &Workload) -> NamedPorts {
    let mut ports = NamedPorts::default();
    for ((name, number), port) in workload.named_ports.iter() {
        for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
            if protocol.numbers().contains(number) {
                ports.insert(name, protocol, *port);
            }
        }
    }
    ports
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{namespace, workload};

    /// A workload of another node.
    fn remote(namespace: &str) -> Change {
        let workload = Workload { namespace: namespace.into(), name: "remote".into(), ..Workload::default() };
        Change::RemoteWorkload(Box::new(RemoteWorkload { node: "other".into(), workload }))
    }

    #[test]
    fn a_namespace_without_labels_and_workloads_has_no_entry() {
        let mut world = World::new();
        let names = |world: &World| world.namespaces.keys().cloned().collect::<Vec<_>>();
        world.apply([Change::RemoveNamespace("never".into())]);
        assert!(names(&world).is_empty(), "its labels change from none to none");
        world.apply([namespace("x", "front"), workload(1, "x", "web"), workload(2, "y", "web"), remote("z")]);
        assert_eq!(names(&world), ["x", "y", "z"]);
        world.apply([workload(2, "x", "web")]);
        assert_eq!(names(&world), ["x", "z"], "its only workload is in another namespace now");
        let removed = world.apply([
            Change::RemoveEndpoint(1),
            Change::RemoveEndpoint(2),
            Change::RemoveRemoteWorkload { namespace: "z".into(), name: "remote".into() },
        ]);
        assert_eq!(names(&world), ["x"], "a namespace keeps its labels");
        let undo = world.apply([Change::RemoveNamespace("x".into())]).undo;
        assert!(names(&world).is_empty());
        world.apply(undo);
        world.apply(removed.undo);
        assert_eq!(names(&world), ["x", "z"]);
        assert_eq!(world.namespaces["x"].labels.len(), 1);
    }

    #[test]
    fn numbers_of_found_rows_are_forgotten_once_the_rows_are_replaced() {
        let mut world = World::new();
        world.apply([namespace("x", "front"), workload(1, "x", "web"), workload(2, "y", "web")]);
        let mut restarted = World::adopt(world.rows().into_values(), world.identities().clone());
        assert_eq!(restarted.peers.restored_numbers(), 2, "the namespace of each address");
        restarted.apply([workload(1, "x", "web")]);
        assert_eq!(restarted.peers.restored_numbers(), 0);
    }
}
