//! The state that a PolicyTest document describes at one of its steps.

use agent::{Pool, PoolError};
use identity::{Labels, filter};
use manifest::test::{NodeState, TestStep, WorkloadName, WorkloadState};
use manifest::{NamedPort, Object, ObjectName};
use policy::rule::{Cidr, EnforcementMode, Policy, PolicyId, Subject};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The namespaces, workloads, nodes and policies at one moment, and the objects that the policies refer to.
#[derive(Clone, Debug)]
pub struct TestState {
    /// Labels of the namespaces that a test defines; every other namespace exists without labels.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// The enforcement mode.
    pub mode: EnforcementMode,
    /// Whether audit mode is on: policy reports refusals, and lets the packets through.
    pub audit: bool,
    /// The workloads.
    pub workloads: BTreeMap<WorkloadName, TestWorkload>,
    /// Labels of the local node.
    pub host_labels: BTreeMap<String, String>,
    /// The other nodes of the cluster.
    pub nodes: BTreeMap<String, NodeState>,
    /// Addresses of the hosts outside the cluster.
    pub externals: BTreeMap<String, Vec<IpAddr>>,
    /// The domain names of hosts outside, by the host's name.
    pub names: BTreeMap<String, BTreeSet<String>>,
    /// The policies in force.
    pub policies: BTreeMap<PolicyId, Policy>,
    /// The objects that policies refer to: services, endpoints, CIDR groups.
    pub objects: BTreeMap<ObjectName, Object>,
    /// The manifests, as JSON, of the policies and objects that were read from a manifest.
    pub manifests: BTreeMap<ObjectName, String>,
    pools: [Pool; 2],
}

/// A workload and its addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TestWorkload {
    /// Its own labels.
    pub labels: BTreeMap<String, String>,
    /// Its addresses: the given ones, or an assigned one of each family; none where it shares its node's network.
    pub addresses: Vec<IpAddr>,
    /// Its ports that have names.
    pub named_ports: Vec<NamedPort>,
    /// Whether it shares its node's network: policies see the node in its place, and it has no address.
    pub host_network: bool,
    /// The name of its node; none for the local one.
    pub node: Option<String>,
}

/// Why a step cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// The workload to remove does not exist.
    #[error("removeWorkloads: there is no workload {}/{}", .0.namespace, .0.name)]
    NoWorkload(WorkloadName),
    /// The policy to delete does not exist.
    #[error("delete: no policy {0} is in force")]
    NoPolicy(PolicyId),
    /// The object to delete does not exist.
    #[error("delete: there is no {0}")]
    NoObject(ObjectName),
    /// An address is not available.
    #[error("workload {}/{}: {source}", .name.namespace, .name.name)]
    Address {
        /// The workload.
        name: WorkloadName,
        /// Why.
        source: PoolError,
    },
}

/// The name of the local node.
pub(crate) const HOST: &str = "host";
/// The local node's own addresses in every test.
pub const HOST_ADDRESSES: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 200, 0, 1)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0x200, 0, 0, 0, 0, 0, 1))];
/// The pools of workloads without given addresses: the upper halves of the blocks that begin with the node's own
/// addresses. An agent assigns from the lower halves.
const POOLS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(10, 200, 128, 0)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x200, 0, 0, 0x8000, 0, 0, 0)),
];

impl Default for TestState {
    fn default() -> Self {
        let pool =
            |address, length| Pool::new(Cidr::new(address, length).expect("the length is one of the family"));
        let [v4, v6] = POOLS;
        Self {
            namespaces: BTreeMap::new(),
            mode: EnforcementMode::default(),
            audit: false,
            workloads: BTreeMap::new(),
            host_labels: BTreeMap::new(),
            nodes: BTreeMap::new(),
            externals: BTreeMap::new(),
            names: BTreeMap::new(),
            policies: BTreeMap::new(),
            objects: BTreeMap::new(),
            manifests: BTreeMap::new(),
            pools: [pool(v4, 17), pool(v6, 65)],
        }
    }
}

