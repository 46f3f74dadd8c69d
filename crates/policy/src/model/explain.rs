//! A decision in sentences, for `policy explain`.

use super::{Basis, Considered, Decision, Finding, RuleRef, Verdict};
use crate::rule::Action;
use std::fmt;

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
