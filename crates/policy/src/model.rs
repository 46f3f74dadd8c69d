//! The reference: what policies say of one connection or request, by sets and loops, and why.
//!
//! Nothing here is shared with [`crate::compile`] but the rules themselves and what one peer selector means; where the
//! two differ, one is wrong.

mod applies;
mod explain;
mod mismatch;
mod near;
mod request;

use crate::catalog::Catalog;
use crate::endpoint_view::EndpointView;
use crate::rule::{Action, Direction, EnforcementMode, HttpRule, Policy, PolicyId, Rule, Spec, Tier};
use abi::identity::HOST;
use l7::rule::RequestView;
use std::collections::BTreeSet;

pub use explain::ExplainedRule;
pub use near::{NearPolicy, nearest_policy};

use applies::{examine, matching, only_requests, requests_of};

/// What holds beside the policies.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// What policies refer to.
    pub catalog: &'a Catalog,
    /// Whom policies are enforced for.
    pub mode: EnforcementMode,
}

/// What is asked, seen from one end.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// Which way the connection is opened, seen from the subject.
    pub direction: Direction,
    /// The end whose policies are asked.
    pub subject: EndpointView<'a>,
    /// The other end.
    pub peer: EndpointView<'a>,
    /// IP protocol number.
    pub protocol: u8,
    /// Destination port; for ICMP the type in the upper byte and the code in the lower.
    pub port: u16,
    /// The request, or nothing to ask about the connection alone.
    pub request: Option<RequestView<'a>>,
}

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

/// Asks policies about a connection or a request. The order of the policies only tells which of several rules that
/// say the same is named.
pub fn verdict<'a>(
    policies: impl IntoIterator<Item = &'a Policy>,
    context: &Context<'_>,
    query: &Query<'_>,
) -> Decision<'a> {
    let mut isolation = Isolation::default();
    let mut considered = Vec::new();
    for policy in policies {
        for spec in &policy.specs {
            let applies = spec.subject.selects(query.subject.number, query.subject.labels);
            if applies {
                isolation.note(spec, query.direction);
            }
            for rule in &spec.rules {
                let outcome = if applies { examine(rule, context, query) } else { RuleOutcome::OtherSubject };
                considered.push(ConsideredRule {
                    rule: RuleRef { policy: &policy.id, rule },
                    tier: spec.tier,
                    outcome,
                });
            }
        }
    }
    if context.mode == EnforcementMode::Never {
        let (verdict, basis) = (Verdict::Allow, Basis::NeverDeny);
        return Decision { verdict, basis, requests: None, considered };
    }
    isolation.always = context.mode == EnforcementMode::Always && query.subject.number != HOST;
    let (verdict, basis) = match ask_tiers(&mut considered, isolation, query) {
        Ok(decision) => return Decision { considered, ..decision },
        Err(_) if is_of_own_node(query) => (Verdict::Allow, Basis::LocalHost),
        Err(otherwise) => otherwise,
    };
    Decision { verdict, basis, requests: None, considered }
}

/// Whether the node speaks to one of its own workloads. The kubelet must reach what it looks after, so only a rule that
/// denies closes a workload to its node: neither default deny nor what rules say of requests does.
fn is_of_own_node(query: &Query<'_>) -> bool {
    query.direction == Direction::Ingress && query.peer.number == HOST && query.subject.number != HOST
}

/// At the end of which tier what no rule allowed is refused.
#[derive(Clone, Copy, Debug, Default)]
struct Isolation {
    /// A spec before the baseline asks for default deny.
    normal: bool,
    /// A spec of the baseline does.
    baseline: bool,
    /// Nobody is let through without a rule, whatever specs say.
    always: bool,
}

impl Isolation {
    fn note(&mut self, spec: &Spec, direction: Direction) {
        let asks = match direction {
            Direction::Ingress => spec.default_deny_ingress,
            Direction::Egress => spec.default_deny_egress,
        };
        match spec.tier {
            Tier::Admin | Tier::Normal => self.normal |= asks,
            Tier::Baseline => self.baseline |= asks,
        }
    }

