//! A decision in sentences, for `policy explain`.

use super::mismatch::mismatches;
use super::{Basis, ConsideredRule, Context, Decision, Query, RuleOutcome, RuleRef, Verdict};
use crate::rule::{Action, Tier};
use crate::text::Typed;
use std::cmp::Reverse;
use std::fmt;

/// What was found of a rule, in terms of what differs.
#[derive(Clone, Debug)]
pub struct ExplainedRule<'a> {
    /// The rule.
    pub rule: RuleRef<'a>,
    /// When it is asked.
    pub tier: Tier,
    /// What was found of it.
    pub outcome: RuleOutcome,
    /// Why it decides, or what is missing: `peer has app=db, needs app=web`.
    pub why: String,
    /// How much of it does not hold; see `Mismatch::distance`.
    missing: u32,
}

impl<'a> Decision<'a> {
    /// Every rule about the subject and the direction in the order in which they are asked, and why it does or does not
    /// decide.
    pub fn explain_rules(&self, context: &Context<'_>, query: &Query<'_>) -> Vec<ExplainedRule<'a>> {
        let about = self.considered.iter().filter(|one| one.outcome > RuleOutcome::OtherDirection);
        let mut told: Vec<ExplainedRule<'a>> =
            about.map(|one| self.explain_rule(one, context, query)).collect();
        told.sort_by_key(|one| (one.tier, one.rule.rule.priority, one.rule.rule.action != Action::Deny));
        told
    }

    /// Where nothing allows it: of the rules that would, the one that lacks least, of several the first.
    pub fn nearest_of<'b>(&self, told: &'b [ExplainedRule<'a>]) -> Option<&'b ExplainedRule<'a>> {
        let refused = matches!(
            (self.basis, self.verdict),
            (Basis::DefaultDeny | Basis::AlwaysDeny, _) | (Basis::Rule(_), Verdict::DenyRequest)
        );
        let allowing = told.iter().filter(|one| refused && one.rule.rule.action == Action::Allow);
        let lacking = allowing.filter(|one| one.outcome < RuleOutcome::Outranked).rev();
        // A rule that lets the connection through and other requests on it is nearer than any that does not.
        lacking
            .max_by_key(|one| (one.outcome == RuleOutcome::OtherRequest, Reverse(one.missing), one.outcome))
    }

    /// Why the answer is what it is; of a default deny what the nearest of the rules lacks.
    pub fn reason(&self, told: &[ExplainedRule<'a>]) -> String {
        let nearest = self.nearest_of(told);
        let nearest = nearest.map(|one| format!("; nearest: {}: {}", one.rule, one.why)).unwrap_or_default();
        let why = match (self.basis, self.verdict) {
            (Basis::Rule(_), Verdict::DenyRequest) => "no rule allows the request".to_owned(),
            (Basis::AlwaysDeny, _) => {
                "no rule allows it, and policies are enforced for everyone (policy enforcement `always`)"
                    .to_owned()
            }
            (Basis::DefaultDeny, _) => "no rule allows it".to_owned(),
            _ => return self.to_string(),
        };
        format!("{}: {why}{nearest}", self.verdict)
    }

    /// The requests that may pass, as they would be typed; nothing where any may.
    pub fn passing(&self) -> Option<Vec<String>> {
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
            (RuleOutcome::Outranked, Basis::Rule(rule)) => format!("applies, but {rule} decides before"),
            (RuleOutcome::Outranked, _) => "applies, but is not asked".to_owned(),
            (RuleOutcome::Passes, _) => "applies, and leaves it to the next tier".to_owned(),
            (RuleOutcome::Decides, _) => match one.rule.rule.action {
                Action::Allow => "allows it".to_owned(),
                Action::Deny => "denies it".to_owned(),
                Action::Pass => "leaves it to the next tier".to_owned(),
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
    /// The answer and what it rests on, in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.verdict)?;
        match (self.basis, self.verdict) {
            (Basis::LocalHost, _) => f.write_str("a node may always speak to its own workloads"),
            (Basis::DefaultAllow, _) => {
                f.write_str("no rule refuses it, and no policy asks for default deny")
            }
            (Basis::NeverDeny, _) => {
                f.write_str("policies are enforced for nobody (policy enforcement `never`)")
            }
            (basis @ (Basis::DefaultDeny | Basis::AlwaysDeny), _) => {
                f.write_str("no rule allows it")?;
                if basis == Basis::AlwaysDeny {
                    f.write_str(", and policies are enforced for everyone (policy enforcement `always`)")?;
                }
                match self.nearest() {
                    Some(nearest) => write!(f, "; nearest: {nearest}"),
                    None => Ok(()),
                }
            }
            (Basis::Rule(rule), Verdict::DenyRequest) => {
                write!(f, "{rule} lets the connection through, but no rule the request")
            }
            (Basis::Rule(rule), _) => self.rule().unwrap_or(rule).fmt(f),
        }
    }
}

impl fmt::Display for ConsideredRule<'_> {
    /// The rule, what was found, and what would be right.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = self.rule.rule;
        write!(f, "{} ", self.rule)?;
        match self.outcome {
            RuleOutcome::OtherSubject => f.write_str("is about other subjects"),
            RuleOutcome::OtherDirection => f.write_str("is about the other direction"),
            RuleOutcome::OtherPeer => write!(f, "is about other peers: {}", rule.peers),
            RuleOutcome::OtherTraffic => write!(f, "is about other traffic: {}", rule.traffic),
            RuleOutcome::OtherRequest => write!(f, "is about other requests: {}", rule.traffic),
            RuleOutcome::Outranked => f.write_str("applies, but another rule decides"),
            RuleOutcome::Passes => f.write_str("applies, and leaves it to the next tier"),
            RuleOutcome::Decides => f.write_str(match rule.action {
                Action::Allow => "allows it",
                Action::Deny => "denies it",
                Action::Pass => "leaves it to the next tier",
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
