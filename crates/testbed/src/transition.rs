//! The changes that lead from one state of a test to the next, as an agent would see them.

use crate::state::{HOST_ADDRESSES, TestState, TestWorkload};
use control::{Change, Endpoint, Node, ProxyLocation, RemoteNode, Wire};
use manifest::test::{NodeState, WorkloadName};
use manifest::{EndpointSlice, Endpoints as AddressList, Object};
use std::collections::{BTreeMap, BTreeSet};

/// Interface and port of a node proxy that receives no packet. The loopback exists everywhere.
const PROXY: ProxyLocation = ProxyLocation { interface: 1, port: 9 };
/// The first interface number of workloads; the endpoint's number is added.
const FIRST_INTERFACE: u32 = 100;

/// The numbers of the workloads' endpoints. A workload that is removed and added again is a new endpoint.
#[derive(Debug, Default)]
pub(crate) struct EndpointNumbers {
    numbers: BTreeMap<WorkloadName, u32>,
    last: u32,
}

impl EndpointNumbers {
    /// How a workload is attached to the node.
    pub(crate) fn interface(&self, name: &WorkloadName) -> Option<Wire> {
        self.numbers.get(name).map(|&number| interface(number))
    }

    /// The changes between two states.
    pub(crate) fn changes(&mut self, old: &TestState, new: &TestState) -> Vec<Change> {
        let mut changes = Vec::new();
        changes.push(Change::Node(Box::new(node(new))));
        changes.extend(around(old, new));
        for (name, _) in old.wired().filter(|(name, _)| new.wired_named(name).is_none()) {
            changes.extend(self.numbers.remove(name).map(Change::RemoveEndpoint));
        }
        for (name, labels) in &new.namespaces {
            if old.namespaces.get(name) != Some(labels) {
                changes.push(Change::Namespace { name: name.clone(), labels: labels.clone() });
            }
        }
        let namespaces = old.namespaces.keys().filter(|name| !new.namespaces.contains_key(*name));
        changes.extend(namespaces.cloned().map(Change::RemoveNamespace));
        for (name, workload) in new.wired() {
            if old.wired_named(name) != Some(workload) {
                changes.push(Change::Endpoint(Box::new(self.endpoint(name, workload))));
            }
        }
        let policies = old.policies.keys().filter(|id| !new.policies.contains_key(*id));
        changes.extend(policies.cloned().map(Change::RemovePolicy));
        let policies = new.policies.iter().filter(|(id, policy)| old.policies.get(*id) != Some(*policy));
        changes.extend(policies.map(|(_, policy)| Change::Policy(policy.clone())));
        changes
    }

    fn endpoint(&mut self, name: &WorkloadName, workload: &TestWorkload) -> Endpoint {
        let last = &mut self.last;
        let id = *self.numbers.entry(name.clone()).or_insert_with(|| {
            *last += 1;
            *last
        });
        let ports = workload.named_ports.iter();
        Endpoint {
            id,
            workload: control::Workload {
                namespace: name.namespace.clone(),
                name: name.name.clone(),
                labels: workload.labels.clone().into(),
                addresses: workload.addresses.clone(),
                named_ports: BTreeMap::from_iter(
                    ports.map(|port| ((port.name.clone(), port.protocol.number()), port.port)),
                )
                .into(),
            },
            wire: interface(id),
            audit: false,
            host_ports: Vec::new(),
        }
    }
}

fn node(state: &TestState) -> Node {
    Node {
        addresses: HOST_ADDRESSES.to_vec(),
        labels: state.host_labels.clone(),
        proxy: Some(PROXY),
        mode: state.mode,
        audit: state.audit,
        ..Node::default()
    }
}

/// The changes between two states that are not of workloads: nodes, objects that policies refer to, and names.
fn around(old: &TestState, new: &TestState) -> Vec<Change> {
    let mut changes = Vec::new();
    let nodes = old.nodes.keys().filter(|name| !new.nodes.contains_key(*name));
    changes.extend(nodes.cloned().map(Change::RemoveRemoteNode));
    let nodes = new.nodes.iter().filter(|(name, node)| old.nodes.get(*name) != Some(node));
    changes.extend(nodes.map(|(_, node)| arrival(node)));
    let objects = old.objects.iter().filter(|(name, object)| is_gone(object, new.objects.get(*name)));
    changes.extend(objects.filter_map(|(_, object)| departure(object)));
    let objects = new.objects.iter().filter(|(name, object)| old.objects.get(*name) != Some(object));
    changes.extend(objects.filter_map(|(_, object)| presence(object)));
    let (before, names) = (old.names_by_address(), new.names_by_address());
    let forgotten = before.keys().filter(|address| !names.contains_key(*address));
    changes.extend(forgotten.map(|address| Change::Names { address: *address, names: BTreeSet::new() }));
    let learnt = names.iter().filter(|(address, names)| before.get(*address) != Some(names));
    changes.extend(learnt.map(|(address, names)| Change::Names { address: *address, names: names.clone() }));
    changes
}

/// Whether an object of the old state is missing in the new one. A list of addresses may belong to another service now.
fn is_gone(before: &Object, now: Option<&Object>) -> bool {
    match (before, now) {
        (_, None) => true,
        (Object::Endpoints(before), Some(Object::Endpoints(now))) => before.service != now.service,
        _ => false,
    }
}

fn arrival(node: &NodeState) -> Change {
    let NodeState { name, labels, addresses } = node.clone();
    Change::RemoteNode(Box::new(RemoteNode { name, labels, addresses, ..RemoteNode::default() }))
}

/// The change for an object that is added or replaced; none for an object that policies cannot refer to.
fn presence(object: &Object) -> Option<Change> {
    match object {
        Object::Service(service) => Some(Change::Service(Box::new(service.clone()))),
        Object::Endpoints(list) => Some(addresses(list, list.slices.clone())),
        Object::CidrGroup(one) => {
            Some(Change::CidrGroup { name: one.name.clone(), group: one.group.clone() })
        }
        _ => None,
    }
}

/// The change for an object that is removed.
fn departure(object: &Object) -> Option<Change> {
    match object {
        Object::Service(service) => {
            let (namespace, name) = (service.namespace.clone(), service.name.clone());
            Some(Change::RemoveService { namespace, name })
        }
        Object::Endpoints(list) => Some(addresses(list, Vec::new())),
        Object::CidrGroup(one) => Some(Change::RemoveCidrGroup(one.name.clone())),
        _ => None,
    }
}

fn addresses(list: &AddressList, slices: Vec<EndpointSlice>) -> Change {
    let (namespace, service) = (list.namespace.clone(), list.service.clone());
    Change::EndpointSlices { namespace, service, list: list.slice_name.clone().unwrap_or_default(), slices }
}

fn interface(number: u32) -> Wire {
    let [.., a, b] = number.to_be_bytes();
    Wire { interface: FIRST_INTERFACE + number, mac: [2, 0, 0, 1, a, b], host_mac: [2, 0, 0, 2, a, b] }
}
