//! A random world as a step of a test, and its random probes as probes of a test.

use crate::host_network::Sharer;
use crate::objects;
use abi::identity::{HOST, REMOTE_NODE, WORLD};
use manifest::test::{
    Expect, External, HttpRequest, NodeState, Probe, ProbeEnd, ProbeTraffic, TestStep, WorkloadName,
    WorkloadState,
};
use manifest::{NamedPort, Namespace, TransportProtocol};
use policy::endpoint_view::NamedPorts;
use policy::generate::{self, GeneratedEnd, GeneratedWorld};
use policy::rule::{self, Family};
use std::collections::BTreeMap;
use testbed::{Crossing, Engine, EngineAnswer, Sent, TestState};

/// A random world, and which of its workloads exist.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) world: GeneratedWorld,
    pub(crate) present: Vec<bool>,
    /// Which of the workloads share the network of a node.
    pub(crate) sharers: BTreeMap<usize, Sharer>,
}

impl Case {
    /// All workloads of the world exist.
    pub(crate) fn of(world: GeneratedWorld) -> Self {
        Self { present: vec![true; world.workloads.len()], world, sharers: BTreeMap::new() }
    }

    /// The step that leads from the empty state to the world.
    pub(crate) fn step(&self) -> TestStep {
        let workloads = self.world.workloads.iter().enumerate().filter(|(number, _)| self.present[*number]);
        let namespaces = self.world.namespaces.iter();
        TestStep {
            namespaces: namespaces
                .map(|(name, labels)| Namespace {
                    name: name.clone(),
                    labels: labels.iter().cloned().collect(),
                })
                .collect(),
            workloads: workloads
                .map(|(number, workload)| match self.sharers.get(&number) {
                    Some(sharer) => sharer.of(self::workload(workload)),
                    None => self::workload(workload),
                })
                .collect(),
            enforcement: Some(self.world.mode),
            audit: Some(self.world.audit),
            nodes: self.others(HOST).chain(self.others(REMOTE_NODE)).map(node).collect(),
            externals: self.others(WORLD).map(external).collect(),
            names: self.others(WORLD).map(|other| (other.name.clone(), other.names.clone())).collect(),
            policies: Some(self.world.policies.clone()),
            objects: Some(objects::of(&self.world)),
            ..TestStep::default()
        }
    }

    /// The peers with this identity that are not workloads.
    fn others(&self, identity: u32) -> impl Iterator<Item = &generate::GeneratedPeer> {
        self.world.others.iter().filter(move |other| other.identity == identity)
    }

    /// The world as a state.
    pub(crate) fn state(&self) -> TestState {
        let mut state = TestState::default();
        state.take(&self.step()).expect("the generator's worlds are sound");
        state
    }
}

/// Whether two answers differ. An engine that does not enforce a direction looks no rule up, and names none.
pub(crate) fn differs(wanted: &EngineAnswer, got: &EngineAnswer) -> bool {
    wanted.verdict != got.verdict || (got.rule.is_some() && got.rule != wanted.rule)
}

/// The message of a difference: the crossing, and the answer of each engine.
pub(crate) fn difference(
    crossing: &Crossing,
    wanted: &EngineAnswer,
    (engine, got): (&str, &EngineAnswer),
) -> String {
    format!("model and {engine} differ on {crossing}\n  {:>8}: {wanted}\n  {engine:>8}: {got}", "model")
}

/// The model's answer, with the rule that rows name. For an allowed request that is the rule that allows its connection:
/// only the proxy knows which of several rules matches the request.
pub(crate) fn wanted(model: &mut dyn Engine, crossing: &Crossing) -> EngineAnswer {
    let answer = model.ask(crossing).expect("the model has an answer to every crossing");
    match crossing.sent {
        Sent::Request(port, _) if answer.verdict == Expect::Allow => {
            let connection =
                Crossing { sent: Sent::Connection(TransportProtocol::Tcp, port), ..crossing.clone() };
            let rule = model.ask(&connection).expect("the model has an answer to every crossing").rule;
            EngineAnswer { rule, ..answer }
        }
        _ => answer,
    }
}

