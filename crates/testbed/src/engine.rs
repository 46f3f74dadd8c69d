//! The trait of engines: an engine takes a state, and returns a verdict for each crossing.

use crate::crossing::{Crossing, CrossingEnd};
use crate::state::TestState;
use manifest::test::{Expect, WorkloadName};
use policy::rule::Direction;
use std::error::Error;
use std::fmt;
use std::time::Duration;

/// One implementation that returns verdicts.
pub trait Engine {
    /// The name in reports and on the command line.
    fn name(&self) -> &'static str;

    /// Moves the engine from its present state (at first the empty one) to another.
    fn prepare(&mut self, state: &TestState) -> Result<(), EngineError>;

    /// How long a crossing that is dropped is repeated where another verdict is expected: packets between real machines under
    /// load are lost and late.
    fn patience(&self) -> Duration {
        Duration::ZERO
    }

    /// Returns the verdict of one crossing.
    fn ask(&mut self, crossing: &Crossing) -> Result<EngineAnswer, EngineError>;

    /// Returns the verdicts of many crossings, in the order of the crossings. An engine may send them in any order or at the
    /// same time.
    fn ask_all(&mut self, crossings: &[Crossing]) -> Vec<Result<EngineAnswer, EngineError>> {
        crossings.iter().map(|crossing| self.ask(crossing)).collect()
    }
}

/// A verdict and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineAnswer {
    /// The verdict.
    pub verdict: Expect,
    /// The rule that decides, as `Kind/namespace/name place`; none where no rule does.
    pub rule: Option<String>,
    /// The reason, in one sentence.
    pub reason: String,
}

/// Why an engine has no verdict.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A system call, the agent, or another part that the engine needs failed.
    #[error("{doing}: {source}")]
    Failed {
        /// What the engine did.
        doing: &'static str,
        /// Why it failed.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The engine cannot send this crossing; others it can.
    #[error("{0}")]
    Impossible(&'static str),
    /// The packet path sent a packet to a wrong place.
    #[error("{from} to {to}: {what}")]
    Astray {
        /// The source address.
        from: std::net::IpAddr,
        /// The destination address.
        to: std::net::IpAddr,
        /// The place, and the right one.
        what: &'static str,
    },
}

impl EngineError {
    /// Wraps an error, for use with `map_err`.
    pub(crate) fn failed<E: Error + Send + Sync + 'static>(doing: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Failed { doing, source: Box::new(source) }
    }
}

impl fmt::Display for EngineAnswer {
    /// Verdict, rule and reason: `drop by no rule: ingress of x/b: …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = self.rule.as_deref().unwrap_or("no rule");
        write!(f, "{} by {rule}: {}", verdict_name(self.verdict), self.reason)
    }
}

impl EngineAnswer {
    /// An answer that allows the crossing.
    pub(crate) fn allow(rule: Option<String>, reason: impl Into<String>) -> Self {
        Self { verdict: Expect::Allow, rule, reason: reason.into() }
    }

    /// The answer for a crossing that no policy applies to; none for other crossings.
    pub(crate) fn without_policy(crossing: &Crossing) -> Option<Self> {
        if crossing.frontend.is_some_and(|frontend| frontend.is_void()) {
            return None;
        }
        if crossing.is_internal() {
            return Some(Self::allow(None, "both ends are the same, and no policy applies"));
        }
        let asked = crossing.from.is_enforced_here() || crossing.to.is_enforced_here();
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

/// The worst answer of several backends: a sender cannot choose among them.
pub fn worst(
    answers: impl IntoIterator<Item = Result<EngineAnswer, EngineError>>,
) -> Result<EngineAnswer, EngineError> {
    let severity = |answer: &EngineAnswer| match answer.verdict {
        Expect::Allow => 0,
        Expect::Deny => 1,
        Expect::Drop => 2,
    };
    let answers = answers.into_iter().collect::<Result<Vec<_>, _>>()?;
    let worse =
        |one: EngineAnswer, other: EngineAnswer| if severity(&other) > severity(&one) { other } else { one };
    Ok(answers.into_iter().reduce(worse).expect("a probe has at least one crossing"))
}

/// The subject whose policy decides, for reasons.
#[derive(Clone, Copy)]
pub(crate) struct DecidingSide<'a> {
    /// `egress` or `ingress`.
    pub(crate) direction: Direction,
    /// The workload; none: the node itself.
    pub(crate) subject: Option<&'a WorkloadName>,
}

impl<'a> DecidingSide<'a> {
    /// The side whose policies judge traffic in this direction at an end; none where this node enforces no policy there.
    pub(crate) fn of(end: &'a CrossingEnd, direction: Direction) -> Option<Self> {
        match end {
            CrossingEnd::Workload(name) => Some(Self { direction, subject: Some(name) }),
            CrossingEnd::Host => Some(Self { direction, subject: None }),
            CrossingEnd::Node(_) | CrossingEnd::World => None,
        }
    }
}

impl fmt::Display for DecidingSide<'_> {
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
