//! A decision in sentences, for `nexin policy explain`.

use super::decision::{Basis, ConsideredRule, Decision, RuleOutcome, RuleRef, Verdict};
use super::mismatch::mismatches;
use super::query::{Context, Query};
use crate::rule::{Action, Tier};
use crate::text::Typed;
use std::cmp::Reverse;
use std::fmt;

/// A rule, its outcome, and the reason in words.
#[derive(Clone, Debug)]
pub struct ExplainedRule<'a> {
    /// The rule.
    pub rule: RuleRef<'a>,
    /// Its tier.
    pub tier: Tier,
    /// Its outcome.
    pub outcome: RuleOutcome,
    /// Why it decides, or what differs: `peer has app=db, needs app=web`.
    pub why: String,
    /// How much of it differs; see `Mismatch::distance`.
    missing: u32,
}

impl<'a> Decision<'a> {
    /// Every rule that selects the subject in this direction, in the order of evaluation, with the reason why it
    /// decides or not.
    pub fn explain_rules(&self, context: &Context<'_>, query: &Query<'_>) -> Vec<ExplainedRule<'a>> {
        let about = self.considered.iter().filter(|one| one.outcome > RuleOutcome::OtherDirection);
        let mut explained: Vec<ExplainedRule<'a>> =
            about.map(|one| self.explain_rule(one, context, query)).collect();
        explained.sort_by_key(|one| (one.tier, one.rule.rule.priority, one.rule.rule.action != Action::Deny));
        explained
    }

    /// The closest of the allowing rules, if the verdict is a denial; of several the first.
    pub fn nearest_of<'b>(&self, explained: &'b [ExplainedRule<'a>]) -> Option<&'b ExplainedRule<'a>> {
        let refused = matches!(
            (self.basis, self.verdict),
            (Basis::DefaultDeny | Basis::AlwaysDeny, _) | (Basis::Rule(_), Verdict::DenyRequest)
        );
        let allowing = explained.iter().filter(|one| refused && one.rule.rule.action == Action::Allow);
        let lacking = allowing.filter(|one| one.outcome < RuleOutcome::Outranked).rev();
        // A rule that allows the connection and other requests is closer than any rule that does not.
        lacking
            .max_by_key(|one| (one.outcome == RuleOutcome::OtherRequest, Reverse(one.missing), one.outcome))
    }

    /// The reason of the verdict; for default deny with the mismatch of the closest rule.
    pub fn reason(&self, explained: &[ExplainedRule<'a>]) -> String {
        let nearest = self.nearest_of(explained);
        let nearest = nearest.map(|one| format!("; nearest: {}: {}", one.rule, one.why)).unwrap_or_default();
        let why = match (self.basis, self.verdict) {
            (Basis::Rule(_), Verdict::DenyRequest) => "no rule allows the request".to_owned(),
            (Basis::AlwaysDeny, _) => {
                "no rule allows it, and the policy enforcement mode is `always`".to_owned()
            }
            (Basis::DefaultDeny, _) => "no rule allows it".to_owned(),
            _ => return self.to_string(),
        };
        format!("{}: {why}{nearest}", self.verdict)
    }

    /// The allowed requests as text; none if all are allowed.
    pub fn allowed_requests(&self) -> Option<Vec<String>> {
        let requests = self.requests.as_ref()?;
        Some(requests.iter().map(|rule| Typed(rule).to_string()).collect())
    }

    fn explain_rule(
        &self,
        one: &ConsideredRule<'a>,
        context: &Context<'_>,
        query: &Query<'_>,
    ) -> ExplainedRule<'a> {
        let missing = mismatches(one, context, query);
        let why = match (one.outcome, self.basis) {
            (RuleOutcome::Outranked, Basis::Rule(rule)) => format!("matches, but {rule} decides first"),
            (RuleOutcome::Outranked, _) => "matches, but is not evaluated".to_owned(),
            (RuleOutcome::Passes, _) => "matches, and passes to the next tier".to_owned(),
            (RuleOutcome::Decides, _) => match one.rule.rule.action {
                Action::Allow => "allows it".to_owned(),
                Action::Deny => "denies it".to_owned(),
                Action::Pass => "passes to the next tier".to_owned(),
            },
            _ => {
                let parts: Vec<&str> = missing.iter().map(|lack| lack.what.as_str()).collect();
                parts.join("; ")
            }
        };
        let missing = missing.iter().map(|lack| lack.distance).sum();
        ExplainedRule { rule: one.rule, tier: one.tier, outcome: one.outcome, why, missing }
    }
}

impl fmt::Display for Decision<'_> {
    /// The verdict and its reason, in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.verdict)?;
        match (self.basis, self.verdict) {
            (Basis::LocalHost, _) => f.write_str("a node may always connect to its own workloads"),
            (Basis::DefaultAllow, _) => f.write_str("no rule denies it, and no policy requires default deny"),
            (Basis::NeverDeny, _) => f.write_str("the policy enforcement mode is `never`"),
            (basis @ (Basis::DefaultDeny | Basis::AlwaysDeny), _) => {
                f.write_str("no rule allows it")?;
                if basis == Basis::AlwaysDeny {
                    f.write_str(", and the policy enforcement mode is `always`")?;
                }
                match self.nearest() {
                    Some(nearest) => write!(f, "; nearest: {nearest}"),
                    None => Ok(()),
                }
            }
            (Basis::Rule(rule), Verdict::DenyRequest) => {
                write!(f, "{rule} allows the connection, but no rule allows the request")
            }
            (Basis::Rule(rule), _) => self.rule().unwrap_or(rule).fmt(f),
        }
    }
}

impl fmt::Display for ConsideredRule<'_> {
    /// The rule, its outcome, and what the rule matches.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = self.rule.rule;
        write!(f, "{} ", self.rule)?;
        match self.outcome {
            RuleOutcome::OtherSubject => f.write_str("selects other subjects"),
            RuleOutcome::OtherDirection => f.write_str("applies to the other direction"),
            RuleOutcome::OtherPeer => write!(f, "matches other peers: {}", rule.peers),
            RuleOutcome::OtherTraffic => write!(f, "matches other traffic: {}", rule.traffic),
            RuleOutcome::OtherRequest => write!(f, "matches other requests: {}", rule.traffic),
            RuleOutcome::Outranked => f.write_str("matches, but another rule decides"),
            RuleOutcome::Passes => f.write_str("matches, and passes to the next tier"),
            RuleOutcome::Decides => f.write_str(match rule.action {
                Action::Allow => "allows it",
                Action::Deny => "denies it",
                Action::Pass => "passes to the next tier",
            }),
        }
    }
}

impl fmt::Display for RuleRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.policy, self.rule.place)
    }
}

impl fmt::Display for Verdict {
    /// The words of PolicyTest files.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::DenyRequest => "deny",
            Self::Drop => "drop",
        })
    }
}
