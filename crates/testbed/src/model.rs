//! The engine `model`: the reference model, called for both ends.

use crate::crossing::{Crossing, CrossingEnd};
use crate::engine::{DecidingSide, Engine, EngineAnswer, EngineError};
use crate::state::{HOST_ADDRESSES, TestState};
use abi::identity::{FIRST_ALLOCATED, HOST, KUBE_APISERVER, REMOTE_NODE, WORLD};
use identity::{Labels, Source};
use l7::{Refusal, RequestView};
use manifest::Object;
use manifest::test::{Expect, NodeState, WorkloadName};
use policy::catalog::{Backends, Catalog, ServiceEntry};
use policy::endpoint_view::{EndpointView, NO_NAMES, NamedPorts};
use policy::model::{self, Context, Decision, Query, Verdict};
use policy::rule::{Direction, Protocol};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Calls `policy::model`, which compiles nothing.
#[derive(Default)]
pub struct Model {
    state: TestState,
    /// Labels and named ports of each workload.
    workloads: BTreeMap<WorkloadName, (Labels, NamedPorts)>,
    /// The labels of this node, of the other nodes by name, and of the world.
    host: Labels,
    nodes: BTreeMap<String, Labels>,
    world: Labels,
    /// The addresses of the API servers.
    api_servers: BTreeSet<IpAddr>,
    /// The labels of nodes with an API server: of this node, and of the others.
    api_host: Labels,
    api_nodes: BTreeMap<String, Labels>,
    /// The labels of an API server outside.
    api_world: Labels,
    /// The domain names of addresses outside.
    names: BTreeMap<IpAddr, BTreeSet<String>>,
    catalog: Catalog,
}

impl Engine for Model {
    fn name(&self) -> &'static str {
        "model"
    }

    fn prepare(&mut self, state: &TestState) -> Result<(), EngineError> {
        self.state = state.clone();
        self.workloads.clear();
        for (name, workload) in state.wired() {
            let mut ports = NamedPorts::default();
            for port in &workload.named_ports {
                ports.insert(&port.name, protocol(port.protocol), port.port);
            }
            self.workloads.insert(name.clone(), (state.labels(name, workload), ports));
        }
        self.host = labelled(Labels::reserved("host"), &state.host_labels);
        let node = |node: &NodeState| labelled(Labels::reserved("remote-node"), &node.labels);
        self.nodes = state.nodes.iter().map(|(name, one)| (name.clone(), node(one))).collect();
        self.world = Labels::reserved("world");
        self.api_servers = state.api_servers();
        self.api_host = api_server(self.host.clone());
        let nodes = self.nodes.iter();
        self.api_nodes = nodes.map(|(name, labels)| (name.clone(), api_server(labels.clone()))).collect();
        self.api_world = api_server(self.world.clone());
        self.names = state.names_by_address();
        self.catalog = catalog(state);
        Ok(())
    }

    fn ask(&mut self, crossing: &Crossing) -> Result<EngineAnswer, EngineError> {
        if let Some(answer) = EngineAnswer::without_policy(crossing) {
            return Ok(answer);
        }
        if crossing.frontend.is_some_and(|frontend| frontend.is_void()) {
            let reason = "the service has no backend".into();
            return Ok(EngineAnswer { verdict: Expect::Drop, rule: None, reason });
        }
        Ok(crossing.with_request(|request| self.judge(crossing, request)))
    }
}

impl Model {
    fn judge(&self, crossing: &Crossing, request: Option<Result<RequestView<'_>, Refusal>>) -> EngineAnswer {
        let ends = [
            (Direction::Egress, &crossing.from, &crossing.to),
            (Direction::Ingress, &crossing.to, &crossing.from),
        ];
        let mut answers = Vec::new();
        for (direction, subject, peer) in ends {
            let Some(side) = DecidingSide::of(subject, direction) else { continue };
            let query = Query {
                direction,
                subject: self.party(subject, address_of(crossing, subject)),
                peer: self.party(peer, address_of(crossing, peer)),
                protocol: crossing.protocol(),
                port: crossing.port(),
                request: request.and_then(Result::ok),
            };
            let context = Context { catalog: &self.catalog, mode: self.state.mode };
            let decision = model::verdict(self.state.policies.values(), &context, &query);
            let malformed = request.and_then(Result::err).filter(|_| decision.requests.is_some());
            let answer = answer(&decision, malformed, side);
            answers.push(if self.state.audit { audited(answer) } else { answer });
        }
        // A connection that one side refuses carries no request.
        let worst = |verdict| answers.iter().position(|answer: &EngineAnswer| answer.verdict == verdict);
        let decisive = worst(Expect::Drop).or(worst(Expect::Deny)).unwrap_or(answers.len() - 1);
        answers.swap_remove(decisive)
    }

