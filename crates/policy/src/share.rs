//! Selectors that many policies name, kept once.

use crate::rule::{CidrGroupRef, Peer, Peers, Policy, ServiceRef, Spec, Subject, Traffic};
use identity::{Interned, Selector};

/// The selectors that policies name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selectors(Interned<Selector>);

impl Selectors {
    /// Makes the policy name the selectors that are kept, and take no more room than it needs.
    pub(crate) fn share(&mut self, policy: &mut Policy) {
        shrink(policy);
        for selector in policy.specs.iter_mut().flat_map(selectors) {
            *selector = self.0.intern(selector.clone());
        }
    }
}

fn shrink(policy: &mut Policy) {
    policy.specs.shrink_to_fit();
    for spec in &mut policy.specs {
        spec.rules.shrink_to_fit();
        for rule in &mut spec.rules {
            if let Peers::Of(peers) = &mut rule.peers {
                peers.shrink_to_fit();
            }
            if let Traffic::Of(matches) = &mut rule.traffic {
                matches.shrink_to_fit();
            }
        }
    }
}

fn selectors(spec: &mut Spec) -> impl Iterator<Item = &mut Selector> {
    let (Subject::Workloads(subject) | Subject::Nodes(subject)) = &mut spec.subject;
    let peers = spec.rules.iter_mut().flat_map(|rule| match &mut rule.peers {
        Peers::Any => &mut [],
        Peers::Of(peers) => &mut peers[..],
    });
    let peers = peers.filter_map(|peer| match peer {
        Peer::Labels(selector)
        | Peer::Nodes(selector)
        | Peer::CidrGroup { groups: CidrGroupRef::Labelled(selector), .. }
        | Peer::Service(ServiceRef::Labelled { selector, .. }) => Some(selector),
        _ => None,
    });
    std::iter::once(subject).chain(peers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use identity::Operator;

    fn policy(app: &str) -> Policy {
        let subject = Selector::default().with(None, "app", Operator::equals(app));
        fixtures::policy(app, [Spec { default_deny_ingress: true, ..fixtures::spec(subject, []) }])
    }

    #[test]
    fn equal_selectors_are_one() {
        let mut selectors = Selectors::default();
        let (mut one, mut other) = (policy("web"), policy("web"));
        selectors.share(&mut one);
        assert!(!other.specs[0].subject.selector().is_shared());
        selectors.share(&mut other);
        assert!(other.specs[0].subject.selector().is_shared());
    }

    #[test]
    fn selectors_that_no_policy_names_do_not_pile_up() {
        let mut selectors = Selectors::default();
        let mut held = policy("held");
        selectors.share(&mut held);
        (0..10_000).for_each(|number| selectors.share(&mut policy(&number.to_string())));
        assert!(selectors.0.count() <= 65, "{}", selectors.0.count());
        assert!(held.specs[0].subject.selector().is_shared(), "it is kept");
    }
}
