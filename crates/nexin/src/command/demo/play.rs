//! Runs the script, and records the result of each step.

use super::client::Fetched;
use super::script::{ExpectedResponse, REFUSAL, SERVICE, Scene, ScriptAction};
use api::view::Explanation;
use serde::Serialize;
use std::process::Output;
use std::time::{Duration, Instant};

/// Runs the steps of the script.
pub(super) trait Runner {
    /// Runs a command; its first word is the program.
    fn run(&mut self, words: &[&str]) -> anyhow::Result<Ended>;
    /// The command line of a request from a workload, with a timeout in seconds.
    fn request_line(&self, from: &str, url: &str, patience: &str) -> String;
    /// Sends the request.
    fn fetch(&mut self, from: &str, url: &str, patience: &str) -> anyhow::Result<Fetched>;
    /// The verdict of policy on a request to a backend of the service.
    fn explain(&mut self, from: &str, path: &str) -> anyhow::Result<Explanation>;
    /// The time within which every node enforces a policy after the command that changed it.
    fn settling(&self) -> Duration;
}

/// Reports the run while it proceeds.
pub(super) trait Reporter {
    /// A scene starts.
    fn scene(&mut self, title: &str) -> anyhow::Result<()>;
    /// A command line is run.
    fn typed(&mut self, line: &str) -> anyhow::Result<()>;
    /// A step has ended.
    fn played(&mut self, step: &PlayedStep) -> anyhow::Result<()>;
}

/// The result of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    /// Its output on both streams.
    pub(super) output: String,
    /// Whether it succeeded.
    pub(super) success: bool,
}

impl From<Output> for Ended {
    fn from(Output { status, stdout, stderr }: Output) -> Self {
        let output = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).trim_end().to_string());
        let output = output.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n");
        Self { output, success: status.success() }
    }
}

/// A step with its result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct PlayedStep {
    /// Its scene.
    pub(super) scene: &'static str,
    /// The command line.
    pub(super) typed: String,
    /// Its output.
    pub(super) output: String,
    /// Whether it behaved as expected.
    pub(super) held: bool,
    /// The request, if the step is one.
    #[serde(flatten)]
    pub(super) probe: Option<PlayedRequest>,
}

/// A request and its result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct PlayedRequest {
    /// The client.
    pub(super) from: String,
    /// The service.
    pub(super) to: String,
    /// The path.
    pub(super) path: String,
    /// The expected verdict: `allow`, `deny` or `drop`.
    pub(super) expect: &'static str,
    /// The actual verdict; `error` if it is none of these.
    pub(super) verdict: &'static str,
    /// Status of the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<u16>,
    /// The verdict that `explain` computes.
    pub(super) policy: String,
    /// The rule that decides, if one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rule: Option<String>,
    /// The reason.
    pub(super) reason: String,
}

/// Time that a server may take to listen.
const STARTING: Duration = Duration::from_secs(3);

/// Runs all scenes, also after a step that fails.
pub(super) fn play(
    scenes: &'static [Scene],
    runner: &mut impl Runner,
    reporter: &mut dyn Reporter,
) -> anyhow::Result<Vec<PlayedStep>> {
    let mut steps = Vec::new();
    for scene in scenes {
        reporter.scene(scene.title)?;
        for action in scene.actions {
            let typed = typed(action, runner);
            reporter.typed(&typed)?;
            let step = match action {
                ScriptAction::Command(words) => command(runner.run(words)?, scene.title, typed),
                ScriptAction::Fetch { from, path, expect } => {
                    request(runner, (from, path, *expect), scene.title, typed)?
                }
            };
            reporter.played(&step)?;
            steps.push(step);
        }
    }
    Ok(steps)
}

/// The command line.
fn typed(action: &ScriptAction, runner: &impl Runner) -> String {
    match action {
        ScriptAction::Command(words) => words.join(" "),
        ScriptAction::Fetch { from, path, expect } => {
            runner.request_line(from, &url(path), expect.patience())
        }
    }
}

