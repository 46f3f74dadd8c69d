//! The linter: legal rules that can have no effect, and selectors that can select no endpoint.
//!
//! Every finding holds for any set of workloads, services, groups and other policies. So all rules that are reported as
//! shadowed or never deciding can be removed together without a change of any verdict.

mod constraint;
mod cover;
mod evaluation_order;
mod flaw;
mod http_without_effect;
mod index;
mod request_keys;
mod requests;
mod same_priority;
#[cfg(test)]
mod tests;
mod unmatched;

use crate::book::RuleOrigin;
use crate::rule::{Policy, PolicyKind, Spec, Subject};
use constraint::Constraints;
use cover::RuleView;
use evaluation_order::EvaluationOrder;
use http_without_effect::ConnectionAllows;
use index::RuleIndex;
use requests::ExpressionCache;
use std::rc::Rc;

pub use flaw::{Flaw, Lint};

/// Finds the flaws of these policies, in the order of the policies.
///
/// A rule is compared only with rules that share its rarest requirement ([`index`]), so the time grows linearly for
/// tens of thousands of policies with different subjects.
pub fn lint<'a>(policies: impl IntoIterator<Item = &'a Policy>) -> Vec<Lint> {
    let (mut lints, mut entries, mut expressions) = (Vec::new(), Vec::new(), ExpressionCache::default());
    for policy in policies {
        for (number, spec) in policy.specs.iter().enumerate() {
            let subject = Rc::new(Constraints::of(spec.subject.selector()));
            if let Some(why) = unmatched::selector(&subject) {
                let at = RuleOrigin {
                    policy: policy.id.clone().into(),
                    place: subject_place(policy, number).into(),
                };
                lints.push(Lint { at, flaw: Flaw::MatchesNothing(why) });
                continue;
            }
            for rule in &spec.rules {
                let entry = RuleView::new(&policy.id, spec, rule, subject.clone());
                let (found, is_empty) = unmatched::rule(&entry, &mut expressions);
                lints.extend(found.into_iter().map(|why| entry.lint(Flaw::MatchesNothing(why))));
                if !is_empty {
                    entries.push(entry);
                }
            }
        }
    }
    lints.extend(same_priority::ties(&entries));
    let order = EvaluationOrder::of(&entries);
    let (index, allows) = (RuleIndex::of(&entries, &mut expressions), ConnectionAllows::of(&entries));
    for (number, entry) in entries.iter().enumerate() {
        let others = index.candidates(number, entry).map(|other| (other, &entries[other]));
        let flaws = match order.flaw((number, entry), others) {
            Some(flaw) => vec![flaw],
            None => {
                let others = index.candidates(number, entry).map(|other| &entries[other]);
                match order.refused_together(entry, others) {
                    Some(flaw) => vec![flaw],
                    None => allows.flaws(entry, &entries, |other| order.is_in_time(other, entry)),
                }
            }
        };
        lints.extend(flaws.into_iter().map(|flaw| entry.lint(flaw)));
    }
    lints
}

/// The path of the subject's selector in its document.
fn subject_place(policy: &Policy, number: usize) -> String {
    let spec: &Spec = &policy.specs[number];
    let written = spec.rules.first().and_then(|rule| rule.place.split_once('.'));
    let parent = match written {
        Some((parent, _)) => parent.to_owned(),
        None if policy.specs.len() > 1 => format!("specs[{number}]"),
        None => "spec".to_owned(),
    };
    let field = match (policy.id.kind, &spec.subject) {
        (PolicyKind::NetworkPolicy, _) => "podSelector",
        (
            PolicyKind::CiliumNetworkPolicy | PolicyKind::CiliumClusterwideNetworkPolicy,
            Subject::Workloads(_),
        ) => "endpointSelector",
        (_, Subject::Nodes(_)) => "nodeSelector",
        _ => "subject",
    };
    format!("{parent}.{field}")
}
