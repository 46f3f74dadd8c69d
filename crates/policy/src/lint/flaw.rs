//! What can be wrong with a legal rule, as a value and as a sentence.

use crate::book::RuleOrigin;
use crate::rule::{Action, PolicyId};
use std::fmt;
use std::sync::Arc;

/// A flaw, and the rule or selector that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lint {
    /// The rule, or the selector of the subject.
    pub at: RuleOrigin,
    /// The flaw.
    pub flaw: Flaw,
}

/// What can be wrong with a legal rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The rule, or a part of it, can match nothing. The text names the part and the reason.
    MatchesNothing(String),
    /// Another rule that decides no later does the same to everything that the rule matches.
    Shadowed(RuleOrigin),
    /// A rule with another action decides first on everything that the rule matches.
    NeverDecides(RuleOrigin, Action),
    /// Several denies that decide first together deny everything that the rule matches.
    DeniedInParts(Vec<RuleOrigin>),
    /// Its HTTP rules have no effect for the ports and peers in the text: another rule, or another part of this rule,
    /// allows the whole connection.
    HttpWithoutEffect(RuleOrigin, String),
    /// Another policy of its tier and priority has another action for some connections; which one wins is undefined.
    SamePriority(RuleOrigin),
}

impl Flaw {
    /// A stable identifier for tools.
    pub fn code(&self) -> &'static str {
        match self {
            Flaw::MatchesNothing(_) => "matches-nothing",
            Self::Shadowed(_) => "shadowed",
            Flaw::NeverDecides(..) | Flaw::DeniedInParts(_) => "never-decides",
            Flaw::HttpWithoutEffect(..) => "http-without-effect",
            Flaw::SamePriority(_) => "same-priority",
        }
    }

    /// The other rule involved, if there is one.
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
    /// The flaw and its consequence, in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::MatchesNothing(why) => f.write_str(why),
            Self::Shadowed(other) => write!(f, "adds nothing: {other} already covers all of this"),
            Flaw::NeverDecides(other, action) => {
                let does = match action {
                    Action::Allow => "allows all of this",
                    Action::Deny => "denies all of this",
                    Action::Pass => "passes all of this to the next tier",
                };
                write!(f, "never decides: {other} is evaluated first and {does}")
            }
            Flaw::DeniedInParts(others) => {
                let others: Vec<String> = others.iter().map(ToString::to_string).collect();
                write!(f, "never decides: {} are evaluated first and deny all of this", others.join(" and "))
            }
            Flaw::HttpWithoutEffect(other, extent) => {
                write!(f, "HTTP rules have no effect for {extent}: {other} allows every request")
            }
            Flaw::SamePriority(other) => write!(
                f,
                "has the same tier and priority as {other}, which has another action for some connections; which of the two \
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