/// The URL of a path at the service.
fn url(path: &str) -> String {
    format!("http://{SERVICE}{path}")
}

fn command(ended: Ended, scene: &'static str, typed: String) -> PlayedStep {
    PlayedStep { scene, typed, output: ended.output, held: ended.success, probe: None }
}

fn request(
    runner: &mut impl Runner,
    (from, path, expect): (&str, &str, ExpectedResponse),
    scene: &'static str,
    typed: String,
) -> anyhow::Result<PlayedStep> {
    let (fetched, verdict) = fetch(runner, from, path, expect)?;
    let explanation = runner.explain(from, path)?;
    let (rule, reason) = deciding(&explanation);
    let held = verdict == expect.verdict() && explanation.verdict == verdict && body_fits(&fetched, expect);
    let probe = PlayedRequest {
        from: from.into(),
        to: SERVICE.into(),
        path: path.into(),
        expect: expect.verdict(),
        verdict,
        status: status(&fetched),
        policy: explanation.verdict,
        rule,
        reason,
    };
    Ok(PlayedStep { scene, typed, output: fetched.describe(), held, probe: Some(probe) })
}

/// Sends a request: the response and its verdict. Retries while the connection is refused, since the server may not listen yet, and
/// while a change of policy may not be in force on every node.
fn fetch(
    runner: &mut impl Runner,
    from: &str,
    path: &str,
    expect: ExpectedResponse,
) -> anyhow::Result<(Fetched, &'static str)> {
    let begin = Instant::now();
    loop {
        let fetched = runner.fetch(from, &url(path), expect.patience())?;
        let verdict = verdict(&fetched);
        let differs = verdict != expect.verdict() && begin.elapsed() < runner.settling();
        let is_starting = fetched == Fetched::Refused && begin.elapsed() < STARTING;
        if !differs && !is_starting {
            return Ok((fetched, verdict));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn verdict(fetched: &Fetched) -> &'static str {
    match fetched {
        Fetched::Answer { status: 200, .. } => "allow",
        Fetched::Answer { status: 403, body } if body == REFUSAL => "deny",
        Fetched::Silence => "drop",
        _ => "error",
    }
}

fn body_fits(fetched: &Fetched, expect: ExpectedResponse) -> bool {
    match (fetched, expect) {
        (Fetched::Answer { body, .. }, ExpectedResponse::Body(expected)) => body == expected,
        (_, ExpectedResponse::Body(_)) => false,
        (_, ExpectedResponse::Denied | ExpectedResponse::Silence) => true,
    }
}

fn status(fetched: &Fetched) -> Option<u16> {
    match fetched {
        Fetched::Answer { status, .. } => Some(*status),
        _ => None,
    }
}

/// The rule and reason of the side that denies; of the last side if none does.
fn deciding(explanation: &Explanation) -> (Option<String>, String) {
    let sides = &explanation.sides;
    let side = sides.iter().find(|side| side.verdict != "allow").or_else(|| sides.last());
    side.map_or((None, String::new()), |side| (side.rule.clone(), side.reason.clone()))
}

#[cfg(test)]
mod tests {
    use super::super::script::{PRIVATE, PUBLIC, SCENES};
    use super::super::transcript::Silent;
    use super::*;
    use api::view::SideVerdict;

    /// A runner that behaves as the tutorial describes, except for what a test spoils.
    #[derive(Default)]
    struct FakeRunner {
        applied: bool,
        spoil: Option<&'static str>,
        refusals: u32,
        /// The number of requests under the earlier policy, after a change.
        late: u32,
        settling: Duration,
    }

    impl FakeRunner {
        fn verdict(&self, from: &str, path: &str) -> &'static str {
            match (self.applied, from, path) {
                (true, "app2", "/private") => "deny",
                (true, "app3", _) => "drop",
                _ => "allow",
            }
        }
    }

    impl Runner for FakeRunner {
        fn run(&mut self, words: &[&str]) -> anyhow::Result<Ended> {
            self.applied |= words.ends_with(&["apply", "-f", "rule1.yaml"]);
            Ok(Ended { output: String::new(), success: true })
        }

        fn request_line(&self, from: &str, url: &str, patience: &str) -> String {
            format!("{from}: {url} within {patience} s")
        }

        fn settling(&self) -> Duration {
            self.settling
        }

        fn fetch(&mut self, from: &str, url: &str, _patience: &str) -> anyhow::Result<Fetched> {
            if self.late > 0 && self.applied {
                self.late -= 1;
                return Ok(Fetched::Answer { status: 200, body: PUBLIC.into() });
            }
            if self.refusals > 0 {
                self.refusals -= 1;
                return Ok(Fetched::Refused);
            }
            let path = url.strip_prefix("http://app1-service").unwrap();
            let answer = |status, body: &str| Fetched::Answer { status, body: body.into() };
            Ok(match self.verdict(from, path) {
                "deny" if self.spoil == Some("deny") => answer(200, PRIVATE),
                "drop" if self.spoil == Some("drop") => Fetched::CutShort,
                "deny" => answer(403, REFUSAL),
                "drop" => Fetched::Silence,
                _ if path == "/public" => answer(200, PUBLIC),
                _ => answer(200, PRIVATE),
            })
        }

        fn explain(&mut self, from: &str, path: &str) -> anyhow::Result<Explanation> {
            let verdict = if self.spoil == Some("explain") { "drop" } else { self.verdict(from, path) };
            let side = SideVerdict {
                requests: None,
                direction: "ingress".into(),
                subject: "default/app1-a".into(),
                verdict: verdict.into(),
                rule: self.applied.then(|| "CiliumNetworkPolicy/default/rule1 spec.ingress[0]".into()),
                reason: "because".into(),
                considered: vec![],
            };
            let (requests, notes, branches) = (None, Vec::new(), Vec::new());
            Ok(Explanation { verdict: verdict.into(), requests, notes, sides: vec![side], branches })
        }
    }

    fn failed(runner: &mut FakeRunner) -> Vec<String> {
        let steps = play(SCENES, runner, &mut Silent).unwrap();
        assert_eq!(steps.iter().filter(|step| step.probe.is_some()).count(), 7);
        steps.into_iter().filter(|step| !step.held).map(|step| step.typed).collect()
    }

    #[test]
    fn all_steps_pass_if_the_node_behaves_as_the_tutorial_describes() {
        assert_eq!(failed(&mut FakeRunner::default()), [""; 0]);
    }

    #[test]
    fn a_request_that_is_allowed_instead_of_denied_fails() {
        let wrong = failed(&mut FakeRunner { spoil: Some("deny"), ..FakeRunner::default() });
        assert_eq!(wrong, ["app2: http://app1-service/private within 5 s"]);
    }

    #[test]
    fn a_connection_that_is_closed_is_not_a_dropped_one() {
        let wrong = failed(&mut FakeRunner { spoil: Some("drop"), ..FakeRunner::default() });
        assert_eq!(wrong, ["app3: http://app1-service/public within 0.6 s"]);
    }

    #[test]
    fn an_explanation_that_differs_from_the_result_fails() {
        let wrong = failed(&mut FakeRunner { spoil: Some("explain"), ..FakeRunner::default() });
        assert_eq!(wrong.len(), 6, "all but the dropped request: {wrong:?}");
    }

    #[test]
    fn a_server_that_does_not_listen_yet_is_waited_for() {
        assert_eq!(failed(&mut FakeRunner { refusals: 2, ..FakeRunner::default() }), [""; 0]);
    }

    #[test]
    fn a_policy_that_is_in_force_a_moment_later_is_waited_for_where_nodes_differ() {
        let late = |settling| FakeRunner { late: 3, settling, ..FakeRunner::default() };
        assert_eq!(failed(&mut late(Duration::from_secs(5))), [""; 0]);
        assert_ne!(failed(&mut late(Duration::ZERO)), [""; 0]);
    }
}
