//! The verdict of one end's policies on a connection, with the rules that were considered.

use super::end::ConnectionEnd;
use api::view::{Considered, SideVerdict};
use policy::model::{self, Basis, Context, Query, RuleOutcome, Verdict};
use policy::rule::{Direction, Tier};
use policy::set::SubmittedPolicies;

/// Evaluates the policies of one end.
pub(super) fn side(
    policies: &SubmittedPolicies,
    subject: &ConnectionEnd,
    query: &Query<'_>,
) -> (Verdict, SideVerdict) {
    let context = Context { catalog: policies.catalog(), mode: policies.mode() };
    let decision = model::verdict(policies.iter().map(|policy| &**policy), &context, query);
    let considered_rules = decision.explain_rules(&context, query);
    let nearest = decision.nearest_of(&considered_rules).map(|nearest| nearest.rule);
    let considered = considered_rules.iter().map(|one| Considered {
        rule: one.rule.to_string(),
        at: None,
        tier: tier_name(one.tier).into(),
        applies: one.outcome > RuleOutcome::Outranked,
        nearest: nearest == Some(one.rule),
        finding: finding_name(one.outcome).into(),
        why: one.why.clone(),
    });
    let mut side = SideVerdict {
        direction: if query.direction == Direction::Egress { "egress" } else { "ingress" }.into(),
        subject: subject.name.clone(),
        verdict: decision.verdict.to_string(),
        requests: decision.allowed_requests().filter(|_| query.request.is_none()),
        rule: decision.rule().map(|rule| rule.to_string()),
        reason: decision.reason(&considered_rules),
        considered: considered.collect(),
    };
    if considered_rules.is_empty()
        && decision.basis == Basis::DefaultAllow
        && let Some(nearest) = nearest_policy(policies, query)
    {
        side.reason = format!("{}; {nearest}", side.reason);
    }
    let verdict = if subject.audit { audited(decision.verdict, &mut side) } else { decision.verdict };
    (verdict, side)
}

/// Audit mode allows a connection that policy drops; it does not allow a request that policy denies.
fn audited(verdict: Verdict, side: &mut SideVerdict) -> Verdict {
    if verdict != Verdict::Drop {
        return verdict;
    }
    side.verdict = Verdict::Allow.to_string();
    side.reason = format!(
        "{}: forwarded and reported, since audit mode is on; without it {}",
        side.verdict, side.reason
    );
    Verdict::Allow
}

/// If no policy selects the subject: the policy that is nearest to selecting it.
pub(super) fn nearest_policy(policies: &SubmittedPolicies, query: &Query<'_>) -> Option<String> {
    let nearest = model::nearest_policy(policies.iter().map(|policy| &**policy), query)?;
    Some(format!("no policy selects it; nearest: {}: {}", nearest.policy, nearest.lacks))
}

/// The requests that satisfy all of these limits; none if there is no limit.
pub fn in_common(limits: impl Iterator<Item = Vec<String>>) -> Option<Vec<String>> {
    limits.reduce(|some, others| {
        let both =
            some.iter().flat_map(|one| others.iter().map(move |other| format!("{one} and also {other}")));
        both.collect()
    })
}

fn tier_name(tier: Tier) -> &'static str {
    match tier {
        Tier::Admin => "admin",
        Tier::Normal => "normal",
        Tier::Baseline => "baseline",
    }
}

fn finding_name(finding: RuleOutcome) -> &'static str {
    match finding {
        RuleOutcome::OtherSubject => "other-subject",
        RuleOutcome::OtherDirection => "other-direction",
        RuleOutcome::OtherPeer => "other-peer",
        RuleOutcome::OtherTraffic => "other-traffic",
        RuleOutcome::OtherRequest => "other-request",
        RuleOutcome::Outranked => "outranked",
        RuleOutcome::Passes => "passes",
        RuleOutcome::Decides => "decides",
    }
}
