//! Rules made ready when they are submitted: with numbers in place of names, for whichever subject they apply to.

use crate::book::{HttpRules, RuleBook, RuleId};
use crate::directory::{Directory, FacetId};
use crate::endpoint_view::NamedPorts;
use crate::rule::{
    Action, Direction, Peers, Policy, PolicyId, Port, Protocol, Rule, Spec, Traffic, TrafficMatch,
};
use crate::traffic::TrafficBlock;
use std::sync::Arc;

/// The owners of the numbers that rules get.
#[derive(Debug)]
pub(crate) struct Numbers<'a> {
    /// The owner of the numbers of facets.
    pub(crate) directory: &'a mut Directory,
    /// The owner of the numbers of rules.
    pub(crate) book: &'a mut RuleBook,
}

/// One rule.
#[derive(Debug)]
pub(crate) struct CompiledRule {
    pub(crate) id: RuleId,
    pub(crate) direction: Direction,
    pub(crate) priority: u32,
    pub(crate) action: Action,
    /// Which facets select its peers, in order; none: the rule matches every peer.
    pub(crate) facets: Option<Box<[FacetId]>>,
    /// The traffic that it matches, terms with requests last.
    terms: Box<[Term]>,
    /// How many terms have no requests.
    whole: usize,
}

/// Some traffic and, if the rule matches requests, the requests that it allows.
#[derive(Debug)]
pub(crate) struct Term {
    pub(crate) ports: PortMatch,
    pub(crate) http: Option<Arc<HttpRules>>,
}

/// Some traffic.
#[derive(Debug)]
pub(crate) enum PortMatch {
    /// The same for every subject and peer.
    Block(TrafficBlock),
    /// Whatever port the subject gave this name to.
    SubjectPort(Arc<str>, Protocol),
    /// Whatever port the peer gave this name to.
    PeerPort(Arc<str>, Protocol),
}

/// Makes the rules of a policy ready, spec by spec.
pub(crate) fn specs(
    policy: &Policy,
    id: &Arc<PolicyId>,
    numbers: &mut Numbers<'_>,
) -> Box<[Box<[CompiledRule]>]> {
    let places = policy.specs.iter().flat_map(|spec| &spec.rules).map(|rule| &rule.place);
    let mut ids = numbers.book.number(id, places).into_iter();
    let mut ready = |spec: &Spec| {
        let rules = spec.rules.iter().zip(&mut ids);
        rules.map(|(rule, id)| CompiledRule::new(rule, id, numbers.directory)).collect()
    };
    policy.specs.iter().map(&mut ready).collect()
}

impl CompiledRule {
    fn new(rule: &Rule, id: RuleId, directory: &mut Directory) -> Self {
        let mut terms = terms(rule);
        terms.sort_by_key(|term| term.http.is_some());
        let whole = terms.partition_point(|term| term.http.is_none());
        let &Rule { direction, priority, action, .. } = rule;
        let facets = facets(&rule.peers, directory);
        Self { id, direction, priority, action, facets, terms: terms.into(), whole }
    }

    /// All its traffic.
    pub(crate) fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// The terms that decide whole connections, and the terms that decide each request.
    pub(crate) fn terms_by_request(&self) -> (&[Term], &[Term]) {
        self.terms.split_at(self.whole)
    }

    /// Whether the rule names a port of the subject.
    pub(crate) fn has_subject_ports(&self) -> bool {
        self.terms.iter().any(|term| matches!(term.ports, PortMatch::SubjectPort(..)))
    }

    /// Whether the rule matches the subject's port of this name.
    pub(crate) fn matches_subject_port(&self, name: &str) -> bool {
        self.terms
            .iter()
            .any(|term| matches!(&term.ports, PortMatch::SubjectPort(known, _) if **known == *name))
    }

    /// Releases the facets of the rule.
    pub(crate) fn release(&self, directory: &mut Directory) {
        self.facets.iter().flatten().for_each(|facet| directory.release(*facet));
    }
}

