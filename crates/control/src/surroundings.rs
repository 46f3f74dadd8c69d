//! Changes of nodes, API servers and services.

use crate::change::{Change, NODE, Node, RemoteNode};
use crate::ledger::RowSubject;
use crate::peers::node_labels;
use crate::step::Step;
use crate::workloads::candidate;
use crate::world::{Owner, World};
use abi::identity::HOST;
use identity::{Labels, Source};
use policy::catalog::{self, Backends};
use policy::cidr::AddressSide;
use policy::endpoint_view::NamedPorts;
use policy::rule::Cidr;
use service::{API_SERVER, EndpointSlice, Service, ServiceName};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

impl World {
    /// The addresses of the API servers.
    pub fn api_servers(&self) -> &BTreeSet<IpAddr> {
        &self.api_servers
    }

    /// The slices that manifests list for a service.
    pub fn listed_slices(&self, service: &ServiceName) -> impl Iterator<Item = &EndpointSlice> {
        self.services.table().listing().listed(service)
    }

    pub(crate) fn put_node(&mut self, node: Node, step: &mut Step) -> Option<Change> {
        if node == *self.node {
            return None;
        }
        step.mark(RowSubject::Endpoint(NODE));
        for address in self.node.addresses.clone() {
            self.release(address, Owner::Node, step);
        }
        self.own(&node.addresses, &Owner::Node, step);
        if node.audit != self.node.audit {
            self.endpoints.keys().for_each(|id| step.mark(RowSubject::Endpoint(*id)));
        }
        if node.cluster != self.node.cluster {
            step.workloads.extend(self.endpoints.keys());
        }
        self.services.take_backends_from(node.backends, &node.name);
        self.put_pod_blocks(node.pod_blocks.iter().chain(&node.cluster_blocks), step);
        let excepted = [&node, &*self.node].into_iter().flat_map(|node| &node.masquerade);
        excepted
            .flat_map(|masquerade| &masquerade.except)
            .for_each(|block| step.mark(RowSubject::Unmasqueraded(*block)));
        let before = std::mem::replace(&mut self.node, Arc::new(node));
        if self.node.addresses != before.addresses {
            self.move_host_ports(step);
        }
        self.remove_pod_blocks(before.pod_blocks.iter().chain(&before.cluster_blocks), step);
        if self.node.labels != before.labels || self.is_api_server(&self.node) != self.is_api_server(&before)
        {
            self.label_host();
        }
        if self.node.mode != before.mode {
            self.enforcement.enforce(self.node.mode);
        }
        self.enforcement.mark(HOST);
        Some(Change::Node(Arc::unwrap_or_clone(before).into()))
    }

    /// Gives the local node its labels. If an API server has one of its addresses, they contain the API server's label.
    fn label_host(&mut self) {
        let labels = node_labels("host", &self.node.labels, self.is_api_server(&self.node));
        self.enforcement.remove_peer(HOST);
        self.enforcement.add_peer(HOST, Arc::new(labels), NamedPorts::default(), None);
    }

    pub(crate) fn put_remote_node(&mut self, node: RemoteNode, step: &mut Step) -> Option<Change> {
        if node.name == self.node.name {
            let RemoteNode { labels, pod_blocks, .. } = node;
            return self.put_node(Node { labels, pod_blocks, ..Node::clone(&self.node) }, step);
        }
        if self.remote_nodes.get(&node.name).is_some_and(|before| before.node == node) {
            return None;
        }
        let name = node.name.clone();
        self.replace_remote_node(node, step).or(Some(Change::RemoveRemoteNode(name)))
    }

    /// Puts a node in place of the one with its name, which is returned.
    fn replace_remote_node(&mut self, node: RemoteNode, step: &mut Step) -> Option<Change> {
        let (name, addresses) = (node.name.clone(), node.addresses.clone());
        self.put_pod_blocks(&node.pod_blocks, step);
        // Held before the old number is released, so that unchanged labels keep their number.
        let known = self.peers.admit_node(node, &self.api_servers, &mut self.enforcement);
        let before = self.forget_remote_node(&name, step);
        self.own(&addresses, &Owner::RemoteNode(name.as_str().into()), step);
        self.remote_nodes.insert(name, Arc::new(known));
        before
    }

    pub(crate) fn remove_remote_node(&mut self, name: &str, step: &mut Step) -> Option<Change> {
        if name == self.node.name {
            let unknown = Node { labels: BTreeMap::new(), pod_blocks: Vec::new(), ..Node::clone(&self.node) };
            return self.put_node(unknown, step);
        }
        self.forget_remote_node(name, step)
    }

