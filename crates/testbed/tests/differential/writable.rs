//! The part of the policy language that manifests can express: worlds are reduced to it, so that they can be written.

use crate::tiered;
use identity::{Operator, Requirement, Selector, Source, key};
use policy::generate::GeneratedWorld;
use policy::rule::{
    Action, CidrReach, Direction, HttpRule, Peer, Peers, Port, Protocol, Rule, Spec, Traffic, TrafficMatch,
};

/// The world with each rule reduced to what a manifest can express, or left out. The meaning changes.
pub(crate) fn writable(world: &GeneratedWorld) -> GeneratedWorld {
    let mut world = world.clone();
    for spec in world.policies.iter_mut().flat_map(|policy| &mut policy.specs) {
        if tiered::is_tiered(spec) {
            *spec = tiered::bent(spec.clone());
            continue;
        }
        let rules = std::mem::take(&mut spec.rules);
        spec.rules = rules.into_iter().filter_map(|rule| bent(rule, spec)).collect();
    }
    world
}

/// Whether the rule is written as a NetworkPolicy: only there do blocks hold whatever address a packet carries. On the
/// way out workloads of all namespaces but some are written there too, so that both kinds of policy express it.
pub(crate) fn is_of_kubernetes(rule: &Rule, spec: &Spec) -> bool {
    let Peers::Of(peers) = &rule.peers else { return false };
    let blocks = peers.iter().all(|peer| match peer {
        Peer::Cidr { reach, .. } => *reach == CidrReach::Everything,
        Peer::Labels(selector) => {
            rule.direction == Direction::Egress && leaves_out_namespaces(selector) && !is_reserved(selector)
        }
        _ => false,
    });
    let plain = match &rule.traffic {
        Traffic::Any => true,
        Traffic::Of(matches) => {
            matches.iter().all(|one| matches!(one, TrafficMatch::Port { http: None, .. }))
        }
    };
    let default_deny = match rule.direction {
        Direction::Ingress => spec.default_deny_ingress,
        Direction::Egress => spec.default_deny_egress,
    };
    let allows = rule.action == Action::Allow;
    !peers.is_empty() && blocks && plain && default_deny && allows && namespace(spec).is_some()
}

/// The namespace that the subject is in, where the spec names one.
pub(crate) fn namespace(spec: &Spec) -> Option<&str> {
    spec.subject.selector().requirements().iter().filter(|one| is_of_namespace(one)).find_map(
        |one| match &one.operator {
            Operator::In(values) if values.len() == 1 => values.first(),
            _ => None,
        },
    )
}

/// Whether the selector selects the workloads of all namespaces but some; a manifest lists the excluded ones only.
pub(crate) fn leaves_out_namespaces(selector: &Selector) -> bool {
    let around = || selector.requirements().iter().filter(|one| is_around(one));
    let is_scope = |one: &Requirement| is_of_namespace(one) && one.operator == Operator::Exists;
    around().any(|one| !one.requires_label()) && around().all(|one| !one.requires_label() || is_scope(one))
}

/// Whether the selector names or leaves out a reserved kind of peer.
pub(crate) fn is_reserved(selector: &Selector) -> bool {
    selector.requirements().iter().any(|one| one.source == Some(Source::Reserved))
}

/// Whether the requirement is on the namespace, by its name or by a label of it.
pub(crate) fn is_around(requirement: &Requirement) -> bool {
    is_of_namespace(requirement) || requirement.name.starts_with(key::NAMESPACE_LABELS)
}

pub(crate) fn is_of_namespace(requirement: &Requirement) -> bool {
    requirement.name == key::NAMESPACE
}

fn bent(mut rule: Rule, spec: &Spec) -> Option<Rule> {
    if rule.action == Action::Pass {
        return None;
    }
    rule.priority = Rule::USUAL_PRIORITY;
    if let Traffic::Of(matches) = &mut rule.traffic {
        let old = std::mem::take(matches);
        matches.extend(old.into_iter().filter_map(bent_match));
        if matches.is_empty() {
            return None;
        }
    }
    let of_kubernetes = is_of_kubernetes(&rule, spec);
    if let Peers::Of(peers) = &mut rule.peers {
        let was_empty = peers.is_empty();
        peers.retain(|peer| is_sayable(peer, rule.direction, rule.action));
        if peers.is_empty() && !was_empty {
            return None;
        }
        for peer in peers {
            match peer {
                Peer::Labels(selector)
                    if !is_reserved(selector) && !selector.requirements().iter().any(is_of_namespace) =>
                {
                    *selector = selector.clone().with(None, key::NAMESPACE, Operator::Exists);
                }
                Peer::Cidr { reach, .. } if !of_kubernetes => *reach = CidrReach::World,
                _ => {}
            }
        }
    }
    Some(rule)
}

/// Whether a manifest can name such a peer there: services and domain names are on the way out.
fn is_sayable(peer: &Peer, direction: Direction, action: Action) -> bool {
    match peer {
        Peer::Service(_) => direction == Direction::Egress,
        Peer::Domain(_) => direction == Direction::Egress && action == Action::Allow,
        _ => true,
    }
}

fn bent_match(one: TrafficMatch) -> Option<TrafficMatch> {
    let TrafficMatch::Port { protocol, port, http } = one else { return Some(one) };
    let port = match port {
        // Port 0 means every port in manifests, and no probe uses it.
        Port::Range(0, 0) => return None,
        Port::Range(first, last) => Port::Range(first.max(1), last),
        Port::Any if http.is_some() => Port::Range(1, u16::MAX),
        other => other,
    };
    let protocol = if http.is_some() { Protocol::Tcp } else { protocol };
    let unmatched = || HttpRule { method: Some("UNMATCHED".into()), ..HttpRule::default() };
    let http = http.map(|rules| if rules.is_empty() { [unmatched()].into() } else { rules });
    Some(TrafficMatch::Port { protocol, port, http })
}
