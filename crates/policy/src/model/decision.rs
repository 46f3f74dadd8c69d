//! The model's answer, and what it found of each rule.

use crate::rule::{Action, HttpRule, PolicyId, Rule, Tier};
use std::collections::BTreeSet;

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// The connection, or the request on it, is let through.
    Allow,
    /// The connection is let through and the request on it refused.
    DenyRequest,
    /// The connection is refused.
    Drop,
}

/// What the answer rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis<'a> {
    /// No rule decides, and a node may then always speak to its own workloads, also where default deny would refuse it
    /// ([`crate::book::RuleId::LOCAL_HOST`]).
    LocalHost,
    /// A rule. Where several say the same, the first.
    Rule(RuleRef<'a>),
    /// No rule allows it, and a policy asks for default deny.
    DefaultDeny,
    /// No rule allows it, and policies are enforced for every workload ([`EnforcementMode::Always`]).
    AlwaysDeny,
    /// No rule refuses it, and no policy asks for default deny.
    DefaultAllow,
    /// Policies are enforced for nobody ([`EnforcementMode::Never`]).
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

/// The answer and how it came about.
#[derive(Clone, Debug)]
pub struct Decision<'a> {
    /// The answer.
    pub verdict: Verdict,
    /// What decides on the connection.
    pub basis: Basis<'a>,
    /// The requests that may pass, where only some may.
    pub requests: Option<BTreeSet<&'a HttpRule>>,
    /// What was found of each rule, in order.
    pub considered: Vec<ConsideredRule<'a>>,
}

/// What was found of a rule.
#[derive(Clone, Copy, Debug)]
pub struct ConsideredRule<'a> {
    /// The rule.
    pub rule: RuleRef<'a>,
    /// When it is asked.
    pub tier: Tier,
    /// Whether it applies, and what it lacks where it does not.
    pub outcome: RuleOutcome,
}

/// How far a rule goes towards applying; the greater is the nearer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleOutcome {
    /// It is about other subjects.
    OtherSubject,
    /// It is about the other direction.
    OtherDirection,
    /// It is about other peers.
    OtherPeer,
    /// It is about other ports or protocols.
    OtherTraffic,
    /// It is about other requests.
    OtherRequest,
    /// It applies, but a rule that is asked before it, or that beats it, decides.
    Outranked,
    /// It applies, and leaves the decision to the next tier.
    Passes,
    /// It applies and decides, alone or with others that say the same.
    Decides,
}

impl<'a> Decision<'a> {
    pub(super) fn new(verdict: Verdict, rule: RuleRef<'a>) -> Self {
        Self { verdict, basis: Basis::Rule(rule), requests: None, considered: Vec::new() }
    }

    /// The rule that decides: of a request the one that lets it through, otherwise that on the connection.
    pub fn rule(&self) -> Option<RuleRef<'a>> {
        match self.basis {
            Basis::Rule(_) if self.verdict == Verdict::Allow => {
                self.considered.iter().find(|one| one.outcome == RuleOutcome::Decides).map(|one| one.rule)
            }
            Basis::Rule(rule) => Some(rule),
            _ => None,
        }
    }

    /// Of the rules that would have allowed it, the first of those that lack least.
    pub fn nearest(&self) -> Option<ConsideredRule<'a>> {
        let allowing = self.considered.iter().filter(|one| one.rule.rule.action == Action::Allow);
        let lacking = allowing.filter(|one| one.outcome < RuleOutcome::Outranked);
        lacking.rev().max_by_key(|one| one.outcome).copied()
    }
}
