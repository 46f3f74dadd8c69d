//! The demo as a person sees it: what is typed, what came of it, and which rule decided.

use super::play::{Probe, Reporter, Step};
use crate::session::{Session, Tone};
use crate::verdict;
use std::time::Duration;

/// Prints each step as it is played.
#[derive(Debug)]
pub(super) struct Transcript<'a>(pub(super) &'a Session);

/// Watches in silence, for output as JSON.
#[derive(Debug)]
pub(super) struct Silent;

impl Reporter for Transcript<'_> {
    fn scene(&mut self, title: &str) -> anyhow::Result<()> {
        self.0.print_line("")?;
        Ok(self.0.print_line(&self.0.paint(Tone::Strong, &format!("# {title}")))?)
    }

    fn typed(&mut self, line: &str) -> anyhow::Result<()> {
        Ok(self.0.print_line(&format!("$ {line}"))?)
    }

    fn played(&mut self, step: &Step) -> anyhow::Result<()> {
        if !step.output.is_empty() {
            self.0.print_line(&step.output)?;
        }
        if let Some(probe) = &step.probe {
            self.0.print_line(&format!("  {}", self.decision(probe)))?;
        }
        if !step.held {
            self.0.print_line(&self.0.paint(Tone::Bad, &format!("  {}", difference(step))))?;
        }
        Ok(())
    }
}

impl Transcript<'_> {
    /// What happened, and why.
    fn decision(&self, probe: &Probe) -> String {
        let status = probe.status.map(|status| format!(" (HTTP {status})")).unwrap_or_default();
        let why = self.0.paint(Tone::Faint, verdict::reason(&probe.policy, &probe.reason));
        format!("{}{status}: {why}", verdict::painted(self.0, probe.verdict))
    }

    /// Prints how it went.
    pub(super) fn end(&self, steps: &[Step], took: Duration) -> anyhow::Result<()> {
        let failed = steps.iter().filter(|step| !step.held).count();
        let probes = steps.iter().filter(|step| step.probe.is_some()).count();
        let line = if failed == 0 {
            self.0.paint(Tone::Good, &format!("All {probes} requests came to what they had to"))
        } else {
            self.0.paint(
                Tone::Bad,
                &format!("{failed} of {} steps did not come to what they had to", steps.len()),
            )
        };
        Ok(self.0.print_line(&format!("\n{line} in {:.1} s.", took.as_secs_f64()))?)
    }
}

impl Reporter for Silent {
    fn scene(&mut self, _title: &str) -> anyhow::Result<()> {
        Ok(())
    }

    fn typed(&mut self, _line: &str) -> anyhow::Result<()> {
        Ok(())
    }

    fn played(&mut self, _step: &Step) -> anyhow::Result<()> {
        Ok(())
    }
}

/// What is wrong with a step that did not hold.
fn difference(step: &Step) -> String {
    match &step.probe {
        None => "this command had to succeed".into(),
        Some(probe) if probe.verdict != probe.expect => {
            format!("this had to come to {}, not to {}", probe.expect, probe.verdict)
        }
        Some(probe) if probe.policy != probe.verdict => {
            format!("policy explains this as {}, but it came to {}", probe.policy, probe.verdict)
        }
        Some(_) => "the answer is not the one that app1 gives".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::global::{Color, Global, Output};

    fn probe(expect: &'static str, verdict: &'static str, policy: &str) -> Step {
        let probe = Probe {
            from: "app2".into(),
            to: "app1-service".into(),
            path: "/private".into(),
            expect,
            verdict,
            status: Some(403),
            policy: policy.into(),
            rule: Some("CiliumNetworkPolicy/default/rule1 spec.ingress[0]".into()),
            reason: "deny: rule1 spec.ingress[0] does not allow the request".into(),
        };
        Step { scene: "", typed: String::new(), output: String::new(), held: false, probe: Some(probe) }
    }

    #[test]
    fn a_decision_names_verdict_status_and_reason() {
        let session = Session::new(Global { socket: None, output: Output::Text, color: Color::Never });
        let step = probe("deny", "deny", "deny");
        assert_eq!(
            Transcript(&session).decision(&step.probe.unwrap()),
            "deny (HTTP 403): rule1 spec.ingress[0] does not allow the request"
        );
    }

    #[test]
    fn what_did_not_hold_is_told_in_a_sentence() {
        let check = |step: Step, expected: &str| assert_eq!(difference(&step), expected);
        check(probe("deny", "allow", "deny"), "this had to come to deny, not to allow");
        check(probe("deny", "deny", "allow"), "policy explains this as allow, but it came to deny");
        check(probe("allow", "allow", "allow"), "the answer is not the one that app1 gives");
        check(Step { probe: None, ..probe("", "", "") }, "this command had to succeed");
    }
}
