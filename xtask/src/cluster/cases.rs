//! Runs PolicyTest documents against a cluster: pods on its nodes, policies through its API server, probes from pod to pod.

use super::plan::{Machine, Plan};
use super::{images, links, users};
use anyhow::{Result, bail};
use std::path::PathBuf;

/// Runs the documents of these files and directories, all or the first ones; an error unless every verdict is as expected.
pub(super) fn run(
    plan: &Plan,
    nexin: Option<PathBuf>,
    limit: Option<usize>,
    paths: &[PathBuf],
) -> Result<()> {
    let nexin = nexin.map_or_else(images::built_binary, Ok)?;
    // The engine reaches the API server by kubectl, and the pods by their processes, which this machine sees.
    let mut command = links::command_within(&plan.name, Machine::Plane, &nexin);
    command.env("KUBECONFIG", plan.name.kubeconfig(users::ADMIN)).env("PATH", plan.path());
    command.args(["test", "--engine", "cluster"]);
    command.args(limit.map(|limit| format!("--limit={limit}"))).args(paths);
    let status = command.status()?;
    if !status.success() {
        bail!("the tests ended with {status}");
    }
    Ok(())
}
