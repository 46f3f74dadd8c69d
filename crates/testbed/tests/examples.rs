//! The examples of the tree hold on every engine.

use std::path::Path;
use testbed::{EngineKind, Observer, ProbeReport, Suite, run};

/// Collects the verdicts that differ from their expectation.
#[derive(Default)]
struct Wrong(Vec<String>);

impl Observer for Wrong {
    fn begin(&mut self, _name: &str, _done: usize, _all: usize) {}

    fn verdict(&mut self, verdict: &ProbeReport) {
        if verdict.is_right() == Some(false) {
            self.0.push(serde_json::to_string(verdict).expect("a verdict is plain data"));
        }
    }
}

/// Runs a directory of examples: all must pass, with at least so many probes.
fn check(directory: &str, engines: &[EngineKind], questions: usize) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(directory);
    let suite = Suite::read(&[path]).unwrap();
    let mut wrong = Wrong::default();
    let summary = run(&suite, engines, &mut wrong).unwrap();
    assert!(wrong.0.is_empty(), "{}", wrong.0.join("\n"));
    assert_eq!(summary.left_out, []);
    assert!(summary.unsent.is_empty(), "{summary}");
    for engine in engines {
        assert!(summary.engines[engine].right >= questions, "{summary}");
    }
}

#[test]
fn the_tutorial_holds() {
    check("tutorial", &[EngineKind::Model, EngineKind::Native], 18);
}

#[test]
fn the_policies_hold() {
    check("policies", &[EngineKind::Model, EngineKind::Native], 220);
}

#[test]
#[ignore = "needs root"]
fn the_tutorial_holds_in_the_kernel() {
    check("tutorial", &[EngineKind::Kernel], 18);
}

#[test]
#[ignore = "needs root"]
fn the_policies_hold_in_the_kernel() {
    check("policies", &[EngineKind::Kernel], 220);
}