impl TestState {
    /// Applies the changes of a step, in order.
    pub fn take(&mut self, step: &TestStep) -> Result<(), StepError> {
        self.mode = step.enforcement.unwrap_or(self.mode);
        self.audit = step.audit.unwrap_or(self.audit);
        for name in &step.remove_workloads {
            let gone = self.workloads.remove(name).ok_or_else(|| StepError::NoWorkload(name.clone()))?;
            self.release(&gone.addresses);
        }
        for namespace in &step.namespaces {
            self.namespaces.insert(namespace.name.clone(), namespace.labels.clone());
        }
        for workload in &step.workloads {
            self.admit(workload)
                .map_err(|source| StepError::Address { name: workload.name.clone(), source })?;
        }
        step.nodes.iter().for_each(|node| self.put_node(node));
        for external in &step.externals {
            self.externals.insert(external.name.clone(), external.addresses.clone());
        }
        self.names.extend(step.names.clone());
        self.submit(step)
    }

    /// Applies the policies and objects of a step.
    fn submit(&mut self, step: &TestStep) -> Result<(), StepError> {
        let policy = |policy: &Policy| (policy.id.clone(), policy.clone());
        let object = |object: &Object| (object.name(), object.clone());
        if let Some(policies) = &step.policies {
            self.policies = policies.iter().map(policy).collect();
        }
        if let Some(objects) = &step.objects {
            self.objects = objects.iter().map(object).collect();
        }
        for id in &step.delete {
            self.policies.remove(id).ok_or_else(|| StepError::NoPolicy(id.clone()))?;
        }
        for name in &step.delete_objects {
            let is_gone = match name.kind {
                "Namespace" => self.namespaces.remove(&name.name).is_some(),
                _ => self.objects.remove(name).is_some(),
            };
            if !is_gone {
                return Err(StepError::NoObject(name.clone()));
            }
        }
        self.policies.extend(step.apply.iter().map(policy));
        self.objects.extend(step.apply_objects.iter().map(object));
        self.manifests.extend(step.manifests.clone());
        Ok(())
    }

    /// Adds or replaces a node; `host` is the local one.
    fn put_node(&mut self, node: &NodeState) {
        if node.name == HOST {
            self.host_labels.clone_from(&node.labels);
        } else {
            self.nodes.insert(node.name.clone(), node.clone());
        }
    }

    /// The workloads that have a network of their own.
    pub(crate) fn wired(&self) -> impl Iterator<Item = (&WorkloadName, &TestWorkload)> {
        self.workloads.iter().filter(|(_, workload)| !workload.host_network)
    }

    /// A workload that has a network of its own.
    pub(crate) fn wired_named(&self, name: &WorkloadName) -> Option<&TestWorkload> {
        self.workloads.get(name).filter(|workload| !workload.host_network)
    }

    /// Whether the subject of a policy is a node.
    pub(crate) fn is_node_a_subject(&self) -> bool {
        let mut specs = self.policies.values().flat_map(|policy| &policy.specs);
        specs.any(|spec| matches!(spec.subject, Subject::Nodes(_)))
    }

    /// The domain names of each address outside the cluster that has some.
    pub fn names_by_address(&self) -> BTreeMap<IpAddr, BTreeSet<String>> {
        let mut known = BTreeMap::<IpAddr, BTreeSet<String>>::new();
        for (external, names) in self.names.iter().filter(|(_, names)| !names.is_empty()) {
            for address in self.externals.get(external).into_iter().flatten() {
                known.entry(*address).or_default().extend(names.iter().cloned());
            }
        }
        known
    }

