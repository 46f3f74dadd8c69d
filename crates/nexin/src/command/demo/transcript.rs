//! Prints the demo: the command lines, their results, and the rules that decided.

use super::play::{PlayedRequest, PlayedStep, Reporter};
use crate::session::{Session, Tone};
use crate::verdict;
use std::time::Duration;

/// Prints each step while it runs.
#[derive(Debug)]
pub(super) struct Transcript<'a>(pub(super) &'a Session);

/// Prints nothing, for JSON output.
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

    fn played(&mut self, step: &PlayedStep) -> anyhow::Result<()> {
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
    /// The verdict and its reason.
    fn decision(&self, probe: &PlayedRequest) -> String {
        let status = probe.status.map(|status| format!(" (HTTP {status})")).unwrap_or_default();
        let why = self.0.paint(Tone::Faint, verdict::reason(&probe.policy, &probe.reason));
        format!("{}{status}: {why}", verdict::painted(self.0, probe.verdict))
    }

    /// Prints the summary.
    pub(super) fn end(&self, steps: &[PlayedStep], took: Duration) -> anyhow::Result<()> {
        let failed = steps.iter().filter(|step| !step.held).count();
        let probes = steps.iter().filter(|step| step.probe.is_some()).count();
        let line = if failed == 0 {
            self.0.paint(Tone::Good, &format!("{probes} of {probes} requests behaved as expected"))
        } else {
            self.0.paint(Tone::Bad, &format!("{failed} of {} steps did not behave as expected", steps.len()))
        };
        Ok(self.0.print_line(&format!("\n{line} ({:.1} s).", took.as_secs_f64()))?)
    }
}

impl Reporter for Silent {
    fn scene(&mut self, _title: &str) -> anyhow::Result<()> {
        Ok(())
    }

    fn typed(&mut self, _line: &str) -> anyhow::Result<()> {
        Ok(())
    }

    fn played(&mut self, _step: &PlayedStep) -> anyhow::Result<()> {
        Ok(())
    }
}

/// The difference between the expected and the actual result.
fn difference(step: &PlayedStep) -> String {
    match &step.probe {
        None => "this command must succeed".into(),
        Some(probe) if probe.verdict != probe.expect => {
            format!("expected {}, got {}", probe.expect, probe.verdict)
        }
        Some(probe) if probe.policy != probe.verdict => {
            format!("explained as {}, but the result is {}", probe.policy, probe.verdict)
        }
        Some(_) => "the response is not app1's".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::global::{Color, Global, Output};

    fn probe(expect: &'static str, verdict: &'static str, policy: &str) -> PlayedStep {
        let probe = PlayedRequest {
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
        PlayedStep { scene: "", typed: String::new(), output: String::new(), held: false, probe: Some(probe) }
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
    fn a_failed_step_is_described_in_a_sentence() {
        let check = |step: PlayedStep, expected: &str| assert_eq!(difference(&step), expected);
        check(probe("deny", "allow", "deny"), "expected deny, got allow");
        check(probe("deny", "deny", "allow"), "explained as allow, but the result is deny");
        check(probe("allow", "allow", "allow"), "the response is not app1's");
        check(PlayedStep { probe: None, ..probe("", "", "") }, "this command must succeed");
    }
}
