//! Changes of what is around the workloads: nodes, services, groups of blocks, domain names.

use crate::change::{Change, Node, RemoteNode};
use crate::enforcement::Enforcement;
use crate::step::Step;
use crate::world::{Owner, World};
use abi::identity::HOST;
use identity::{Labels, Source};
use policy::catalog::{self, Backends, Catalog, Group};
use policy::ready::Numbers;
use service::Service;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

impl World {
    pub(crate) fn put_node(&mut self, node: Node, step: &mut Step) {
        if node == self.node {
            return;
        }
        self.touch_node(step);
        self.touch_addresses(&self.node.addresses, step);
        self.touch_addresses(&node.addresses, step);
        for address in self.node.addresses.clone() {
            self.release(address, Owner::Node, step);
        }
        self.own(&node.addresses, &Owner::Node, step);
        if node.audit != self.node.audit {
            self.endpoints.keys().for_each(|id| self.touch(*id, step));
        }
        if node.cluster != self.node.cluster {
            let all: Vec<u32> = self.endpoints.keys().copied().collect();
            all.iter().for_each(|id| self.touch(*id, step));
            step.unsettled.extend(all);
        }
        let before = std::mem::replace(&mut self.node, node);
        if self.node.labels != before.labels {
            self.peers.label_host(&self.node.labels, &mut step.movement);
        }
        if self.node.mode != before.mode {
            self.enforcement.policies.enforce(self.node.mode);
            step.subjects.extend(self.peers.subjects());
        }
        step.subjects.insert(HOST);
        step.undo.push(Change::Node(before.into()));
    }

    pub(crate) fn put_remote_node(&mut self, node: RemoteNode, step: &mut Step) {
        if node.name == self.node.name {
            let RemoteNode { labels, .. } = node;
            return self.put_node(Node { labels, ..self.node.clone() }, step);
        }
        if self.remote_nodes.get(&node.name).is_some_and(|(before, _)| *before == node) {
            return;
        }
        self.touch_addresses(&node.addresses, step);
        // Held before the old one is given up, so that unchanged labels keep their number.
        let number = self.peers.admit_node(&node, &mut step.movement);
        let undo = self.forget_remote_node(&node.name, step);
        step.undo.push(undo.unwrap_or_else(|| Change::RemoveRemoteNode(node.name.clone())));
        self.own(&node.addresses, &Owner::RemoteNode(node.name.as_str().into()), step);
        self.remote_nodes.insert(node.name.clone(), (node, number));
    }

    pub(crate) fn remove_remote_node(&mut self, name: &str, step: &mut Step) {
        if name == self.node.name {
            return self.put_node(Node { labels: BTreeMap::new(), ..self.node.clone() }, step);
        }
        let undo = self.forget_remote_node(name, step);
        step.undo.extend(undo);
    }

    fn forget_remote_node(&mut self, name: &str, step: &mut Step) -> Option<Change> {
        self.touch_addresses(&self.remote_nodes.get(name)?.0.addresses, step);
        let (node, number) = self.remote_nodes.remove(name)?;
        for address in node.addresses.iter() {
            self.release(*address, Owner::RemoteNode(name.into()), step);
        }
        self.peers.dismiss_node(number, &mut step.movement);
        Some(Change::RemoteNode(node.into()))
    }

    pub(crate) fn put_service(&mut self, service: Service, step: &mut Step) {
        let id = (service.namespace.clone(), service.name.clone());
        if self.translation.service(&id.0, &id.1) == Some(&service) {
            return;
        }
        step.namespaces.insert(service.namespace.clone());
        step.renamed.services.insert(id.clone());
        let (namespace, name) = id.clone();
        let undo = match self.translation.put(service) {
            Some(before) => Change::Service(before.into()),
            None => Change::RemoveService { namespace, name },
        };
        step.undo.push(undo);
        self.refer_to_service(&id, step);
    }

    pub(crate) fn remove_service(&mut self, namespace: &str, name: &str, step: &mut Step) {
        if let Some(before) = self.translation.remove(namespace, name) {
            step.namespaces.insert(namespace.to_owned());
            step.undo.push(Change::Service(before.into()));
            self.refer_to_service(&(namespace.to_owned(), name.to_owned()), step);
        }
    }

    pub(crate) fn put_service_addresses(
        &mut self,
        id: (String, String),
        list: String,
        addresses: BTreeSet<IpAddr>,
        step: &mut Step,
    ) {
        let lists = self.service_addresses.entry(id.clone()).or_default();
        let before = match addresses.is_empty() {
            true => lists.remove(&list),
            false => lists.insert(list.clone(), addresses),
        };
        let (namespace, name) = id.clone();
        let addresses = before.unwrap_or_default();
        step.undo.push(Change::ServiceAddresses { namespace, name, list, addresses });
        self.refer_to_service(&id, step);
    }

    /// Tells policies what a service is now.
    fn refer_to_service(&mut self, id: &(String, String), step: &mut Step) {
        let (namespace, name) = id;
        let lists = self.service_addresses.get(id).into_iter().flat_map(BTreeMap::values);
        let addresses = lists.flatten().copied();
        let meaning = self.translation.service(namespace, name).map(|service| catalog::Service {
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

    pub(crate) fn put_group(&mut self, name: String, group: Group, step: &mut Step) {
        let undo = match self.enforcement.policies.catalog().group(&name) {
            Some(before) => Change::CidrGroup { name: name.clone(), group: before.clone() },
            None => Change::RemoveCidrGroup(name.clone()),
        };
        step.undo.push(undo);
        self.refer(step, |catalog| catalog.put_group(&name, group));
    }

    pub(crate) fn remove_group(&mut self, name: String, step: &mut Step) {
        if let Some(group) = self.enforcement.policies.catalog().group(&name).cloned() {
            self.refer(step, |catalog| catalog.remove_group(&name));
            step.undo.push(Change::CidrGroup { name, group });
        }
    }

    /// Changes what policies refer to, and follows those that mean something else now.
    fn refer(&mut self, step: &mut Step, change: impl FnOnce(&mut Catalog)) {
        let Enforcement { policies, book, .. } = &mut self.enforcement;
        let numbers = &mut Numbers { directory: &mut self.peers.directory, book };
        for changed in policies.refer(change, numbers) {
            self.follow_policy(Some(&changed.before), Some(&changed.after), step);
        }
    }

    pub(crate) fn put_names(&mut self, address: IpAddr, names: BTreeSet<String>, step: &mut Step) {
        let before = self.enforcement.names.of(address).clone();
        if before == names {
            return;
        }
        if before.is_empty() {
            let regrouped = self.enforcement.blocks.insert_address(address);
            self.regroup(&regrouped, &mut step.draft);
        }
        self.enforcement.name(address, &names, &mut step.draft);
        if names.is_empty() {
            step.nameless.push(address);
        }
        step.undo.push(Change::Names { address, names: before });
    }
}

/// Labels of an object of the cluster.
fn labels(own: &BTreeMap<String, String>) -> Labels {
    let mut labels = Labels::default();
    own.iter().for_each(|(name, value)| labels.insert(Source::K8s, name.as_str(), value.as_str()));
    labels
}
