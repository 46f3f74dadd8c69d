//! The reference model: the verdict of policies on one connection or request, by sets and loops, with the reason.
//!
//! The model shares with [`crate::compile`] only the rules and the meaning of a selector. Where the two differ, one of
//! them is wrong.

mod applies;
mod decision;
mod explain;
mod mismatch;
mod near;
mod query;
mod request;

use crate::rule::{Action, Direction, EnforcementMode, HttpRule, Policy, Spec, Tier};
use abi::identity::HOST;
use std::collections::BTreeSet;

pub use decision::{Basis, ConsideredRule, Decision, RuleOutcome, RuleRef, Verdict};
pub use explain::ExplainedRule;
pub use near::{NearPolicy, nearest_policy};
pub use query::{Context, Query};

use applies::{examine, matching, only_requests, requests_of};

/// The decision of these policies on a connection or a request. The order of the policies only selects which of several
/// equal rules is named.
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
    let (verdict, basis) = match evaluate_tiers(&mut considered, isolation, query) {
        Ok(decision) => return Decision { considered, ..decision },
        Err(_) if is_of_own_node(query) => (Verdict::Allow, Basis::LocalHost),
        Err(otherwise) => otherwise,
    };
    Decision { verdict, basis, requests: None, considered }
}

/// Whether the node connects to one of its own workloads. The kubelet must reach the pods of its node, so only a deny
/// closes a workload to the node: neither default deny nor an HTTP rule does.
fn is_of_own_node(query: &Query<'_>) -> bool {
    query.direction == Direction::Ingress && query.peer.number == HOST && query.subject.number != HOST
}

/// After which tiers default deny applies.
#[derive(Clone, Copy, Debug, Default)]
struct Isolation {
    /// A spec before the baseline requires default deny.
    normal: bool,
    /// A spec of the baseline requires default deny.
    baseline: bool,
    /// Every connection needs a rule, whatever the specs require.
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

/// Evaluates tier after tier; without a decision the default decides.
fn evaluate_tiers<'a>(
    considered: &mut [ConsideredRule<'a>],
    isolation: Isolation,
    query: &Query<'_>,
) -> Result<Decision<'a>, (Verdict, Basis<'a>)> {
    for tier in [Tier::Admin, Tier::Normal, Tier::Baseline] {
        if tier == Tier::Baseline && isolation.normal {
            return Err((Verdict::Drop, Basis::DefaultDeny));
        }
        if let Some(decision) = evaluate_tier(tier, considered, isolation.denies(), query) {
            return Ok(decision);
        }
    }
    Err(match isolation {
        Isolation { baseline: true, .. } => (Verdict::Drop, Basis::DefaultDeny),
        Isolation { always: true, .. } => (Verdict::Drop, Basis::AlwaysDeny),
        _ => (Verdict::Allow, Basis::DefaultAllow),
    })
}

/// Evaluates the rules of one tier by priority. None: no rule decides.
fn evaluate_tier<'a>(
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
                false => Some(evaluate_requests(by_request, query)),
            };
        }
        if !passes.is_empty() {
            passes.into_iter().for_each(|one| one.outcome = RuleOutcome::Passes);
            return None;
        }
    }
    None
}

/// Marks these rules as deciding, and returns the first.
fn decide<'a>(rules: Vec<&mut ConsideredRule<'a>>) -> Option<RuleRef<'a>> {
    let first = rules.first().map(|one| one.rule);
    rules.into_iter().for_each(|one| one.outcome = RuleOutcome::Decides);
    first
}

/// Decides by HTTP rules alone: a request must match one of them.
fn evaluate_requests<'a>(rules: Vec<&mut ConsideredRule<'a>>, query: &Query<'_>) -> Decision<'a> {
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