    fn party(&self, end: &CrossingEnd, address: IpAddr) -> EndpointView<'_> {
        let is_api_server = self.api_servers.contains(&address);
        let party = match end {
            // This node counts as an API server where any of its addresses is listed.
            CrossingEnd::Host if HOST_ADDRESSES.iter().any(|own| self.api_servers.contains(own)) => {
                EndpointView::new(HOST, &self.api_host)
            }
            CrossingEnd::Host => EndpointView::new(HOST, &self.host),
            CrossingEnd::Node(name) if is_api_server => EndpointView::new(REMOTE_NODE, &self.api_nodes[name]),
            CrossingEnd::Node(name) => EndpointView::new(REMOTE_NODE, &self.nodes[name]),
            CrossingEnd::World => {
                let names = self.names.get(&address).unwrap_or(NO_NAMES);
                let labels = if is_api_server { &self.api_world } else { &self.world };
                let number = if is_api_server { KUBE_APISERVER } else { WORLD };
                EndpointView { names, ..EndpointView::new(number, labels) }
            }
            CrossingEnd::Workload(name) => {
                let (labels, ports) = &self.workloads[name];
                // The model only reads from the number that the peer is a workload.
                EndpointView { ports, ..EndpointView::new(FIRST_ALLOCATED, labels) }
            }
        };
        EndpointView { address: Some(address), ..party }
    }
}

fn address_of(crossing: &Crossing, end: &CrossingEnd) -> IpAddr {
    if *end == crossing.from { crossing.source } else { crossing.destination }
}

fn answer(decision: &Decision<'_>, malformed: Option<Refusal>, side: DecidingSide<'_>) -> EngineAnswer {
    let rule = decision.rule().map(|rule| rule.to_string());
    if let Some(refusal) = malformed {
        return EngineAnswer { verdict: Expect::Deny, rule, reason: format!("{side}: {}", refusal.reason) };
    }
    let verdict = match decision.verdict {
        Verdict::Allow => Expect::Allow,
        Verdict::DenyRequest => Expect::Deny,
        Verdict::Drop => Expect::Drop,
    };
    EngineAnswer { verdict, rule, reason: format!("{side}: {decision}") }
}

/// Audit mode lets every connection through; requests are still denied.
fn audited(answer: EngineAnswer) -> EngineAnswer {
    match answer.verdict {
        Expect::Drop => {
            EngineAnswer::allow(answer.rule, format!("{} (let through by audit mode)", answer.reason))
        }
        Expect::Allow | Expect::Deny => answer,
    }
}

/// The catalog of the state: what its policies can refer to.
fn catalog(state: &TestState) -> Catalog {
    let mut catalog = Catalog::new();
    for object in state.objects.values() {
        match object {
            Object::CidrGroup(one) => catalog.put_cidr_group(&one.name, one.group.clone()),
            Object::Service(service) => {
                let labels = labelled(Labels::default(), &service.labels);
                let backends = match service.selector.is_empty() {
                    true => Backends::Addresses(addresses(state, service)),
                    false => Backends::Selected(service.selector.clone()),
                };
                catalog.put_service(&service.namespace, &service.name, ServiceEntry { labels, backends });
            }
            _ => {}
        }
    }
    catalog
}

/// The peer with the labels of an API server.
fn api_server(mut labels: Labels) -> Labels {
    labels.insert(Source::Reserved, "kube-apiserver", "");
    labels
}

/// The listed addresses of a service without a selector.
fn addresses(state: &TestState, service: &manifest::Service) -> BTreeSet<IpAddr> {
    let lists = state.objects.values().filter_map(|object| match object {
        Object::Endpoints(list) => Some(list),
        _ => None,
    });
    let own = lists.filter(|list| (&list.namespace, &list.service) == (&service.namespace, &service.name));
    own.flat_map(manifest::Endpoints::addresses).collect()
}

/// Labels, with the labels of the manifest added.
fn labelled(mut labels: Labels, own: &BTreeMap<String, String>) -> Labels {
    own.iter().for_each(|(name, value)| labels.insert(Source::K8s, name.as_str(), value.as_str()));
    labels
}

/// A protocol of a manifest as policies write it.
fn protocol(protocol: manifest::TransportProtocol) -> Protocol {
    match protocol {
        manifest::TransportProtocol::Tcp => Protocol::Tcp,
        manifest::TransportProtocol::Udp => Protocol::Udp,
        manifest::TransportProtocol::Sctp => Protocol::Sctp,
    }
}
