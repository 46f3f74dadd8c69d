//! Changes of what is around the workloads: nodes, services, groups of blocks, domain names.

use crate::change::{Change, Node, RemoteNode};
use crate::ledger::RowSubject;
use crate::step::{Step, Subject};
use crate::world::{Owner, World};
use abi::identity::HOST;
use identity::{Labels, Source};
use policy::catalog::{self, Backends};
use service::{API_SERVER, EndpointSlice, Service, ServiceName};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

impl World {
    /// The addresses of the API servers.
    pub fn api_servers(&self) -> &BTreeSet<IpAddr> {
        &self.api_servers
    }

    /// The slices that manifests list for a service.
    pub fn listed_slices(&self, service: &ServiceName) -> impl Iterator<Item = &EndpointSlice> {
        self.translation.listed(service)
    }

    pub(crate) fn put_node(&mut self, node: Node, step: &mut Step) {
        if node == self.node {
            return;
        }
        step.mark(Subject::Row(RowSubject::Node));
        for address in self.node.addresses.clone() {
            self.release(address, Owner::Node, step);
        }
        self.own(&node.addresses, &Owner::Node, step);
        if node.audit != self.node.audit {
            self.endpoints.keys().for_each(|id| step.mark_endpoint(*id));
        }
        if node.cluster != self.node.cluster {
            self.endpoints.keys().for_each(|id| step.mark(Subject::Workload(*id)));
        }
        let before = std::mem::replace(&mut self.node, node);
        let is_api_server = self.is_api_server(&self.node);
        if self.node.labels != before.labels || is_api_server != self.is_api_server(&before) {
            self.peers.label_host(&self.node.labels, is_api_server, &mut step.peer_changes);
        }
        if self.node.mode != before.mode {
            self.enforcement.policies.enforce(self.node.mode);
            self.peers.subjects().for_each(|peer| step.mark(Subject::Peer(peer)));
        }
        step.mark(Subject::Peer(HOST));
        step.undo.push(Change::Node(before.into()));
    }

    pub(crate) fn put_remote_node(&mut self, node: RemoteNode, step: &mut Step) {
        if node.name == self.node.name {
            let RemoteNode { labels, .. } = node;
            return self.put_node(Node { labels, ..self.node.clone() }, step);
        }
        if self.remote_nodes.get(&node.name).is_some_and(|before| before.node == node) {
            return;
        }
        let name = node.name.clone();
        let undo = self.replace_remote_node(node, step);
        step.undo.push(undo.unwrap_or(Change::RemoveRemoteNode(name)));
    }

    /// Puts a node in place of the one with its name, which is returned.
    fn replace_remote_node(&mut self, node: RemoteNode, step: &mut Step) -> Option<Change> {
        let (name, addresses) = (node.name.clone(), node.addresses.clone());
        // Held before the old one is given up, so that unchanged labels keep their number.
        let known = self.peers.admit_node(node, &self.api_servers, &mut step.peer_changes);
        let before = self.forget_remote_node(&name, step);
        self.own(&addresses, &Owner::RemoteNode(name.as_str().into()), step);
        self.remote_nodes.insert(name, known);
        before
    }

    pub(crate) fn remove_remote_node(&mut self, name: &str, step: &mut Step) {
        if name == self.node.name {
            return self.put_node(Node { labels: BTreeMap::new(), ..self.node.clone() }, step);
        }
        let undo = self.forget_remote_node(name, step);
        step.undo.extend(undo);
    }

    fn forget_remote_node(&mut self, name: &str, step: &mut Step) -> Option<Change> {
        let known = self.remote_nodes.remove(name)?;
        for address in known.node.addresses.iter() {
            self.release(*address, Owner::RemoteNode(name.into()), step);
        }
        self.peers.dismiss_node(&known, &mut step.peer_changes);
        Some(Change::RemoteNode(known.node.into()))
    }

    fn is_api_server(&self, node: &Node) -> bool {
        node.addresses.iter().any(|address| self.api_servers.contains(address))
    }

    /// Applies a change of the addresses of the API servers: nodes with such an address, and such addresses outside the
    /// cluster, become other peers.
    fn follow_api_servers(&mut self, step: &mut Step) {
        let (namespace, name) = API_SERVER;
        let listed = self.translation.listed(&ServiceName::new(namespace, name));
        let now: BTreeSet<IpAddr> = listed.flat_map(|slice| &slice.addresses).copied().collect();
        let changed: Vec<IpAddr> = now.symmetric_difference(&self.api_servers).copied().collect();
        if changed.is_empty() {
            return;
        }
        let was_api_server = self.is_api_server(&self.node);
        self.api_servers = now;
        for address in &changed {
            if self.api_servers.contains(address) {
                self.insert_block(*address, step);
            } else {
                self.release_block(*address, step);
            }
            step.mark_address(*address);
        }
        if was_api_server != self.is_api_server(&self.node) {
            self.peers.label_host(&self.node.labels, !was_api_server, &mut step.peer_changes);
            step.mark(Subject::Peer(HOST));
        }
        let concerned = |node: &&RemoteNode| node.addresses.iter().any(|address| changed.contains(address));
        let nodes: Vec<RemoteNode> = self.remote_nodes().filter(concerned).cloned().collect();
        for node in nodes {
            self.replace_remote_node(node, step);
        }
    }

    pub(crate) fn put_service(&mut self, service: Service, step: &mut Step) {
        let full_name = service.full_name();
        if self.translation.service(&full_name) == Some(&service) {
            return;
        }
        let ServiceName { namespace, name } = full_name.clone();
        step.renamed.services.insert((namespace.clone(), name.clone()));
        let undo = match self.translation.put_service(service) {
            Some(before) => Change::Service(before.into()),
            None => Change::RemoveService { namespace, name },
        };
        step.undo.push(undo);
        self.refer_to_service(&full_name, step);
    }

    pub(crate) fn remove_service(&mut self, service: &ServiceName, step: &mut Step) {
        if let Some(before) = self.translation.remove_service(service) {
            step.undo.push(Change::Service(before.into()));
            self.refer_to_service(service, step);
        }
    }

    pub(crate) fn put_slices(
        &mut self,
        service: &ServiceName,
        list: String,
        slices: Vec<EndpointSlice>,
        step: &mut Step,
    ) {
        let slices = self.translation.put_listed(service, &list, slices);
        self.refer_to_service(service, step);
        let ServiceName { namespace, name: service } = service.clone();
        if (&*namespace, &*service) == API_SERVER {
            self.follow_api_servers(step);
        }
        step.undo.push(Change::EndpointSlices { namespace, service, list, slices });
    }

    /// Updates the service in the catalog that policies refer to.
    fn refer_to_service(&mut self, full_name: &ServiceName, step: &mut Step) {
        let ServiceName { namespace, name } = full_name;
        let listed = self.translation.listed(full_name);
        let addresses = listed.flat_map(|slice| &slice.addresses).copied();
        let meaning = self.translation.service(full_name).map(|service| catalog::ServiceEntry {
            labels: labels(&service.labels),
            backends: match service.selector.is_empty() {
                true => Backends::Addresses(addresses.collect()),
                false => Backends::Selected(service.selector.clone()),
            },
        });
        self.refer(step, |catalog| match meaning {
            Some(meaning) => catalog.put_service(namespace, name, meaning),
            None => catalog.remove_service(namespace, name),
        });
    }
}

/// Labels of an object of the cluster.
fn labels(own: &BTreeMap<String, String>) -> Labels {
    let mut labels = Labels::default();
    own.iter().for_each(|(name, value)| labels.insert(Source::K8s, name.as_str(), value.as_str()));
    labels
}