impl Term {
    /// Traffic of every kind.
    pub(crate) const EVERYTHING: Self =
        Self { ports: PortMatch::Block(TrafficBlock::EVERYTHING), http: None };

    /// The name of a port that it asks of peers.
    pub(crate) fn peer_port(&self) -> Option<&Arc<str>> {
        match &self.ports {
            PortMatch::PeerPort(name, _) => Some(name),
            PortMatch::Block(_) | PortMatch::SubjectPort(..) => None,
        }
    }

    /// The blocks of traffic that it matches, for a subject and a peer with these named ports.
    pub(crate) fn blocks<'a>(
        &'a self,
        subject: &'a NamedPorts,
        peer: &'a NamedPorts,
    ) -> impl Iterator<Item = TrafficBlock> + 'a {
        let (block, ports) = match &self.ports {
            PortMatch::Block(block) => (Some(*block), None),
            PortMatch::SubjectPort(name, protocol) => (None, Some(subject.resolve(name, *protocol))),
            PortMatch::PeerPort(name, protocol) => (None, Some(peer.resolve(name, *protocol))),
        };
        let ports = ports.into_iter().flatten().map(|(number, port)| TrafficBlock::port(number, port));
        block.into_iter().chain(ports)
    }
}

/// The facets that select a rule's peers, each once; none where the rule matches every peer.
fn facets(peers: &Peers, directory: &mut Directory) -> Option<Box<[FacetId]>> {
    let Peers::Of(peers) = peers else { return None };
    let mut facets: Vec<FacetId> = peers.iter().filter_map(|peer| directory.hold(peer)).collect();
    if facets.len() < peers.len() {
        facets.into_iter().for_each(|facet| directory.release(facet));
        return None;
    }
    facets.sort_unstable();
    facets.dedup_by(|facet, kept| {
        facet == kept && {
            directory.release(*facet);
            true
        }
    });
    Some(facets.into())
}

fn terms(rule: &Rule) -> Vec<Term> {
    match &rule.traffic {
        Traffic::Any => vec![Term::EVERYTHING],
        Traffic::Of(matches) => matches.iter().flat_map(|one| terms_of(one, rule)).collect(),
    }
}

fn terms_of(one: &TrafficMatch, rule: &Rule) -> Vec<Term> {
    let (protocol, port, http) = match one {
        TrafficMatch::Icmp { family, kind } => {
            let block = TrafficBlock::icmp(family.icmp(), *kind);
            return vec![Term { ports: PortMatch::Block(block), http: None }];
        }
        TrafficMatch::Port { protocol, port, http } => (*protocol, port, http),
    };
    let http = http.as_ref().filter(|_| rule.action == Action::Allow);
    // HTTP is spoken over TCP: a match with requests never matches another protocol.
    let protocol = match (http, protocol) {
        (None, protocol) => protocol,
        (Some(_), Protocol::Tcp | Protocol::Any) => Protocol::Tcp,
        (Some(_), Protocol::Udp | Protocol::Sctp) => return Vec::new(),
    };
    let http = http.map(|rules| Arc::new(rules.iter().cloned().collect::<HttpRules>()));
    let term = |ports| Term { ports, http: http.clone() };
    port_matches(rule.direction, protocol, port).into_iter().map(term).collect()
}

fn port_matches(direction: Direction, protocol: Protocol, port: &Port) -> Vec<PortMatch> {
    let numbers = protocol.numbers().iter();
    match (port, direction) {
        (Port::Any, _) => numbers.map(|number| PortMatch::Block(TrafficBlock::protocol(*number))).collect(),
        (Port::Range(first, last), _) => {
            numbers.flat_map(|n| TrafficBlock::ports(*n, *first, *last)).map(PortMatch::Block).collect()
        }
        (Port::Named(name), Direction::Egress) => vec![PortMatch::PeerPort(name.as_str().into(), protocol)],
        (Port::Named(name), Direction::Ingress) => {
            vec![PortMatch::SubjectPort(name.as_str().into(), protocol)]
        }
    }
}
