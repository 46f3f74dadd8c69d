//! The commands of our program that need a cluster and no agent: its state, and the tutorial by kubectl.

use super::plan::{Machine, Plan};
use super::{images, kubectl, links, users};
use crate::command;
use anyhow::{Result, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs them, with the program of this path or the one that was built last.
pub(super) fn run(plan: &Plan, nexin: Option<PathBuf>) -> Result<()> {
    let nexin = nexin.map_or_else(images::built_binary, Ok)?;
    let demo = json(plan, &nexin, &["demo", "--kubernetes"])?;
    ensure!(demo["held"] == true, "a step of the demo did not hold: {demo:#}");
    let steps = demo["steps"].as_array().map_or(0, Vec::len);
    println!("cluster: `nexin demo --kubernetes`: all {steps} steps held, in {} ms", demo["milliseconds"]);
    let status = json(plan, &nexin, &["status", "--cluster"])?;
    let nodes = u64::from(plan.nodes);
    ensure!(
        status["agents"]["ready"] == nodes && status["nodes"] == nodes && status["leader"].is_string(),
        "the state of the cluster is not that of {nodes} nodes: {status:#}"
    );
    println!("cluster: `nexin status --cluster` shows {nodes} nodes and no problems");
    Ok(())
}

/// Uninstalls, with the program of this path or the one that was built last, and waits for the end of the agents.
pub(super) fn uninstall(plan: &Plan, nexin: Option<PathBuf>) -> Result<()> {
    let nexin = nexin.map_or_else(images::built_binary, Ok)?;
    let printed = command::run(&mut on_plane(plan, &nexin, &["uninstall"]))?;
    ensure!(
        printed.contains("daemonset.apps/nexin-agent removed") && printed.contains("stay under the policies"),
        "`nexin uninstall` prints\n{printed}"
    );
    kubectl::run(plan, &["wait", "--for=delete", "namespaces/nexin", "--timeout=60s"]).map(drop)
}

/// Runs a command, which must succeed, and returns what it prints as JSON.
fn json(plan: &Plan, nexin: &Path, arguments: &[&str]) -> Result<Value> {
    let mut command = on_plane(plan, nexin, arguments);
    Ok(serde_json::from_str(&command::run(command.args(["--output", "json"]))?)?)
}

/// A command of our program beside the API server.
fn on_plane(plan: &Plan, nexin: &Path, arguments: &[&str]) -> Command {
    let mut command = links::command_within(&plan.name, Machine::Plane, nexin);
    // The demo calls kubectl.
    command.args(arguments).env("KUBECONFIG", plan.name.kubeconfig(users::ADMIN)).env("PATH", plan.path());
    command
}