    fn denies(&self) -> bool {
        self.normal || self.baseline || self.always
    }
}

/// Asks tier after tier; where none decides, the default does.
fn ask_tiers<'a>(
    considered: &mut [ConsideredRule<'a>],
    isolation: Isolation,
    query: &Query<'_>,
) -> Result<Decision<'a>, (Verdict, Basis<'a>)> {
    for tier in [Tier::Admin, Tier::Normal, Tier::Baseline] {
        if tier == Tier::Baseline && isolation.normal {
            return Err((Verdict::Drop, Basis::DefaultDeny));
        }
        if let Some(decision) = ask_tier(tier, considered, isolation.denies(), query) {
            return Ok(decision);
        }
    }
    Err(match isolation {
        Isolation { baseline: true, .. } => (Verdict::Drop, Basis::DefaultDeny),
        Isolation { always: true, .. } => (Verdict::Drop, Basis::AlwaysDeny),
        _ => (Verdict::Allow, Basis::DefaultAllow),
    })
}

/// Asks the rules of one tier, priority by priority; nothing where none decides.
fn ask_tier<'a>(
    tier: Tier,
    considered: &mut [ConsideredRule<'a>],
    default_deny: bool,
    query: &Query<'_>,
) -> Option<Decision<'a>> {
    let applies = |one: &ConsideredRule<'_>| one.outcome == RuleOutcome::Outranked && one.tier == tier;
    let priorities: BTreeSet<u32> =
        considered.iter().filter(|one| applies(one)).map(|one| one.rule.rule.priority).collect();
    for priority in priorities {
        let asked = considered.iter_mut().filter(|one| applies(one) && one.rule.rule.priority == priority);
        let (denies, others): (Vec<_>, Vec<_>) = asked.partition(|one| one.rule.rule.action == Action::Deny);
        if let Some(first) = decide(denies) {
            return Some(Decision::new(Verdict::Drop, first));
        }
        let (allows, passes): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|one| one.rule.rule.action == Action::Allow);
        let (by_request, whole): (Vec<_>, Vec<_>) =
            allows.into_iter().partition(|one| default_deny && only_requests(one.rule.rule, query));
        if let Some(first) = decide(whole) {
            return Some(Decision::new(Verdict::Allow, first));
        }
        if !by_request.is_empty() {
            return match is_of_own_node(query) {
                true => decide(by_request).map(|first| Decision::new(Verdict::Allow, first)),
                false => Some(ask_requests(by_request, query)),
            };
        }
        if !passes.is_empty() {
            passes.into_iter().for_each(|one| one.outcome = RuleOutcome::Passes);
            return None;
        }
    }
    None
}

/// Lets these rules decide; the first is named.
fn decide<'a>(rules: Vec<&mut ConsideredRule<'a>>) -> Option<RuleRef<'a>> {
    let first = rules.first().map(|one| one.rule);
    rules.into_iter().for_each(|one| one.outcome = RuleOutcome::Decides);
    first
}

/// Only rules about requests allow the connection: a request must match one of them.
fn ask_requests<'a>(rules: Vec<&mut ConsideredRule<'a>>, query: &Query<'_>) -> Decision<'a> {
    let first = rules[0].rule;
    let mut requests = BTreeSet::new();
    let mut allowed = query.request.is_none();
    for one in rules {
        let http: Vec<&HttpRule> = matching(one.rule.rule, query).filter_map(requests_of).flatten().collect();
        let fits =
            query.request.is_none_or(|request| http.iter().any(|rule| request::matches(rule, &request)));
        allowed |= fits;
        one.outcome = if fits { RuleOutcome::Decides } else { RuleOutcome::OtherRequest };
        requests.extend(http);
    }
    let verdict = if allowed { Verdict::Allow } else { Verdict::DenyRequest };
    Decision { requests: Some(requests), ..Decision::new(verdict, first) }
}

impl<'a> Decision<'a> {
    fn new(verdict: Verdict, rule: RuleRef<'a>) -> Self {
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
