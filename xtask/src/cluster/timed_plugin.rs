//! A CNI plugin that runs the agent's plugin and measures it: a runtime finds this one first.

use super::node::{self, PLUGIN_DIRECTORIES};
use super::plan::{Machine, Plan};
use anyhow::{Context, Result};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// The name of the plugin.
const PLUGIN: &str = "nexin-cni";
/// What the plugin writes, on its node.
const LOG: &str = "/var/log/nexin/cni.log";

/// Runs the agent's plugin if this process was started by the plugin's name.
pub(crate) fn run() -> Option<Result<ExitCode>> {
    let program = std::env::args_os().next()?;
    let name = std::path::Path::new(&program).file_name()?;
    (name == PLUGIN).then(measure)
}

fn measure() -> Result<ExitCode> {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let (operation, container) = (variable("CNI_COMMAND"), variable("CNI_CONTAINERID"));
    let started = Instant::now();
    let status = Command::new(format!("{}/{PLUGIN}", PLUGIN_DIRECTORIES[1])).status()?;
    let took = started.elapsed().as_micros();
    let line = format!("{operation} {container} {} {took}\n", status.success());
    OpenOptions::new().create(true).append(true).open(LOG)?.write_all(line.as_bytes())?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Installs the plugin on all nodes.
pub(super) fn install(plan: &Plan) -> Result<()> {
    for machine in plan.node_machines() {
        let directory = node::own_directory(&plan.name, machine, PLUGIN_DIRECTORIES[0]);
        std::fs::create_dir_all(&directory)?;
        std::fs::copy(std::env::current_exe()?, directory.join(PLUGIN))?;
    }
    Ok(())
}

/// How long each successful request of this operation took, on all nodes.
pub(super) fn times(plan: &Plan, operation: &str) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    for machine in plan.node_machines() {
        let path = node::own_directory(&plan.name, machine, LOG);
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        times.extend(text.lines().filter_map(|line| time(line, operation)));
    }
    Ok(times)
}

/// Empties the record of a node.
pub(super) fn forget(plan: &Plan, machine: Machine) -> Result<()> {
    Ok(File::create(node::own_directory(&plan.name, machine, LOG)).map(drop)?)
}

fn time(line: &str, operation: &str) -> Option<Duration> {
    let mut fields = line.split(' ');
    let is_wanted = fields.next()? == operation && fields.nth(1)? == "true";
    let micros = fields.next()?.parse().ok()?;
    is_wanted.then(|| Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_successful_requests_of_an_operation_count() {
        assert_eq!(time("ADD c true 1500", "ADD"), Some(Duration::from_micros(1500)));
        assert_eq!(time("ADD c false 1500", "ADD"), None);
        assert_eq!(time("DEL c true 1500", "ADD"), None);
        assert_eq!(time("ADD c tr", "ADD"), None);
    }
}
