//! Steps of a test of the API server, and policies that agents are to have.

use crate::cluster::plan::Plan;
use crate::cluster::{faults, kubectl};
use crate::command::run_with_input;
use anyhow::{Context, Result, bail, ensure};
use std::thread;
use std::time::{Duration, Instant};

/// The time in which a change is in force on all nodes, also after the API server was away.
const IN_FORCE: Duration = Duration::from_secs(90);

/// Runs a step and prints how long it took.
pub(super) fn step(name: &str, run: impl FnOnce() -> Result<()>) -> Result<()> {
    let started = Instant::now();
    run().with_context(|| format!("API server: {name}"))?;
    println!("cluster: API server, {name}: passed ({:.0} s)", started.elapsed().as_secs_f32());
    Ok(())
}

/// A policy that matches no pod of the test.
pub(super) fn policy(kind: &str, name: &str) -> String {
    format!(
        "apiVersion: cilium.io/v2\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n  endpointSelector: {{matchLabels: {{app: \
         nothing}}}}\n  ingress:\n  - fromEndpoints: []\n"
    )
}

/// Applies the objects of a text.
pub(super) fn apply(plan: &Plan, text: &str) -> Result<()> {
    run_with_input(kubectl::command(&plan.name).args(["apply", "--filename", "-"]), text).map(drop)
}

/// Waits until the agents of all nodes have the first policies and not the others.
pub(super) fn expect_policies(plan: &Plan, present: &[&str], absent: &[&str]) -> Result<()> {
    until(&format!("{present:?} without {absent:?} is not in force"), || {
        for node in plan.node_machines() {
            let output = faults::run_nexin(plan, node, &["policy", "list"])?;
            let listed = String::from_utf8_lossy(&output.stdout).into_owned();
            let has =
                |name: &&&str| listed.split_whitespace().any(|word| word.rsplit('/').next() == Some(**name));
            let is_as_expected =
                present.iter().all(|name| has(&name)) && !absent.iter().any(|name| has(&name));
            ensure!(is_as_expected, "{node} has\n{listed}");
        }
        Ok(())
    })
}

/// Repeats an attempt until it succeeds.
pub(super) fn until(otherwise: &str, mut attempt: impl FnMut() -> Result<()>) -> Result<()> {
    let deadline = Instant::now() + IN_FORCE;
    loop {
        match attempt() {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > deadline => bail!("{otherwise}: {error:#}"),
            Err(_) => thread::sleep(Duration::from_millis(500)),
        }
    }
}