    /// The labels of a workload that selectors match.
    pub fn labels(&self, name: &WorkloadName, workload: &TestWorkload) -> Labels {
        let none = BTreeMap::new();
        let namespace = self.namespaces.get(&name.namespace).unwrap_or(&none);
        let namespace = namespace.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let own = workload.labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        filter::relevant(Labels::of_workload(&name.namespace, namespace, own))
    }

    /// Adds a workload, or changes one: an existing workload keeps the addresses and ports that the step does not give.
    fn admit(&mut self, given: &WorkloadState) -> Result<(), PoolError> {
        let known = self.workloads.remove(&given.name).unwrap_or_default();
        let host_network = given.host_network.unwrap_or(known.host_network);
        let node = given.node.clone().or(known.node);
        let addresses = match (given.addresses.is_empty(), known.addresses.is_empty()) {
            _ if host_network => {
                self.release(&known.addresses);
                Vec::new()
            }
            (true, false) => known.addresses,
            (true, true) => self.pools.iter_mut().map(Pool::take).collect::<Result<_, _>>()?,
            (false, _) => {
                self.release(&known.addresses);
                self.reserve(&given.addresses)?;
                given.addresses.clone()
            }
        };
        let named_ports =
            if given.named_ports.is_empty() { known.named_ports } else { given.named_ports.clone() };
        let workload =
            TestWorkload { labels: given.labels.clone(), addresses, named_ports, host_network, node };
        self.workloads.insert(given.name.clone(), workload);
        Ok(())
    }

    fn reserve(&mut self, addresses: &[IpAddr]) -> Result<(), PoolError> {
        for &address in addresses {
            if self.workloads.values().any(|workload| workload.addresses.contains(&address)) {
                return Err(PoolError::Taken(address));
            }
            self.pools.iter_mut().try_for_each(|pool| pool.reserve(address))?;
        }
        Ok(())
    }

    fn release(&mut self, addresses: &[IpAddr]) {
        for pool in &mut self.pools {
            addresses.iter().for_each(|&address| pool.release(address));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> WorkloadName {
        WorkloadName { namespace: "default".into(), name: name.into() }
    }

    fn workload(of: &str, addresses: &[&str]) -> TestStep {
        let workload = WorkloadState {
            name: name(of),
            labels: BTreeMap::new(),
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            named_ports: vec![],
            host_network: None,
            node: None,
        };
        TestStep { workloads: vec![workload], ..TestStep::default() }
    }

    fn addresses(state: &TestState, of: &str) -> Vec<String> {
        state.workloads[&name(of)].addresses.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_workload_without_addresses_gets_one_of_each_family_and_keeps_them() {
        let mut state = TestState::default();
        state.take(&workload("a", &[])).unwrap();
        assert_eq!(addresses(&state, "a"), ["10.200.128.1", "fd00:200::8000:0:0:1"]);
        state.take(&workload("b", &["10.200.128.2"])).unwrap();
        state.take(&workload("c", &[])).unwrap();
        assert_eq!(addresses(&state, "c"), ["10.200.128.3", "fd00:200::8000:0:0:2"]);
        state.take(&workload("a", &[])).unwrap();
        assert_eq!(addresses(&state, "a"), ["10.200.128.1", "fd00:200::8000:0:0:1"]);
    }

    #[test]
    fn no_two_workloads_have_one_address() {
        let mut state = TestState::default();
        state.take(&workload("a", &["10.0.0.1"])).unwrap();
        let error = state.take(&workload("b", &["10.0.0.1"])).unwrap_err();
        assert_eq!(error.to_string(), "workload default/b: address 10.0.0.1 is taken already");
        state.take(&workload("a", &["10.0.0.1"])).unwrap();
    }

    #[test]
    fn a_workload_that_does_not_exist_cannot_be_removed() {
        let mut state = TestState::default();
        let error =
            state.take(&TestStep { remove_workloads: vec![name("a")], ..TestStep::default() }).unwrap_err();
        assert_eq!(error, StepError::NoWorkload(name("a")));
    }
}
