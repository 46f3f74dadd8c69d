//! What can be wrong with a legal rule, as a value and as a sentence.

use crate::book::RuleOrigin;
use crate::rule::{Action, PolicyId};
use std::fmt;
use std::sync::Arc;

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
pub(super) fn origin(policy: &PolicyId, place: &Arc<str>) -> RuleOrigin {
    RuleOrigin { policy: policy.clone().into(), place: place.clone() }
}
