//! The policy that almost selects a subject, and the label that differs.

use super::mismatch::labels;
use super::query::Query;
use crate::rule::{Direction, Policy, PolicyId, Spec, Subject};
use abi::identity::HOST;

/// A policy that almost selects the subject of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NearPolicy<'a> {
    /// The policy.
    pub policy: &'a PolicyId,
    /// The difference: `subject has app=db, needs app=web`.
    pub lacks: String,
}

/// The policy for the query's direction whose selector differs from the subject's labels in one requirement only; of
/// several the one whose label is most similar.
pub fn nearest_policy<'a>(
    policies: impl IntoIterator<Item = &'a Policy>,
    query: &Query<'_>,
) -> Option<NearPolicy<'a>> {
    let specs =
        policies.into_iter().flat_map(|policy| policy.specs.iter().map(move |spec| (&policy.id, spec)));
    let near = specs.filter(|(_, spec)| affects(spec, query.direction)).filter_map(|(policy, spec)| {
        let (who, selector) = match &spec.subject {
            Subject::Workloads(selector) if query.subject.number != HOST => ("subject", selector),
            Subject::Nodes(selector) if query.subject.number == HOST => ("node", selector),
            Subject::Workloads(_) | Subject::Nodes(_) => return None,
        };
        let mut missing = labels(selector, query.subject.labels, who).into_iter();
        let only = missing.next().filter(|_| missing.next().is_none())?;
        Some(NearPolicy { policy, lacks: only.what })
    });
    near.min_by_key(|near| unlike(&near.lacks))
}

fn affects(spec: &Spec, direction: Direction) -> bool {
    let denies = match direction {
        Direction::Ingress => spec.default_deny_ingress,
        Direction::Egress => spec.default_deny_egress,
    };
    denies || spec.rules.iter().any(|rule| rule.direction == direction)
}

/// The distance of the two halves of `subject has app=db, needs app=web`: the length of the longer one, without what
/// both begin and end with.
fn unlike(lacks: &str) -> usize {
    let (has, needs) = lacks.split_once(", needs ").unwrap_or((lacks, ""));
    let has = has.rsplit(' ').next().unwrap_or_default();
    let common = has.bytes().zip(needs.bytes()).take_while(|(one, other)| one == other).count();
    let (one, other) = (&has.as_bytes()[common..], &needs.as_bytes()[common..]);
    let ending = one.iter().rev().zip(other.iter().rev()).take_while(|(one, other)| one == other).count();
    one.len().max(other.len()) - ending
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint_view::EndpointView;
    use crate::fixtures::{policy, spec};
    use crate::rule::Spec;
    use identity::{Labels, Operator, Selector, Source};

    fn about(name: &str, labels: &[(&str, &str)]) -> Policy {
        let selector = labels.iter().fold(Selector::default(), |selector, (name, value)| {
            selector.with(Some(Source::K8s), *name, Operator::equals(*value))
        });
        policy(name, [Spec { default_deny_ingress: true, ..spec(selector, []) }])
    }

    #[test]
    fn the_policy_whose_subject_just_misses_is_named() {
        let mut labels = Labels::default();
        [("id", "app1"), ("tier", "web")]
            .iter()
            .for_each(|(name, value)| labels.insert(Source::K8s, *name, *value));
        let ask = |policies: &[Policy], direction| {
            let (subject, peer) = (EndpointView::new(300, &labels), EndpointView::new(301, &labels));
            let query = Query { direction, subject, peer, protocol: 6, port: 80, request: None };
            nearest_policy(policies, &query).map(|near| (near.policy.name.clone(), near.lacks))
        };
        let policies = [
            about("a", &[("id", "database")]),
            about("b", &[("id", "app1x")]),
            about("c", &[("id", "app2"), ("tier", "data")]),
        ];
        let nearest = Some(("b".to_owned(), "subject has id=app1, needs id=app1x".to_owned()));
        assert_eq!(ask(&policies, Direction::Ingress), nearest);
        assert_eq!(ask(&policies, Direction::Egress), None);
        assert_eq!(ask(&policies[2..], Direction::Ingress), None);
    }
}
