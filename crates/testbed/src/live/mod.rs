//! The engine `live`: workloads in network namespaces, real servers and clients, and a node with a real agent.

mod client;
mod node;
mod outside;
mod server;

use crate::crossing::{Crossing, CrossingEnd, Sent};
use crate::engine::{Engine, EngineAnswer, EngineError};
use crate::state::{TestState, TestWorkload};
use client::{Client, Seen};
use manifest::test::{Expect, WorkloadName};
use manifest::{Object, TransportProtocol};
use node::LiveNode;
use outside::Outside;
use server::{Listener, Servers};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use workload::NetworkNamespace;

/// How long a probe may take: at first, and again where the client received nothing. The second covers the
/// retransmission of a SYN that the machine itself lost (RFC 6298: after a second).
const PATIENCE: [Duration; 2] = [Duration::from_millis(400), Duration::from_millis(1500)];

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

    /// Starts the servers that crossings need.
    fn serve(&self, crossings: &[&Crossing]) -> Result<Servers, EngineError> {
        let mut asked = BTreeSet::new();
        let mut listeners = Vec::new();
        for crossing in crossings.iter().filter(|crossing| !is_void(crossing)) {
            let (protocol, port) = match crossing.sent {
                Sent::Connection(protocol, port) => (protocol, port),
                Sent::Request(port, _) => (TransportProtocol::Tcp, port),
                Sent::Icmp(_) => continue,
            };
            let address = SocketAddr::new(crossing.destination, port);
            if asked.insert((address, protocol)) {
                let namespace = self.namespace(&crossing.to, crossing.destination);
                listeners.push(Listener::open(namespace, address, protocol)?);
            }
        }
        Servers::start(listeners)
    }

    /// Sends all crossings at the same time, and returns what each client received.
    fn send(&self, crossings: &[&Crossing], patience: Duration) -> Result<Vec<Seen>, EngineError> {
        std::thread::scope(|scope| {
            let clients: Vec<_> = crossings
                .iter()
                .map(|crossing| {
                    let from = self.namespace(&crossing.from, crossing.source);
                    let to = match is_void(crossing) {
                        true => from,
                        false => self.namespace(&crossing.to, crossing.destination),
                    };
                    scope.spawn(move || Client { crossing, from, to, patience }.ask())
                })
                .collect();
            let seen = |client: std::thread::ScopedJoinHandle<'_, std::io::Result<Seen>>| {
                let seen = client.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                seen.map_err(EngineError::failed("sending as a client"))
            };
            clients.into_iter().map(seen).collect()
        })
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
            Ok(seen) => {
                for (&index, seen) in open.iter().zip(seen) {
                    answers[index] = Some(Ok(answer(&crossings[index], seen)));
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

    fn ask_open(&mut self, crossings: &[&Crossing]) -> Result<Vec<Seen>, EngineError> {
        self.make_outside(crossings)?;
        let _servers = self.serve(crossings)?;
        let mut seen = self.send(crossings, PATIENCE[0])?;
        let silent: Vec<usize> = (0..seen.len()).filter(|&index| seen[index] == Seen::Nothing).collect();
        let again: Vec<&Crossing> = silent.iter().map(|&index| crossings[index]).collect();
        for (index, second) in silent.into_iter().zip(self.send(&again, PATIENCE[1])?) {
            seen[index] = second;
        }
        Ok(seen)
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
        const ECHO: [u8; 2] = [8, 128];
        let ends = [(&crossing.from, crossing.source), (&crossing.to, crossing.destination)];
        let has = |wanted: fn(&CrossingEnd) -> bool| ends.iter().any(|(end, _)| wanted(end));
        let names = self.state.names_by_address();
        match crossing.sent {
            Sent::Icmp(kind) if kind != ECHO[usize::from(crossing.source.is_ipv6())] => {
                Some("of ICMP, only echo requests are sent for real")
            }
            Sent::Connection(TransportProtocol::Sctp, _) if !server::has_sctp() => {
                Some("SCTP is not supported by this kernel")
            }
            _ if let Some(why) = crossing.cannot_be_translated() => Some(why),
            _ if crossing.frontend.is_some() && crossing.from == crossing.to => {
                Some("a workload drops packets from its own address")
            }
            _ if has(|end| *end == CrossingEnd::Host)
                && !has(|end| matches!(end, CrossingEnd::Workload(_)))
                && self.state.is_node_a_subject() =>
            {
                Some(
                    "the node of the tests has no interface to the outside, where its own policy would judge",
                )
            }
            _ if ends
                .iter()
                .any(|(end, address)| **end == CrossingEnd::World && names.contains_key(address)) =>
            {
                Some("the agent has no source of domain names")
            }
            _ => None,
        }
    }
}

/// Whether the crossing goes to a service without backends.
fn is_void(crossing: &Crossing) -> bool {
    crossing.frontend.is_some_and(|frontend| frontend.is_void())
}

fn answer(crossing: &Crossing, seen: Seen) -> EngineAnswer {
    let asks_request = matches!(crossing.sent, Sent::Request(..));
    let (verdict, reason) = match seen {
        Seen::Nothing => (Expect::Drop, "nothing came back".into()),
        Seen::Reset => (Expect::Drop, "the connection was reset".into()),
        Seen::Reached => (Expect::Allow, "it came through".into()),
        Seen::Status(status) => {
            let verdict = match status {
                200 => Expect::Allow,
                // The proxy reports that it cannot reach the server.
                502..=504 => Expect::Drop,
                _ if asks_request => Expect::Deny,
                // Connected; the probe has no request.
                _ => Expect::Allow,
            };
            (verdict, format!("connected, and answered with status {status}"))
        }
    };
    EngineAnswer { verdict, rule: None, reason }
}
