//! The model's answer, and what it found of each rule.

use crate::rule::{Action, HttpRule, PolicyId, Rule, Tier};
use std::collections::BTreeSet;

/// The verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// The connection, or the request, is allowed.
    Allow,
    /// The connection is allowed and the request is denied.
    DenyRequest,
    /// The connection is denied.
    Drop,
}

/// The reason of a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis<'a> {
    /// No rule decides, and a node may always connect to its own workloads, even if default deny applies
    /// ([`crate::book::RuleId::LOCAL_HOST`]).
    LocalHost,
    /// A rule; of several equal ones the first.
    Rule(RuleRef<'a>),
    /// No rule allows it, and a policy requires default deny.
    DefaultDeny,
    /// No rule allows it, and the enforcement mode is [`crate::rule::EnforcementMode::Always`].
    AlwaysDeny,
    /// No rule denies it, and no policy requires default deny.
    DefaultAllow,
    /// The enforcement mode is [`crate::rule::EnforcementMode::Never`].
    NeverDeny,
}

/// A rule and the policy it is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleRef<'a> {
    /// The policy.
    pub policy: &'a PolicyId,
    /// The rule.
    pub rule: &'a Rule,
}

/// A verdict, and how each rule contributed.
#[derive(Clone, Debug)]
pub struct Decision<'a> {
    /// The answer.
    pub verdict: Verdict,
    /// The reason for the verdict on the connection.
    pub basis: Basis<'a>,
    /// The allowed requests, if only some are.
    pub requests: Option<BTreeSet<&'a HttpRule>>,
    /// The outcome of each rule, in order.
    pub considered: Vec<ConsideredRule<'a>>,
}

/// A rule and its outcome.
#[derive(Clone, Copy, Debug)]
pub struct ConsideredRule<'a> {
    /// The rule.
    pub rule: RuleRef<'a>,
    /// Its tier.
    pub tier: Tier,
    /// Whether it matches, and what differs if it does not.
    pub outcome: RuleOutcome,
}

/// How closely a rule matches a query; the greater the closer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleOutcome {
    /// It selects other subjects.
    OtherSubject,
    /// It applies to the other direction.
    OtherDirection,
    /// It matches other peers.
    OtherPeer,
    /// It matches other ports or protocols.
    OtherTraffic,
    /// It matches other requests.
    OtherRequest,
    /// It matches, but a rule with precedence decides.
    Outranked,
    /// It matches, and passes to the next tier.
    Passes,
    /// It matches and decides, alone or together with equal rules.
    Decides,
}

impl<'a> Decision<'a> {
    pub(super) fn new(verdict: Verdict, rule: RuleRef<'a>) -> Self {
        Self { verdict, basis: Basis::Rule(rule), requests: None, considered: Vec::new() }
    }

    /// The rule that decides: on a request the rule that allows it, otherwise the rule that decides on the connection.
    pub fn rule(&self) -> Option<RuleRef<'a>> {
        match self.basis {
            Basis::Rule(_) if self.verdict == Verdict::Allow => {
                self.considered.iter().find(|one| one.outcome == RuleOutcome::Decides).map(|one| one.rule)
            }
            Basis::Rule(rule) => Some(rule),
            _ => None,
        }
    }

    /// The first of those allowing rules that match most closely.
    pub fn nearest(&self) -> Option<ConsideredRule<'a>> {
        let allowing = self.considered.iter().filter(|one| one.rule.rule.action == Action::Allow);
        let lacking = allowing.filter(|one| one.outcome < RuleOutcome::Outranked);
        lacking.rev().max_by_key(|one| one.outcome).copied()
    }
}
