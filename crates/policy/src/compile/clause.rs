//! Rules made ready for one subject: what each does, how they rank, and what traffic they are about.

use super::block::TrafficBlock;
use crate::book::{HttpRules, RuleId};
use crate::party::NamedPorts;
use crate::rule::{Action, Direction, Port, Protocol, Rule, Tier, Traffic, TrafficMatch};
use std::cmp::Reverse;
use std::sync::Arc;

/// Which of two rules decides: the greater; fields are compared top to bottom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Precedence {
    pub(super) level: Reverse<Level>,
    pub(super) priority: Reverse<u32>,
    pub(super) effect: Effect,
    /// Only decides which of two rules with the same effect is named.
    pub(super) position: Reverse<usize>,
}

/// When a rule is asked, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Before every policy.
    Constant,
    /// With the rules of its tier.
    Tier(Tier),
    /// After every policy.
    Otherwise,
}

/// What a rule does to the traffic that it matches; at one level and priority the greater wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Effect {
    /// Leaves it to the next level.
    Pass,
    /// Lets connections through, and of requests those that an HTTP rule allows.
    AllowRequests,
    /// Lets everything through: a rule that names no requests makes those that do without effect.
    Allow,
    /// Refuses.
    Deny,
}

/// What one rule does with one effect. A rule that allows some ports whole and others by request makes two.
#[derive(Clone, Debug)]
pub(super) struct Clause {
    pub(super) id: RuleId,
    pub(super) precedence: Precedence,
    /// Which facets select its peers; none: everybody.
    pub(super) facets: Option<Box<[u32]>>,
    pub(super) terms: Box<[Term]>,
}

/// Some traffic and, for [`Effect::AllowRequests`], the requests.
#[derive(Clone, Debug)]
pub(super) struct Term {
    pub(super) what: What,
    pub(super) http: Option<Arc<HttpRules>>,
}

/// Some traffic.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// The same for every peer.
    Block(TrafficBlock),
    /// Whatever port the peer gave this name to.
    PeerPort(String, Protocol),
}

/// A rule's number, when it is asked, and which of those asked with it comes first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbered {
    pub(super) id: RuleId,
    pub(super) tier: Tier,
    pub(super) position: usize,
}

/// How rules of one direction are read for one subject.
pub(super) struct Reading<'a> {
    pub(super) direction: Direction,
    /// The subject's named ports.
    pub(super) ports: &'a NamedPorts,
    /// Without default deny, rules about requests refuse none: they allow the connection and that is all.
    pub(super) default_deny: bool,
}

impl Precedence {
    /// Whether both are asked at once: rules about requests then add up.
    pub(super) fn ties_with(&self, other: &Self) -> bool {
        (self.level, self.priority, self.effect) == (other.level, other.priority, other.effect)
    }
}

impl Clause {
    /// Lets traffic of every kind through.
    pub(super) fn allow_all(level: Level, id: RuleId, facets: Option<Box<[u32]>>) -> Self {
        let precedence = Precedence {
            level: Reverse(level),
            priority: Reverse(0),
            effect: Effect::Allow,
            position: Reverse(0),
        };
        Self { id, precedence, facets, terms: [Term::block(TrafficBlock::EVERYTHING)].into() }
    }
}

impl Term {
    fn block(block: TrafficBlock) -> Self {
        Self { what: What::Block(block), http: None }
    }
}

impl Reading<'_> {
    /// The clauses of a rule: none, one or two.
    pub(super) fn clauses(
        &self,
        rule: &Rule,
        Numbered { id, tier, position }: Numbered,
        facets: Option<Box<[u32]>>,
    ) -> Vec<Clause> {
        let mut whole = self.terms(rule);
        let by_request: Vec<Term> = whole.extract_if(.., |term| term.http.is_some()).collect();
        let effect = match rule.action {
            Action::Allow => Effect::Allow,
            Action::Deny => Effect::Deny,
            Action::Pass => Effect::Pass,
        };
        let clause = |effect, terms: Vec<Term>| {
            let level = Reverse(Level::Tier(tier));
            let precedence =
                Precedence { level, priority: Reverse(rule.priority), effect, position: Reverse(position) };
            Clause { id, precedence, facets: facets.clone(), terms: terms.into() }
        };
        let clauses = [(effect, whole), (Effect::AllowRequests, by_request)];
        let telling = clauses.into_iter().filter(|(_, terms)| !terms.is_empty());
        telling.map(|(effect, terms)| clause(effect, terms)).collect()
    }

    fn terms(&self, rule: &Rule) -> Vec<Term> {
        match &rule.traffic {
            Traffic::Any => vec![Term::block(TrafficBlock::EVERYTHING)],
            Traffic::Of(matches) => matches.iter().flat_map(|one| self.terms_of(one, rule.action)).collect(),
        }
    }

    fn terms_of(&self, one: &TrafficMatch, action: Action) -> Vec<Term> {
        match one {
            TrafficMatch::Icmp { family, kind } => {
                vec![Term::block(TrafficBlock::icmp(family.icmp(), *kind))]
            }
            TrafficMatch::Port { protocol, port, http } => {
                let http = http.as_ref().filter(|_| action == Action::Allow);
                // HTTP is spoken over TCP: a match with requests never matches another protocol.
                let protocols: Vec<Protocol> = match (http, protocol) {
                    (None, _) | (_, Protocol::Tcp) => vec![*protocol],
                    (Some(_), Protocol::Any) => vec![Protocol::Tcp],
                    (Some(_), _) => vec![],
                };
                let asked = http.filter(|_| self.default_deny);
                let http = asked.map(|rules| Arc::new(rules.iter().cloned().collect::<HttpRules>()));
                let whats = protocols.into_iter().flat_map(|protocol| self.whats(protocol, port));
                whats.map(|what| Term { what, http: http.clone() }).collect()
            }
        }
    }

    fn whats(&self, protocol: Protocol, port: &Port) -> Vec<What> {
        match port {
            Port::Any => {
                protocol.numbers().iter().map(|number| What::Block(TrafficBlock::protocol(*number))).collect()
            }
            Port::Range(first, last) => {
                let blocks = protocol.numbers().iter().flat_map(|n| TrafficBlock::ports(*n, *first, *last));
                blocks.map(What::Block).collect()
            }
            Port::Named(name) => match self.direction {
                Direction::Egress => vec![What::PeerPort(name.clone(), protocol)],
                Direction::Ingress => {
                    let ports = self.ports.resolve(name, protocol);
                    ports.map(|(number, port)| What::Block(TrafficBlock::port(number, port))).collect()
                }
            },
        }
    }
}
