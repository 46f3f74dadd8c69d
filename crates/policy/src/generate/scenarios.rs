//! Scenarios that random policies seldom contain; each changes a world so that the scenario occurs.

use super::generated::GeneratedWorld;
use super::peers::{LABELS, NAMESPACES, NODE_LABELS, excluding, labels, peers, reserved, scoped};
use super::policies::named;
use super::random::Random;
use super::traffic::traffic;
use crate::domain::DomainPattern;
use crate::rule::{
    Action, Direction, Entity, Peer, Peers, Policy, PolicyKind, Rule, Spec, Subject, Tier, Traffic,
    TrafficMatch,
};
use identity::{Operator, Selector, Source, key};

/// Changes a random world.
type Scenario = fn(&mut Random, &mut GeneratedWorld);

/// All scenarios.
const SCENARIOS: &[Scenario] =
    &[tiers_alone, passed_traffic, denied_node, left_out_namespaces, reserved_labels, asterisks, requests];

/// Applies one scenario to a quarter of the worlds.
pub(super) fn apply_one(random: &mut Random, world: &mut GeneratedWorld) {
    if random.chance(25) {
        random.pick(SCENARIOS)(random, world);
    }
}

const DIRECTIONS: &[Direction] = &[Direction::Ingress, Direction::Egress];
const ACTIONS: &[Action] = &[Action::Allow, Action::Deny, Action::Pass];
const CLUSTERWIDE: PolicyKind = PolicyKind::CiliumClusterwideNetworkPolicy;

/// Only admin and baseline policies exist: traffic that none of them decides on is allowed.
fn tiers_alone(random: &mut Random, world: &mut GeneratedWorld) {
    let count = 1 + random.below(3);
    let one = |index| {
        let tier = random.pick(&[Tier::Admin, Tier::Admin, Tier::Baseline]);
        let is_about_nodes = random.chance(15);
        let rules = (0..1 + random.below(4)).map(|_| {
            let action = random.pick(ACTIONS);
            Rule {
                priority: random.below(4) as u32,
                peers: peers(random, CLUSTERWIDE, None),
                traffic: traffic(random, action, false),
                ..rule(random.pick(DIRECTIONS), action)
            }
        });
        let rules = rules.collect();
        let subject = match is_about_nodes {
            true => Subject::Nodes(labels(random, NODE_LABELS)),
            false => subject(random, None),
        };
        policy(index, Spec { subject, ..open(tier, rules) })
    };
    world.policies = (0..count).map(one).collect();
}

/// A rule passes some traffic, a later rule of its tier decides on all of it, and lower tiers may exist.
fn passed_traffic(random: &mut Random, world: &mut GeneratedWorld) {
    let subject = subject(random, None);
    let mut passes = Vec::new();
    let mut decides = Vec::new();
    for direction in DIRECTIONS {
        let peers = match random.below(3) {
            0 => peers(random, CLUSTERWIDE, None),
            _ => Peers::Of(vec![Peer::Labels(pods())]),
        };
        let some = traffic(random, Action::Pass, false);
        passes.push(Rule { peers: peers.clone(), traffic: some, ..rule(*direction, Action::Pass) });
        let peers = if random.chance(50) { peers } else { Peers::Any };
        let action = random.pick(&[Action::Deny, Action::Deny, Action::Allow]);
        decides.push(Rule { priority: 1, peers, ..rule(*direction, action) });
    }
    let spec = |tier, rules| Spec { subject: subject.clone(), ..open(tier, rules) };
    let mut policies = vec![policy(0, spec(Tier::Admin, passes)), policy(1, spec(Tier::Admin, decides))];
    if random.chance(40) {
        let rules = (0..1 + random.below(2)).map(|_| {
            let action = random.pick(&[Action::Allow, Action::Deny]);
            let peers = peers(random, CLUSTERWIDE, None);
            Rule { peers, traffic: traffic(random, action, true), ..rule(random.pick(DIRECTIONS), action) }
        });
        let rules: Vec<Rule> = rules.collect();
        let tier = random.pick(&[Tier::Normal, Tier::Baseline]);
        // A policy isolates only in the directions of its rules.
        let closes = |direction| tier == Tier::Normal && rules.iter().any(|rule| rule.direction == direction);
        let (ingress, egress) = (closes(Direction::Ingress), closes(Direction::Egress));
        let below = spec(tier, rules);
        policies
            .push(policy(2, Spec { default_deny_ingress: ingress, default_deny_egress: egress, ..below }));
    }
    world.policies = policies;
}

/// Rules deny the local node, beside rules that allow it and beside default deny.
fn denied_node(random: &mut Random, world: &mut GeneratedWorld) {
    let spec = |random: &mut Random, action| {
        let tier = random.pick(&[Tier::Normal, Tier::Normal, Tier::Admin, Tier::Baseline]);
        let rules = (0..1 + random.below(2)).map(|_| {
            let peers = node(random);
            Rule { peers, traffic: traffic(random, action, true), ..rule(Direction::Ingress, action) }
        });
        let rules = rules.collect();
        let closes = tier == Tier::Normal && random.chance(60);
        Spec { subject: subject(random, None), default_deny_ingress: closes, ..open(tier, rules) }
    };
    let (denies, allows) = (spec(random, Action::Deny), spec(random, Action::Allow));
    world.policies.truncate(1);
    let added = if random.chance(50) { vec![denies, allows] } else { vec![denies] };
    world.policies.extend((1..).zip(added).map(|(index, spec)| policy(index, spec)));
}

