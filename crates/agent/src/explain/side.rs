//! What the policies of one end say of a connection, and which rules say so.

use super::end::End;
use api::view::{Considered, Side};
use policy::model::{self, Basis, Context, Finding, Query, Verdict};
use policy::rule::{Direction, Tier};
use policy::set::PolicySet;

/// Asks the policies of one end; the verdict is what becomes of it.
pub(super) fn side(policies: &PolicySet, subject: &End, query: &Query<'_>) -> (Verdict, Side) {
    let context = Context { catalog: policies.catalog(), mode: policies.mode() };
    let decision = model::verdict(policies.iter().map(|policy| &**policy), &context, query);
    let told = decision.told(&context, query);
    let nearest = decision.nearest_of(&told).map(|nearest| nearest.rule);
    let considered = told.iter().map(|one| Considered {
        rule: one.rule.to_string(),
        at: None,
        tier: tier_name(one.tier).into(),
        applies: one.finding > Finding::Outranked,
        nearest: nearest == Some(one.rule),
        finding: finding_name(one.finding).into(),
        why: one.why.clone(),
    });
    let mut side = Side {
        direction: if query.direction == Direction::Egress { "egress" } else { "ingress" }.into(),
        subject: subject.name.clone(),
        verdict: decision.verdict.to_string(),
        requests: decision.passing().filter(|_| query.request.is_none()),
        rule: decision.rule().map(|rule| rule.to_string()),
        reason: decision.reason(&told),
        considered: considered.collect(),
    };
    if told.is_empty()
        && decision.basis == Basis::DefaultAllow
        && let Some(nearest) = nearest_policy(policies, query)
    {
        side.reason = format!("{}; {nearest}", side.reason);
    }
    let verdict = if subject.audit { audited(decision.verdict, &mut side) } else { decision.verdict };
    (verdict, side)
}

/// In audit mode a connection is let through, whatever policy says of it; a request on it is not.
fn audited(verdict: Verdict, side: &mut Side) -> Verdict {
    if verdict != Verdict::Drop {
        return verdict;
    }
    side.verdict = Verdict::Allow.to_string();
    side.reason = format!(
        "{}: let through and reported, for audit mode is on; without it {}",
        side.verdict, side.reason
    );
    Verdict::Allow
}

/// Where no policy is about the subject: the one that nearly is.
pub(super) fn nearest_policy(policies: &PolicySet, query: &Query<'_>) -> Option<String> {
    let nearest = model::nearest_policy(policies.iter().map(|policy| &**policy), query)?;
    Some(format!("no policy is about it; nearest: {}: {}", nearest.policy, nearest.lacks))
}

/// The requests that pass all of these limits; nothing where there is no limit.
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

fn finding_name(finding: Finding) -> &'static str {
    match finding {
        Finding::OtherSubject => "other-subject",
        Finding::OtherDirection => "other-direction",
        Finding::OtherPeer => "other-peer",
        Finding::OtherTraffic => "other-traffic",
        Finding::OtherRequest => "other-request",
        Finding::Outranked => "outranked",
        Finding::Passes => "passes",
        Finding::Decides => "decides",
    }
}
