//! Plays the script on a runner, and notes what came of each step.

use super::client::Fetched;
use super::script::{Action, BACKEND, Expect, REFUSAL, SERVICE, Scene};
use api::view::Explanation;
use serde::Serialize;
use std::time::{Duration, Instant};

/// What the script needs of the world.
pub(super) trait Runner {
    /// Runs a command of Nexin's.
    fn nexin(&mut self, words: &[&str]) -> anyhow::Result<Ended>;
    /// Asks for something from within a workload, for so many seconds at most.
    fn fetch(&mut self, from: &str, url: &str, patience: &str) -> anyhow::Result<Fetched>;
    /// What policy says of a request.
    fn explain(&mut self, from: &str, to: &str, path: &str) -> anyhow::Result<Explanation>;
}

/// Who watches.
pub(super) trait Reporter {
    /// A scene begins.
    fn scene(&mut self, title: &str) -> anyhow::Result<()>;
    /// Something was typed.
    fn typed(&mut self, line: &str) -> anyhow::Result<()>;
    /// It came to this.
    fn played(&mut self, step: &Step) -> anyhow::Result<()>;
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    /// What it printed, on either stream.
    pub(super) output: String,
    /// Whether it succeeded.
    pub(super) success: bool,
}

/// One step as it was played.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Step {
    /// The scene it is part of.
    pub(super) scene: &'static str,
    /// What a person would type.
    pub(super) typed: String,
    /// What that printed.
    pub(super) output: String,
    /// Whether it came to what it had to.
    pub(super) held: bool,
    /// The request, where it is one.
    #[serde(flatten)]
    pub(super) probe: Option<Probe>,
}

/// A request, and what was made of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Probe {
    /// The workload that asked.
    pub(super) from: String,
    /// The service it asked.
    pub(super) to: String,
    /// What it asked for.
    pub(super) path: String,
    /// What must come of it: `allow`, `deny` or `drop`.
    pub(super) expect: &'static str,
    /// What came of it; `error` where it is neither.
    pub(super) verdict: &'static str,
    /// Status of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<u16>,
    /// What policy says of it.
    pub(super) policy: String,
    /// The rule that decides, where one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rule: Option<String>,
    /// Why.
    pub(super) reason: String,
}

/// How long a server that was just started may refuse connections.
const STARTING: Duration = Duration::from_secs(3);

/// Plays all scenes; after a step that does not hold it goes on, so that everything is seen.
pub(super) fn play(
    scenes: &'static [Scene],
    runner: &mut impl Runner,
    reporter: &mut dyn Reporter,
) -> anyhow::Result<Vec<Step>> {
    let mut steps = Vec::new();
    for scene in scenes {
        reporter.scene(scene.title)?;
        for action in scene.actions {
            let typed = typed(action);
            reporter.typed(&typed)?;
            let step = match action {
                Action::Nexin(words) => command(runner.nexin(words)?, scene.title, typed),
                Action::Fetch { from, path, expect } => {
                    request(runner, (from, path, *expect), scene.title, typed)?
                }
            };
            reporter.played(&step)?;
            steps.push(step);
        }
    }
    Ok(steps)
}

/// What a person would type.
fn typed(action: &Action) -> String {
    match action {
        Action::Nexin(words) => format!("nexin {}", words.join(" ")),
        Action::Fetch { from, path, expect } => {
            format!("nexin exec {from} -- curl -sS -m {} http://{SERVICE}{path}", expect.patience())
        }
    }
}

fn command(ended: Ended, scene: &'static str, typed: String) -> Step {
    Step { scene, typed, output: ended.output, held: ended.success, probe: None }
}

fn request(
    runner: &mut impl Runner,
    (from, path, expect): (&str, &str, Expect),
    scene: &'static str,
    typed: String,
) -> anyhow::Result<Step> {
    let fetched = fetch(runner, from, path, expect)?;
    let verdict = verdict(&fetched);
    let explanation = runner.explain(from, BACKEND, path)?;
    let (rule, reason) = deciding(&explanation);
    let held = verdict == expect.verdict() && explanation.verdict == verdict && body_fits(&fetched, expect);
    let probe = Probe {
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
    Ok(Step { scene, typed, output: fetched.describe(), held, probe: Some(probe) })
}

/// Asks, and asks again while the server is only starting: nobody listens there yet, and the kernel says so.
fn fetch(runner: &mut impl Runner, from: &str, path: &str, expect: Expect) -> anyhow::Result<Fetched> {
    let until = Instant::now() + STARTING;
    loop {
        let fetched = runner.fetch(from, &format!("http://{SERVICE}{path}"), expect.patience())?;
        if fetched != Fetched::Refused || Instant::now() > until {
            return Ok(fetched);
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

fn body_fits(fetched: &Fetched, expect: Expect) -> bool {
    match (fetched, expect) {
        (Fetched::Answer { body, .. }, Expect::Body(expected)) => body == expected,
        (_, Expect::Body(_)) => false,
        (_, Expect::Denied | Expect::Silence) => true,
    }
}

fn status(fetched: &Fetched) -> Option<u16> {
    match fetched {
        Fetched::Answer { status, .. } => Some(*status),
        _ => None,
    }
}

/// The rule and reason of the side that refuses; of the last that was asked where none does.
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
    use api::view::Side;

    /// A world that does as the tutorial says, but for what a test spoils.
    #[derive(Default)]
    struct FakeRunner {
        applied: bool,
        spoil: Option<&'static str>,
        refusals: u32,
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
        fn nexin(&mut self, words: &[&str]) -> anyhow::Result<Ended> {
            self.applied |= words == ["policy", "apply", "-f", "rule1.yaml"];
            Ok(Ended { output: String::new(), success: true })
        }

        fn fetch(&mut self, from: &str, url: &str, _patience: &str) -> anyhow::Result<Fetched> {
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

        fn explain(&mut self, from: &str, _to: &str, path: &str) -> anyhow::Result<Explanation> {
            let verdict = if self.spoil == Some("explain") { "drop" } else { self.verdict(from, path) };
            let side = Side {
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
    fn the_tutorial_holds_where_the_world_does_as_it_says() {
        assert_eq!(failed(&mut FakeRunner::default()), [""; 0]);
    }

    #[test]
    fn a_request_that_should_be_refused_and_is_not_is_noticed() {
        let wrong = failed(&mut FakeRunner { spoil: Some("deny"), ..FakeRunner::default() });
        assert_eq!(wrong, ["nexin exec app2 -- curl -sS -m 5 http://app1-service/private"]);
    }

    #[test]
    fn a_connection_that_is_cut_is_not_one_that_never_was() {
        let wrong = failed(&mut FakeRunner { spoil: Some("drop"), ..FakeRunner::default() });
        assert_eq!(wrong, ["nexin exec app3 -- curl -sS -m 0.6 http://app1-service/public"]);
    }

    #[test]
    fn an_explanation_that_differs_from_what_happened_is_noticed() {
        let wrong = failed(&mut FakeRunner { spoil: Some("explain"), ..FakeRunner::default() });
        assert_eq!(wrong.len(), 6, "all but the one that is dropped: {wrong:?}");
    }

    #[test]
    fn a_server_that_is_only_starting_is_waited_for() {
        assert_eq!(failed(&mut FakeRunner { refusals: 2, ..FakeRunner::default() }), [""; 0]);
    }
}