/// Peers that include the local node.
fn node(random: &mut Random) -> Peers {
    Peers::Of(vec![match random.below(6) {
        0 => Peer::Entity(Entity::Host),
        1 => Peer::Entity(Entity::All),
        2 => Peer::Entity(Entity::Cluster),
        3 => Peer::Nodes(labels(random, NODE_LABELS)),
        4 => Peer::Labels(Selector::default().with(Some(Source::Reserved), "host", Operator::Exists)),
        _ => return Peers::Any,
    }])
}

/// Rules of every kind and action match workloads of all namespaces except some.
fn left_out_namespaces(random: &mut Random, world: &mut GeneratedWorld) {
    let count = 1 + random.below(3);
    let one = |index| {
        let tier = random.pick(&[Tier::Normal, Tier::Normal, Tier::Admin, Tier::Baseline]);
        let namespace = random.chance(50).then(|| random.pick(NAMESPACES));
        let rules = (0..1 + random.below(3)).map(|_| {
            let action = if tier == Tier::Normal { random.pick(&ACTIONS[..2]) } else { random.pick(ACTIONS) };
            let selector = if random.chance(50) { Selector::default() } else { labels(random, LABELS) };
            let peers = Peers::Of(vec![Peer::Labels(excluding(random, selector))]);
            let traffic = if random.chance(50) { Traffic::Any } else { traffic(random, action, true) };
            Rule { priority: random.below(3) as u32, peers, traffic, ..rule(random.pick(DIRECTIONS), action) }
        });
        let rules: Vec<Rule> = rules.collect();
        let closes = |direction| tier == Tier::Normal && rules.iter().any(|rule| rule.direction == direction);
        let (ingress, egress) = (closes(Direction::Ingress), closes(Direction::Egress));
        let subject = subject(random, namespace);
        let spec = Spec { subject, default_deny_ingress: ingress, ..open(tier, rules) };
        policy(index, Spec { default_deny_egress: egress, ..spec })
    };
    world.policies = (0..count).map(one).collect();
}

/// Rules name reserved peers by their labels, or exclude some.
fn reserved_labels(random: &mut Random, world: &mut GeneratedWorld) {
    for rule in rules(world) {
        if random.chance(60) {
            rule.peers = Peers::Of((0..1 + random.below(2)).map(|_| reserved(random)).collect());
        }
    }
}

/// Rules match domain patterns with any number of asterisks.
fn asterisks(random: &mut Random, world: &mut GeneratedWorld) {
    const PATTERNS: &[&str] =
        &["*", "**", "***", "**.", "**.com", "***.com", "****.example.com", "*.com", "**.*", "w**.*.com"];
    for rule in rules(world).filter(|rule| rule.direction == Direction::Egress) {
        if rule.action == Action::Allow && random.chance(60) {
            let pattern = DomainPattern::pattern(random.pick(PATTERNS)).expect("the pool has patterns");
            rule.peers = Peers::Of(vec![Peer::Domain(pattern)]);
        }
    }
}

/// Rules allow some requests only, and default deny applies.
fn requests(random: &mut Random, world: &mut GeneratedWorld) {
    for spec in world.policies.iter_mut().flat_map(|policy| &mut policy.specs) {
        if let Subject::Nodes(_) = spec.subject {
            continue;
        }
        for rule in spec.rules.iter_mut().filter(|rule| rule.action == Action::Allow) {
            rule.traffic = by_request(random);
            match rule.direction {
                Direction::Ingress => spec.default_deny_ingress = true,
                Direction::Egress => spec.default_deny_egress = true,
            }
        }
    }
}

/// Traffic with HTTP rules.
fn by_request(random: &mut Random) -> Traffic {
    let asks = |one: &TrafficMatch| matches!(one, TrafficMatch::Port { http: Some(_), .. });
    loop {
        match traffic(random, Action::Allow, true) {
            Traffic::Of(matches) if matches.iter().any(asks) => return Traffic::Of(matches),
            _ => {}
        }
    }
}

fn rules(world: &mut GeneratedWorld) -> impl Iterator<Item = &mut Rule> {
    world.policies.iter_mut().flat_map(|policy| &mut policy.specs).flat_map(|spec| &mut spec.rules)
}

/// Every workload, or some: each half of the time.
fn subject(random: &mut Random, namespace: Option<&str>) -> Subject {
    let selector = if random.chance(50) { Selector::default() } else { labels(random, LABELS) };
    Subject::Workloads(scoped(selector, namespace))
}

fn pods() -> Selector {
    Selector::default().with(Some(Source::K8s), key::NAMESPACE, Operator::Exists)
}

/// A rule that matches everything.
fn rule(direction: Direction, action: Action) -> Rule {
    Rule { place: "".into(), direction, priority: 0, action, peers: Peers::Any, traffic: Traffic::Any }
}

/// A spec without default deny.
fn open(tier: Tier, rules: Vec<Rule>) -> Spec {
    Spec {
        subject: Subject::Workloads(Selector::default()),
        tier,
        default_deny_ingress: false,
        default_deny_egress: false,
        log: None,
        rules,
    }
}

/// A policy of one spec; sets the places of its rules.
fn policy(index: usize, mut spec: Spec) -> Policy {
    for (number, rule) in spec.rules.iter_mut().enumerate() {
        rule.place = format!("specs[0].rules[{number}]").into();
    }
    named(index, CLUSTERWIDE, vec![spec])
}