    fn forget_remote_node(&mut self, name: &str, step: &mut Step) -> Option<Change> {
        let known = self.remote_nodes.remove(name)?;
        for address in known.node.addresses.iter() {
            self.release(*address, Owner::RemoteNode(name.into()), step);
        }
        self.peers.dismiss_node(&known, &mut self.enforcement);
        self.remove_pod_blocks(&known.node.pod_blocks, step);
        Some(Change::RemoteNode(known.node.clone().into()))
    }

    fn put_pod_blocks<'a>(&mut self, blocks: impl IntoIterator<Item = &'a Cidr>, step: &mut Step) {
        for block in blocks {
            if self.pod_blocks.add(*block) {
                self.mark_within(block, step);
            }
        }
    }

    fn remove_pod_blocks<'a>(&mut self, blocks: impl IntoIterator<Item = &'a Cidr>, step: &mut Step) {
        for block in blocks {
            if self.pod_blocks.remove(block) {
                self.mark_within(block, step);
            }
        }
    }

    /// Marks the rows of a block and of the blocks in it that policies name.
    fn mark_within(&self, block: &Cidr, step: &mut Step) {
        step.mark(RowSubject::Address(*block));
        let named = self.enforcement.blocks().classes();
        let within = named.filter(|class| class.side == AddressSide::World && block.encloses(&class.block));
        within.for_each(|class| step.mark(RowSubject::Address(class.block)));
    }

    fn is_api_server(&self, node: &Node) -> bool {
        node.addresses.iter().any(|address| self.api_servers.contains(address))
    }

    /// Applies a change of the addresses of the API servers: nodes with such an address, and such addresses outside the
    /// cluster, become other peers.
    fn follow_api_servers(&mut self, step: &mut Step) {
        let (namespace, name) = API_SERVER;
        let listed = self.services.table().listing().listed(&ServiceName::new(namespace, name));
        let now: BTreeSet<IpAddr> = listed.flat_map(|slice| &slice.addresses).copied().collect();
        let changed: Vec<IpAddr> = now.symmetric_difference(&self.api_servers).copied().collect();
        if changed.is_empty() {
            return;
        }
        let was_api_server = self.is_api_server(&self.node);
        self.api_servers = Arc::new(now);
        for address in &changed {
            if self.api_servers.contains(address) {
                self.enforcement.insert_address(*address);
            } else {
                self.enforcement.release_address(*address);
            }
            step.mark_address(*address);
        }
        if was_api_server != self.is_api_server(&self.node) {
            self.label_host();
        }
        let concerned = |node: &&RemoteNode| node.addresses.iter().any(|address| changed.contains(address));
        let nodes: Vec<RemoteNode> = self.remote_nodes().filter(concerned).cloned().collect();
        for node in nodes {
            self.replace_remote_node(node, step);
        }
    }

    pub(crate) fn put_service(&mut self, service: Service, step: &mut Step) -> Option<Change> {
        let full_name = service.full_name();
        if self.services.table().listing().service(&full_name) == Some(&service) {
            return None;
        }
        let ServiceName { namespace, name } = full_name.clone();
        step.renamed.services.insert((namespace.clone(), name.clone()));
        let within = self.namespaces.get(&namespace).into_iter().flat_map(|within| &within.workloads);
        let candidates = within.filter_map(|id| Some((*id, candidate(&self.endpoints.get(id)?.workload))));
        let undo = match self.services.put_service(service, candidates) {
            Some(before) => Change::Service(before.into()),
            None => Change::RemoveService { namespace, name },
        };
        self.refer_to_service(&full_name);
        Some(undo)
    }

    pub(crate) fn remove_service(&mut self, service: &ServiceName) -> Option<Change> {
        let before = self.services.remove_service(service)?;
        self.refer_to_service(service);
        Some(Change::Service(before.into()))
    }

    pub(crate) fn put_slices(
        &mut self,
        service: ServiceName,
        list: String,
        slices: Vec<EndpointSlice>,
        step: &mut Step,
    ) -> Option<Change> {
        let slices = self.services.put_listed(&service, list.clone(), slices);
        self.refer_to_service(&service);
        let ServiceName { namespace, name: service } = service;
        if (&*namespace, &*service) == API_SERVER {
            self.follow_api_servers(step);
        }
        Some(Change::EndpointSlices { namespace, service, list, slices })
    }

    /// Updates the service in the catalog that policies refer to.
    fn refer_to_service(&mut self, full_name: &ServiceName) {
        let ServiceName { namespace, name } = full_name;
        let listed = self.services.table().listing().listed(full_name);
        let addresses = listed.flat_map(|slice| &slice.addresses).copied();
        let meaning =
            self.services.table().listing().service(full_name).map(|service| catalog::ServiceEntry {
                labels: labels(&service.labels),
                backends: match service.selector.is_empty() {
                    true => Backends::Addresses(addresses.collect()),
                    false => Backends::Selected(service.selector.clone()),
                },
            });
        self.enforcement.refer(|catalog| match meaning {
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
