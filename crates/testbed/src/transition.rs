//! From one state of a test to the next, as the changes that an agent would see.

use crate::state::{HOST_ADDRESSES, State, Workload};
use control::{Change, Endpoint, Interface, Node, Proxy};
use manifest::test::WorkloadName;
use std::collections::BTreeMap;

/// Interface and port of a node proxy that no packet really reaches. The loopback exists everywhere.
const PROXY: Proxy = Proxy { interface: 1, port: 9 };
/// Interfaces of workloads are numbered from here, by the number of their endpoint.
const FIRST_INTERFACE: u32 = 100;

/// The numbers of the workloads' endpoints; a name that comes back is another endpoint.
#[derive(Debug, Default)]
pub(crate) struct Endpoints {
    numbers: BTreeMap<WorkloadName, u32>,
    last: u32,
}

impl Endpoints {
    /// How a workload is wired to the node.
    pub(crate) fn interface(&self, name: &WorkloadName) -> Option<Interface> {
        self.numbers.get(name).map(|&number| interface(number))
    }

    /// What happens to the node between two states.
    pub(crate) fn changes(&mut self, old: &State, new: &State) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.last == 0 {
            changes.push(Change::Node(node()));
        }
        for name in old.workloads.keys().filter(|name| !new.workloads.contains_key(*name)) {
            changes.extend(self.numbers.remove(name).map(Change::RemoveEndpoint));
        }
        for (name, labels) in &new.namespaces {
            if old.namespaces.get(name) != Some(labels) {
                changes.push(Change::Namespace { name: name.clone(), labels: labels.clone() });
            }
        }
        let namespaces = old.namespaces.keys().filter(|name| !new.namespaces.contains_key(*name));
        changes.extend(namespaces.cloned().map(Change::RemoveNamespace));
        for (name, workload) in &new.workloads {
            if old.workloads.get(name) != Some(workload) {
                changes.push(Change::Endpoint(self.endpoint(name, workload)));
            }
        }
        let policies = old.policies.keys().filter(|id| !new.policies.contains_key(*id));
        changes.extend(policies.cloned().map(Change::RemovePolicy));
        let policies = new.policies.iter().filter(|(id, policy)| old.policies.get(*id) != Some(*policy));
        changes.extend(policies.map(|(_, policy)| Change::Policy(policy.clone())));
        changes
    }

    fn endpoint(&mut self, name: &WorkloadName, workload: &Workload) -> Endpoint {
        let last = &mut self.last;
        let id = *self.numbers.entry(name.clone()).or_insert_with(|| {
            *last += 1;
            *last
        });
        let ports = workload.named_ports.iter();
        Endpoint {
            id,
            namespace: name.namespace.clone(),
            name: name.name.clone(),
            labels: workload.labels.clone().into(),
            addresses: workload.addresses.clone(),
            named_ports: BTreeMap::from_iter(
                ports.map(|port| ((port.name.clone(), port.protocol.number()), port.port)),
            )
            .into(),
            interface: interface(id),
            audit: false,
        }
    }
}

fn node() -> Node {
    let addresses = HOST_ADDRESSES.to_vec();
    Node { addresses, proxy: Some(PROXY), report_forwards: true, ..Node::default() }
}

fn interface(number: u32) -> Interface {
    let [.., a, b] = number.to_be_bytes();
    Interface { index: FIRST_INTERFACE + number, mac: [2, 0, 0, 1, a, b], host_mac: [2, 0, 0, 2, a, b] }
}
