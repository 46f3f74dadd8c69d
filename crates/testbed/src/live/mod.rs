//! The engine `live`: workloads in network namespaces, real servers and clients, and a node with a real agent.

mod node;
mod outside;

use crate::crossing::{Crossing, CrossingEnd};
use crate::engine::{Engine, EngineAnswer, EngineError};
use crate::exchange::{self, Exchange};
use crate::state::{TestState, TestWorkload};
use manifest::Object;
use manifest::test::WorkloadName;
use node::LiveNode;
use outside::Outside;
use std::collections::BTreeMap;
use std::path::Path;
use workload::NetworkNamespace;

/// A node with an agent, its workloads, and hosts outside the cluster.
pub struct Live {
    // Dropped before the node, which holds their interfaces.
    outside: Outside,
    workloads: BTreeMap<WorkloadName, NetworkNamespace>,
    state: TestState,
    node: LiveNode,
}

impl Live {
    /// Sets a node up; the command `agent` of `program` is the node's agent.
    pub fn start(program: &Path) -> Result<Self, EngineError> {
        let node = LiveNode::start(program)?;
        Ok(Self {
            outside: Outside::default(),
            workloads: BTreeMap::new(),
            state: TestState::default(),
            node,
        })
    }

    /// The namespace of one end of a crossing.
    fn namespace(&self, end: &CrossingEnd, address: std::net::IpAddr) -> &NetworkNamespace {
        match end {
            CrossingEnd::Workload(name) => &self.workloads[name],
            CrossingEnd::Host => self.node.namespace(),
            CrossingEnd::Node(_) | CrossingEnd::World => {
                self.outside.host(address).expect("hosts outside are made before probes are sent")
            }
        }
    }

    fn remove(&mut self, name: &WorkloadName) -> Result<(), EngineError> {
        self.workloads.remove(name);
        self.node.remove_workload(name)
    }

    /// Makes each host outside that a crossing needs.
    fn make_outside(&mut self, crossings: &[&Crossing]) -> Result<(), EngineError> {
        for crossing in crossings {
            for (end, address) in [(&crossing.from, crossing.source), (&crossing.to, crossing.destination)] {
                // Without a backend the destination is the service's address, which no host has.
                if is_void(crossing) && *end == crossing.to {
                    continue;
                }
                if matches!(end, CrossingEnd::Node(_) | CrossingEnd::World) {
                    self.outside.make(&mut self.node, address)?;
                }
            }
        }
        Ok(())
    }
}

impl Engine for Live {
    fn name(&self) -> &'static str {
        "live"
    }

    fn prepare(&mut self, state: &TestState) -> Result<(), EngineError> {
        let old = std::mem::take(&mut self.state);
        for (name, workload) in old.wired() {
            // An agent's workload cannot change: a changed one is removed, and made again with the same addresses.
            if state.wired_named(name) != Some(workload) {
                self.remove(name)?;
            }
        }
        if (state.mode, state.audit) != (old.mode, old.audit) {
            self.node.enforce(state.mode, state.audit)?;
        }
        self.surround(&old, state)?;
        for name in old.namespaces.keys().filter(|name| !state.namespaces.contains_key(*name)) {
            self.node.delete(&format!("Namespace/{name}"))?;
        }
        for (name, labels) in &state.namespaces {
            if old.namespaces.get(name) != Some(labels) {
                self.node.apply_namespace(name, labels)?;
            }
        }
        for (name, workload) in state.wired() {
            if old.wired_named(name) != Some(workload) {
                self.admit(name, workload)?;
            }
        }
        for id in old.policies.keys().filter(|id| !state.policies.contains_key(*id)) {
            self.node.delete(&id.to_string())?;
        }
        for (id, policy) in &state.policies {
            if old.policies.get(id) != Some(policy) {
                let manifest =
                    state.manifests.get(&id.into()).expect("a policy of a test comes with its manifest");
                self.node.apply(manifest)?;
            }
        }
        self.state = state.clone();
        Ok(())
    }

    fn ask(&mut self, crossing: &Crossing) -> Result<EngineAnswer, EngineError> {
        self.ask_all(std::slice::from_ref(crossing)).remove(0)
    }

    fn ask_all(&mut self, crossings: &[Crossing]) -> Vec<Result<EngineAnswer, EngineError>> {
        let mut answers: Vec<_> = crossings.iter().map(|crossing| self.known(crossing)).collect();
        let open: Vec<usize> = (0..answers.len()).filter(|&index| answers[index].is_none()).collect();
        let sent: Vec<&Crossing> = open.iter().map(|&index| &crossings[index]).collect();
        match self.ask_open(&sent) {
            Ok(answered) => {
                for (&index, answer) in open.iter().zip(answered) {
                    answers[index] = Some(Ok(answer));
                }
            }
            Err(error) => return vec![Err(error)],
        }
        answers.into_iter().map(|answer| answer.expect("each open crossing was sent")).collect()
    }
}

