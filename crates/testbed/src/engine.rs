//! What an engine is: brought into a state, it answers crossings.

use crate::crossing::{Crossing, End};
use crate::state::State;
use manifest::test::{Expect, WorkloadName};
use policy::rule::Direction;
use std::error::Error;
use std::fmt;

/// One way to find verdicts.
pub trait Engine {
    /// What people call it.
    fn name(&self) -> &'static str;

    /// Brings it from the state it is in, at first an empty one, into another.
    fn prepare(&mut self, state: &State) -> Result<(), EngineError>;

    /// Asks about one crossing.
    fn ask(&mut self, crossing: &Crossing) -> Result<Answer, EngineError>;

    /// Asks about many crossings, in an order of its own or at the same time; the answers are in theirs.
    fn ask_all(&mut self, crossings: &[Crossing]) -> Vec<Result<Answer, EngineError>> {
        crossings.iter().map(|crossing| self.ask(crossing)).collect()
    }
}

/// A verdict and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What becomes of it.
    pub verdict: Expect,
    /// The rule that decided, as `Kind/namespace/name place`; none where the default did.
    pub rule: Option<String>,
    /// A sentence.
    pub reason: String,
}

/// Why an engine has no answer. None of this is a verdict.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// What stands behind it failed.
    #[error("{doing}: {source}")]
    Failed {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: Box<dyn Error + Send + Sync>,
    },
    /// What is asked cannot be asked here; other questions can.
    #[error("{0}")]
    Impossible(&'static str),
    /// A packet went where none may go.
    #[error("{from} to {to}: {what}")]
    Astray {
        /// The source address.
        from: std::net::IpAddr,
        /// The destination address.
        to: std::net::IpAddr,
        /// Where it went, and where it should have.
        what: &'static str,
    },
}

impl EngineError {
    /// Wraps what failed, for use with `map_err`.
    pub(crate) fn failed<E: Error + Send + Sync + 'static>(doing: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Failed { doing, source: Box::new(source) }
    }
}

impl fmt::Display for Answer {
    /// Verdict, rule and reason: `drop by no rule: ingress of x/b: …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = self.rule.as_deref().unwrap_or("no rule");
        write!(f, "{} by {rule}: {}", verdict_name(self.verdict), self.reason)
    }
}

impl Answer {
    /// Nothing stands in the way.
    pub(crate) fn allow(rule: Option<String>, reason: impl Into<String>) -> Self {
        Self { verdict: Expect::Allow, rule, reason: reason.into() }
    }

    /// The answer for what no policy is asked about, if the crossing is such.
    pub(crate) fn without_policy(crossing: &Crossing) -> Option<Self> {
        if crossing.frontend.is_some_and(|frontend| frontend.is_void()) {
            return None;
        }
        if crossing.is_internal() {
            return Some(Self::allow(None, "it never leaves where it begins"));
        }
        let asked = crossing.from.is_asked() || crossing.to.is_asked();
        (!asked).then(|| Self::allow(None, "neither end is on this node"))
    }
}

/// A verdict by its word in test files.
pub(crate) fn verdict_name(verdict: Expect) -> &'static str {
    match verdict {
        Expect::Allow => "allow",
        Expect::Drop => "drop",
        Expect::Deny => "deny",
    }
}

/// What becomes of what crosses to each of several backends: the worst, since a sender cannot choose among them.
pub fn worst(answers: impl IntoIterator<Item = Result<Answer, EngineError>>) -> Result<Answer, EngineError> {
    let severity = |answer: &Answer| match answer.verdict {
        Expect::Allow => 0,
        Expect::Deny => 1,
        Expect::Drop => 2,
    };
    let answers = answers.into_iter().collect::<Result<Vec<_>, _>>()?;
    let worse = |one: Answer, other: Answer| if severity(&other) > severity(&one) { other } else { one };
    Ok(answers.into_iter().reduce(worse).expect("a probe crosses to something"))
}

/// Whose policy said something, in reasons.
#[derive(Clone, Copy)]
pub(crate) struct Side<'a> {
    /// `egress` or `ingress`.
    pub(crate) direction: Direction,
    /// The workload; none: the node itself.
    pub(crate) subject: Option<&'a WorkloadName>,
}

impl<'a> Side<'a> {
    /// The side whose policies are asked about what goes this way at an end; none where none are.
    pub(crate) fn of(end: &'a End, direction: Direction) -> Option<Self> {
        match end {
            End::Workload(name) => Some(Self { direction, subject: Some(name) }),
            End::Host => Some(Self { direction, subject: None }),
            End::Node(_) | End::World => None,
        }
    }
}

impl fmt::Display for Side<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match self.direction {
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
        };
        match self.subject {
            Some(WorkloadName { namespace, name }) => write!(f, "{direction} of {namespace}/{name}"),
            None => write!(f, "{direction} of the node"),
        }
    }
}