/// Up to `count` random probes that a test can express.
pub(crate) fn probes(world: &GeneratedWorld, seed: u64, count: usize) -> Vec<Probe> {
    // A test cannot express some of the generator's probes: other protocols, port 0, a workload to itself.
    let probes = generate::probes(world, seed, count * 2);
    probes.iter().filter_map(|generated| probe(world, generated)).take(count).collect()
}

fn probe(world: &GeneratedWorld, asked: &generate::GeneratedProbe) -> Option<Probe> {
    let family = [Family::Ipv4, Family::Ipv6][asked.family];
    let [kind, _] = asked.port.to_be_bytes();
    let traffic = match (asked.protocol, &asked.request) {
        (6, Some(request)) => {
            // The header fields of a test are a map: a field that is there twice differs in case.
            let headers: BTreeMap<String, String> = request.headers.iter().cloned().collect();
            let request = HttpRequest {
                method: request.method.clone(),
                path: request.path.clone(),
                host: Some(request.host.clone()),
                headers: headers.into_iter().collect(),
            };
            ProbeTraffic::Http { port: asked.port, request }
        }
        (number, _) if number == family.icmp() => ProbeTraffic::Icmp { kind },
        (number, _) => {
            let all = [TransportProtocol::Tcp, TransportProtocol::Udp, TransportProtocol::Sctp];
            let protocol = all.into_iter().find(|protocol| protocol.number() == number)?;
            ProbeTraffic::Connect { protocol, port: asked.port }
        }
    };
    let has_port = !matches!(traffic, ProbeTraffic::Icmp { .. });
    if asked.from == asked.to || (has_port && asked.port == 0) {
        return None;
    }
    let (from, to) = (party(world, asked.from)?, party(world, asked.to)?);
    Some(Probe { from, to, family: Some(family), traffic, expect: None, line: 0 })
}

fn party(world: &GeneratedWorld, end: GeneratedEnd) -> Option<ProbeEnd> {
    match end {
        GeneratedEnd::Workload(index) => Some(ProbeEnd::Workload(name(&world.workloads[index]))),
        GeneratedEnd::Other(index) => match world.others[index].identity {
            WORLD => Some(ProbeEnd::External(world.others[index].name.clone())),
            HOST => Some(ProbeEnd::Host),
            _ => Some(ProbeEnd::Node(world.others[index].name.clone())),
        },
    }
}

pub(crate) fn name(workload: &generate::GeneratedWorkload) -> WorkloadName {
    WorkloadName { namespace: workload.namespace.clone(), name: workload.name.clone() }
}

fn workload(workload: &generate::GeneratedWorkload) -> WorkloadState {
    WorkloadState {
        name: name(workload),
        labels: workload.own.iter().cloned().collect(),
        addresses: workload.addresses.to_vec(),
        named_ports: named_ports(&workload.ports),
        host_network: None,
        node: None,
    }
}

fn named_ports(ports: &NamedPorts) -> Vec<NamedPort> {
    let protocols = [
        (rule::Protocol::Tcp, TransportProtocol::Tcp),
        (rule::Protocol::Udp, TransportProtocol::Udp),
        (rule::Protocol::Sctp, TransportProtocol::Sctp),
    ];
    let named = |name: &str| {
        let found = protocols.into_iter().flat_map(|(asked, protocol)| {
            let ports: Vec<u16> = ports.resolve(name, asked).map(|(_, port)| port).collect();
            ports.into_iter().map(move |port| (protocol, port))
        });
        found.map(|(protocol, port)| NamedPort { name: name.to_owned(), protocol, port }).collect::<Vec<_>>()
    };
    let mut all: Vec<NamedPort> = ports.names().flat_map(named).collect();
    all.sort();
    all.dedup();
    all
}

/// A node; the engines give the local node its addresses.
fn node(other: &generate::GeneratedPeer) -> NodeState {
    let addresses = if other.identity == HOST { Vec::new() } else { other.addresses.to_vec() };
    NodeState { name: other.name.clone(), labels: other.own.iter().cloned().collect(), addresses }
}

fn external(other: &generate::GeneratedPeer) -> External {
    External { name: other.name.clone(), addresses: other.addresses.to_vec() }
}