impl Live {
    fn admit(&mut self, name: &WorkloadName, workload: &TestWorkload) -> Result<(), EngineError> {
        workload.addresses.iter().try_for_each(|address| self.outside.remove(&mut self.node, *address))?;
        let namespace = self.node.create_workload(name, workload)?;
        self.workloads.insert(name.clone(), namespace);
        Ok(())
    }

    /// Applies the difference between two states: nodes, services, endpoints and CIDR groups.
    fn surround(&mut self, old: &TestState, state: &TestState) -> Result<(), EngineError> {
        for name in old.nodes.keys().filter(|name| !state.nodes.contains_key(*name)) {
            self.node.delete(&format!("Node/{name}"))?;
        }
        for node in state.nodes.values().filter(|node| old.nodes.get(&node.name) != Some(node)) {
            self.node.apply_node(node)?;
        }
        if state.host_labels != old.host_labels {
            self.node.label(&state.host_labels)?;
        }
        for name in old.objects.keys().filter(|name| !state.objects.contains_key(*name)) {
            self.node.delete(&name.to_string())?;
        }
        // Services with a fixed address come first, so that no other service is assigned the address.
        let asks = |object: &&Object| matches!(object, Object::Service(one) if !one.addresses.is_empty());
        let changed =
            || state.objects.iter().filter(|(name, object)| old.objects.get(*name) != Some(*object));
        let (first, then) = (changed().filter(|(_, one)| asks(one)), changed().filter(|(_, one)| !asks(one)));
        first.chain(then).try_for_each(|(name, _)| self.node.apply(&state.manifests[name]))?;
        Ok(())
    }

    fn ask_open(&mut self, crossings: &[&Crossing]) -> Result<Vec<EngineAnswer>, EngineError> {
        self.make_outside(crossings)?;
        let exchanges: Vec<_> = crossings.iter().map(|crossing| self.exchange(crossing)).collect();
        exchange::carry_out(&exchanges)
    }

    fn exchange<'a>(&'a self, crossing: &'a Crossing) -> Exchange<'a> {
        let to = (!is_void(crossing)).then(|| self.namespace(&crossing.to, crossing.destination));
        Exchange { crossing, from: self.namespace(&crossing.from, crossing.source), to }
    }
}

impl Live {
    /// The answer of a crossing that need not be sent.
    fn known(&self, crossing: &Crossing) -> Option<Result<EngineAnswer, EngineError>> {
        match self.obstacle(crossing) {
            Some(why) => Some(Err(EngineError::Impossible(why))),
            None => EngineAnswer::without_policy(crossing).map(Ok),
        }
    }

    /// Why a crossing cannot be sent for real.
    fn obstacle(&self, crossing: &Crossing) -> Option<&'static str> {
        if let Some(why) = exchange::obstacle(crossing) {
            return Some(why);
        }
        let ends = [(&crossing.from, crossing.source), (&crossing.to, crossing.destination)];
        let has = |wanted: fn(&CrossingEnd) -> bool| ends.iter().any(|(end, _)| wanted(end));
        let names = self.state.names_by_address();
        match () {
            () if crossing.frontend.is_some() && crossing.from == crossing.to => {
                Some("a workload drops packets from its own address")
            }
            () if has(|end| *end == CrossingEnd::Host)
                && !has(|end| matches!(end, CrossingEnd::Workload(_)))
                && self.state.is_node_a_subject() =>
            {
                Some(
                    "the node of the tests has no interface to the outside, where its own policy would judge",
                )
            }
            () if ends
                .iter()
                .any(|(end, address)| **end == CrossingEnd::World && names.contains_key(address)) =>
            {
                Some("the agent has no source of domain names")
            }
            () => None,
        }
    }
}

/// Whether the crossing goes to a service without backends.
fn is_void(crossing: &Crossing) -> bool {
    crossing.frontend.is_some_and(|frontend| frontend.is_void())
}
