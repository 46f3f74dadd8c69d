//! What is legal but surely not meant: rules that can never matter, and selectors that can select nobody.
//!
//! Only what is certain is told: it holds whatever workloads, services, groups and other policies there are. So all rules
//! that are called shadowed or swallowed can be removed together, and no verdict changes.

mod constraint;
mod cover;
mod evaluation_order;
mod http_without_effect;
mod index;
mod requests;
mod same_priority;
#[cfg(test)]
mod tests;
mod unmatched;

use crate::book::RuleOrigin;
use crate::rule::{Action, Policy, PolicyId, PolicyKind, Spec, Subject};
use constraint::Constraints;
use cover::RuleView;
use evaluation_order::EvaluationOrder;
use http_without_effect::ConnectionAllows;
use index::RuleIndex;
use requests::ExpressionCache;
use std::fmt;
use std::rc::Rc;

/// Something that is surely not meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lint {
    /// The rule, or the selector of a subject.
    pub at: RuleOrigin,
    /// What is wrong with it.
    pub flaw: Flaw,
}

/// What can be wrong with a rule that is legal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It, or a part of it, can match nothing; the sentence says which and why.
    MatchesNothing(String),
    /// Another rule does the same for all that it is about, at its turn or before.
    Shadowed(RuleOrigin),
    /// A rule that does something else decides on all that it is about, before its turn comes.
    NeverDecides(RuleOrigin, Action),
    /// Denies that are asked before its turn comes refuse all that it is about, each a part of it.
    DeniedInParts(Vec<RuleOrigin>),
    /// Its HTTP rules ask nothing for some ports and peers, which the sentence's part names: another rule, or another part
    /// of it, allows the whole connection.
    HttpWithoutEffect(RuleOrigin, String),
    /// Another policy of its tier and priority says the opposite of some connections: which of them wins is undefined.
    SamePriority(RuleOrigin),
}

/// Looks for what is surely not meant, in the order of the policies.
///
/// Each rule is compared with those alone that share what is rarest in them ([`index`]), so that tens of thousands of
/// policies with subjects of their own take time in proportion.
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
    let (index, allows) = (RuleIndex::of(&entries), ConnectionAllows::of(&entries));
    for (number, entry) in entries.iter().enumerate() {
        let others = index.candidates(entry).map(|other| (other, &entries[other]));
        let flaws = match order.flaw((number, entry), others) {
            Some(flaw) => vec![flaw],
            None => {
                let others = index.candidates(entry).map(|other| &entries[other]);
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

/// Where the subject's selector stands, as rules call places.
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

impl Flaw {
    /// A word for it that tools can rely on.
    pub fn code(&self) -> &'static str {
        match self {
            Flaw::MatchesNothing(_) => "matches-nothing",
            Self::Shadowed(_) => "shadowed",
            Flaw::NeverDecides(..) | Flaw::DeniedInParts(_) => "never-decides",
            Flaw::HttpWithoutEffect(..) => "http-without-effect",
            Flaw::SamePriority(_) => "same-priority",
        }
    }

    /// The other rule that has to do with it.
    pub fn other(&self) -> Option<&RuleOrigin> {
        match self {
            Flaw::MatchesNothing(_) => None,
            Flaw::DeniedInParts(others) => others.first(),
            Self::Shadowed(other)
            | Flaw::NeverDecides(other, _)
            | Flaw::HttpWithoutEffect(other, _)
            | Flaw::SamePriority(other) => Some(other),
        }
    }
}

impl fmt::Display for Flaw {
    /// What is wrong, and what follows from it, in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::MatchesNothing(why) => f.write_str(why),
            Self::Shadowed(other) => write!(f, "adds nothing: {other} says all of this already"),
            Flaw::NeverDecides(other, action) => {
                let does = match action {
                    Action::Allow => "decides on all of this",
                    Action::Deny => "denies all of this",
                    Action::Pass => "leaves all of this to the next tier",
                };
                write!(f, "never decides anything: {other} is asked first and {does}")
            }
            Flaw::DeniedInParts(others) => {
                let others: Vec<String> = others.iter().map(ToString::to_string).collect();
                write!(
                    f,
                    "never decides anything: {} are asked first and deny all of this",
                    others.join(" and ")
                )
            }
            Flaw::HttpWithoutEffect(other, extent) => {
                write!(f, "HTTP rules have no effect for {extent}: {other} allows every request")
            }
            Flaw::SamePriority(other) => write!(
                f,
                "is of the same tier and priority as {other}, which says otherwise of some connections; which of the two \
                 wins is undefined, so give them different priorities"
            ),
        }
    }
}

impl fmt::Display for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.flaw)
    }
}

/// Where a rule stands.
fn origin(policy: &PolicyId, place: &std::sync::Arc<str>) -> RuleOrigin {
    RuleOrigin { policy: policy.clone().into(), place: place.clone() }
}
