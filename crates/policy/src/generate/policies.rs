//! Random policies over every construct of [`crate::rule`].

use super::peers::{LABELS, NAMESPACES, NODE_LABELS, labels, peers, scoped};
use super::random::Random;
use super::traffic::traffic;
use crate::rule::{Action, Direction, Policy, PolicyId, PolicyKind, Rule, Spec, Subject, Tier};

/// One to five policies, sorted by name.
pub(super) fn policies(random: &mut Random) -> Vec<Policy> {
    (0..1 + random.below(5)).map(|index| policy(random, index)).collect()
}

fn policy(random: &mut Random, index: usize) -> Policy {
    let (kind, namespace) = match random.below(3) {
        0 => (PolicyKind::CiliumClusterwideNetworkPolicy, None),
        1 => (PolicyKind::NetworkPolicy, Some(random.pick(NAMESPACES))),
        _ => (PolicyKind::CiliumNetworkPolicy, Some(random.pick(NAMESPACES))),
    };
    let specs = (0..1 + random.below(2)).map(|number| spec(random, kind, namespace, number)).collect();
    named(index, kind, specs)
}

/// A policy of these specs. Its name begins with the index, so that policies sort by index whatever their kinds.
pub(super) fn named(index: usize, kind: PolicyKind, specs: Vec<Spec>) -> Policy {
    let name = format!("{index}-{}", kind.name());
    Policy { id: PolicyId { kind: PolicyKind::CiliumNetworkPolicy, namespace: None, name }, specs }
}

fn spec(random: &mut Random, kind: PolicyKind, namespace: Option<&str>, number: usize) -> Spec {
    let tier = match kind {
        PolicyKind::CiliumNetworkPolicy | PolicyKind::CiliumClusterwideNetworkPolicy if random.chance(25) => {
            random.pick(&[Tier::Admin, Tier::Baseline])
        }
        _ => Tier::Normal,
    };
    let is_about_nodes = kind == PolicyKind::CiliumClusterwideNetworkPolicy && random.chance(30);
    let subject = match is_about_nodes {
        true => Subject::Nodes(labels(random, NODE_LABELS)),
        false => Subject::Workloads(scoped(labels(random, LABELS), namespace)),
    };
    let mut rules = Vec::new();
    for index in 0..random.below(5) {
        let place = format!("specs[{number}].rules[{index}]");
        rules.push(rule(random, (kind, is_about_nodes), namespace, place));
    }
    let has = |direction| rules.iter().any(|rule: &Rule| rule.direction == direction);
    let (ingress, egress) = (has(Direction::Ingress), has(Direction::Egress));
    Spec {
        subject,
        tier,
        default_deny_ingress: if random.chance(80) { ingress } else { random.chance(50) },
        default_deny_egress: if random.chance(80) { egress } else { random.chance(50) },
        log: random.chance(10).then(|| "noted".into()),
        rules,
    }
}

fn rule(
    random: &mut Random,
    (kind, is_about_nodes): (PolicyKind, bool),
    namespace: Option<&str>,
    place: String,
) -> Rule {
    let (action, priority) = match kind {
        PolicyKind::NetworkPolicy => (Action::Allow, 0),
        _ if random.chance(70) => (Action::Allow, 0),
        _ if random.chance(50) => (Action::Deny, 0),
        _ => {
            let action = random.pick(&[Action::Allow, Action::Deny, Action::Pass]);
            (action, random.below(3) as u32)
        }
    };
    Rule {
        place: place.into(),
        direction: random.pick(&[Direction::Ingress, Direction::Egress]),
        priority,
        action,
        peers: peers(random, kind, namespace),
        // The node proxy does not serve host policies.
        traffic: traffic(random, action, !is_about_nodes),
    }
}
