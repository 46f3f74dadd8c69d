//! A decision in sentences, for `policy explain`.

use super::lack::lack;
use super::{Basis, Considered, Context, Decision, Finding, Query, RuleRef, Verdict};
use crate::rule::{Action, Tier};
use crate::text::Typed;
use std::cmp::Reverse;
use std::fmt;

/// What was found of a rule, in terms of what differs.
#[derive(Clone, Debug)]
pub struct Told<'a> {
    /// The rule.
    pub rule: RuleRef<'a>,
    /// When it is asked.
    pub tier: Tier,
    /// What was found of it.
    pub finding: Finding,
    /// Why it decides, or what is missing: `peer has app=db, needs app=web`.
    pub why: String,
    /// How much of it does not hold; see `Lack::distance`.
    missing: u32,
}

impl<'a> Decision<'a> {
    /// Every rule about the subject and the direction in the order in which they are asked, and why it does or does not
    /// decide.
    pub fn told(&self, context: &Context<'_>, query: &Query<'_>) -> Vec<Told<'a>> {
        let about = self.considered.iter().filter(|one| one.finding > Finding::OtherDirection);
        let mut told: Vec<Told<'a>> = about.map(|one| self.tell(one, context, query)).collect();
        told.sort_by_key(|one| (one.tier, one.rule.rule.priority, one.rule.rule.action != Action::Deny));
        told
    }

    /// Where nothing allows it: of the rules that would, the one that lacks least, of several the first.
    pub fn nearest_of<'b>(&self, told: &'b [Told<'a>]) -> Option<&'b Told<'a>> {
        let refused = matches!(
            (self.basis, self.verdict),
            (Basis::DefaultDeny | Basis::AlwaysDeny, _) | (Basis::Rule(_), Verdict::DenyRequest)
        );
        let allowing = told.iter().filter(|one| refused && one.rule.rule.action == Action::Allow);
        let lacking = allowing.filter(|one| one.finding < Finding::Outranked).rev();
        // A rule that lets the connection through and other requests on it is nearer than any that does not.
        lacking.max_by_key(|one| (one.finding == Finding::OtherRequest, Reverse(one.missing), one.finding))
    }

    /// Why the answer is what it is; of a default deny what the nearest of the rules lacks.
    pub fn reason(&self, told: &[Told<'a>]) -> String {
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

    fn tell(&self, one: &Considered<'a>, context: &Context<'_>, query: &Query<'_>) -> Told<'a> {
        let missing = lack(one, context, query);
        let why = match (one.finding, self.basis) {
            (Finding::Outranked, Basis::Rule(rule)) => format!("applies, but {rule} decides before"),
            (Finding::Outranked, _) => "applies, but is not asked".to_owned(),
            (Finding::Passes, _) => "applies, and leaves it to the next tier".to_owned(),
            (Finding::Decides, _) => match one.rule.rule.action {
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
        Told { rule: one.rule, tier: one.tier, finding: one.finding, why, missing }
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

impl fmt::Display for Considered<'_> {
    /// The rule, what was found, and what would be right.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = self.rule.rule;
        write!(f, "{} ", self.rule)?;
        match self.finding {
            Finding::OtherSubject => f.write_str("is about other subjects"),
            Finding::OtherDirection => f.write_str("is about the other direction"),
            Finding::OtherPeer => write!(f, "is about other peers: {}", rule.peers),
            Finding::OtherTraffic => write!(f, "is about other traffic: {}", rule.traffic),
            Finding::OtherRequest => write!(f, "is about other requests: {}", rule.traffic),
            Finding::Outranked => f.write_str("applies, but another rule decides"),
            Finding::Passes => f.write_str("applies, and leaves it to the next tier"),
            Finding::Decides => f.write_str(match rule.action {
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
