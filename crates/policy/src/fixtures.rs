//! Builders of policies for tests: a part that a test does not name has the value that most tests want.

use crate::rule::{
    Action, Cidr, CidrReach, Direction, Entity, Peer, Peers, Policy, PolicyId, PolicyKind, Port, Protocol,
    Rule, Spec, Subject, Tier, Traffic, TrafficMatch,
};
use identity::{Operator, Selector, Source};

/// Selects workloads by their label `app` of Kubernetes.
pub fn app(name: &str) -> Selector {
    app_that(Operator::equals(name))
}

/// Selects workloads by what their label `app` of Kubernetes must be.
pub fn app_that(operator: Operator) -> Selector {
    Selector::default().with(Some(Source::K8s), "app", operator)
}

/// A rule that allows the peers the traffic.
///
/// ```
/// use policy::fixtures::{allow, app, policy, spec, tcp};
/// use policy::rule::Direction::Ingress;
///
/// let rule = allow(Ingress, app("client"), tcp(80));
/// let policy = policy("web", [spec(app("web"), [rule])]);
/// assert!(policy.specs[0].default_deny_ingress && !policy.specs[0].default_deny_egress);
/// ```
pub fn allow(direction: Direction, peers: impl Into<Peers>, traffic: impl Into<Traffic>) -> Rule {
    let (peers, traffic) = (peers.into(), traffic.into());
    Rule { place: "".into(), direction, priority: 0, action: Action::Allow, peers, traffic }
}

/// A rule that denies the peers the traffic.
pub fn deny(direction: Direction, peers: impl Into<Peers>, traffic: impl Into<Traffic>) -> Rule {
    Rule { action: Action::Deny, ..allow(direction, peers, traffic) }
}

/// A spec for workloads, with default deny in the directions of its rules. The rules get their places in it.
pub fn spec(subject: impl Into<Subject>, rules: impl IntoIterator<Item = Rule>) -> Spec {
    let mut rules: Vec<Rule> = rules.into_iter().collect();
    let mut place = |direction, name| {
        let own = rules.iter_mut().filter(|rule| rule.direction == direction);
        own.zip(0..)
            .map(|(rule, index): (_, usize)| rule.place = format!("spec.{name}[{index}]").into())
            .count()
    };
    let default_deny_ingress = place(Direction::Ingress, "ingress") > 0;
    let default_deny_egress = place(Direction::Egress, "egress") > 0;
    let subject = subject.into();
    Spec { subject, tier: Tier::Normal, default_deny_ingress, default_deny_egress, log: None, rules }
}

/// A CiliumNetworkPolicy of the namespace `default`.
pub fn policy(name: &str, specs: impl IntoIterator<Item = Spec>) -> Policy {
    Policy { id: policy_id(name), specs: specs.into_iter().collect() }
}

/// The name of a CiliumNetworkPolicy of the namespace `default`.
pub fn policy_id(name: &str) -> PolicyId {
    PolicyId { kind: PolicyKind::CiliumNetworkPolicy, namespace: Some("default".into()), name: name.into() }
}

/// One TCP port.
pub fn tcp(port: u16) -> TrafficMatch {
    ports(Protocol::Tcp, port, port)
}

/// A range of ports, both ends included.
pub fn ports(protocol: Protocol, first: u16, last: u16) -> TrafficMatch {
    TrafficMatch::Port { protocol, port: Port::Range(first, last), http: None }
}

/// A block of addresses as people write it: `10.0.0.0/8`.
///
/// # Panics
///
/// Where the text is no block.
pub fn cidr(text: &str) -> Cidr {
    let block = text
        .split_once('/')
        .and_then(|(address, length)| Cidr::new(address.parse().ok()?, length.parse().ok()?));
    block.unwrap_or_else(|| panic!("`{text}` is no block of addresses"))
}

/// The addresses of a block, without those of some blocks in it.
pub fn block(block: &str, except: &[&str], reach: CidrReach) -> Peer {
    let except = except.iter().map(|text| cidr(text)).collect();
    Peer::Cidr { block: cidr(block), except, reach }
}

/// The addresses outside the cluster in a block, without those of some blocks in it.
pub fn outside(text: &str, except: &[&str]) -> Peer {
    block(text, except, CidrReach::World)
}

impl From<Selector> for Subject {
    fn from(selector: Selector) -> Self {
        Self::Workloads(selector)
    }
}

impl<const N: usize> From<[Peer; N]> for Peers {
    fn from(peers: [Peer; N]) -> Self {
        Self::Of(peers.into())
    }
}

impl From<Peer> for Peers {
    fn from(peer: Peer) -> Self {
        Self::Of(vec![peer])
    }
}

impl From<Selector> for Peers {
    fn from(selector: Selector) -> Self {
        Peer::Labels(selector).into()
    }
}

impl From<Vec<Selector>> for Peers {
    fn from(selectors: Vec<Selector>) -> Self {
        Self::Of(selectors.into_iter().map(Peer::Labels).collect())
    }
}

impl From<Entity> for Peers {
    fn from(entity: Entity) -> Self {
        Peer::Entity(entity).into()
    }
}

impl<const N: usize> From<[TrafficMatch; N]> for Traffic {
    fn from(matches: [TrafficMatch; N]) -> Self {
        Self::Of(matches.into())
    }
}

impl From<TrafficMatch> for Traffic {
    fn from(one: TrafficMatch) -> Self {
        Self::Of(vec![one])
    }
}
