//! A CNI plugin that runs the agent's plugin and measures it: a runtime finds this one first.

use super::node::{self, PLUGIN_DIRECTORIES};
use super::plan::{Machine, Plan};
use anyhow::{Context, Result};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant, SystemTime};

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
    let (at, started) = (since_epoch(), Instant::now());
    let status = Command::new(format!("{}/{PLUGIN}", PLUGIN_DIRECTORIES[1])).status()?;
    let took = started.elapsed().as_micros();
    let arguments = variable("CNI_ARGS");
    let pod = arguments.split(';').find_map(|one| one.strip_prefix("K8S_POD_NAME=")).unwrap_or("-");
    let line = format!("{operation} {container} {} {took} {} {pod}\n", status.success(), at.as_micros());
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

/// The time since the epoch, which all processes of this machine share.
pub(super) fn since_epoch() -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
}

/// A successful request to the plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TimedRequest {
    pub(super) pod: String,
    /// When the plugin was started, since the epoch.
    pub(super) at: Duration,
    /// How long it ran.
    pub(super) took: Duration,
}

/// The successful requests of this operation, on all nodes.
pub(super) fn requests(plan: &Plan, operation: &str) -> Result<Vec<TimedRequest>> {
    let mut requests = Vec::new();
    for machine in plan.node_machines() {
        let path = node::own_directory(&plan.name, machine, LOG);
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        requests.extend(text.lines().filter_map(|line| request(line, operation)));
    }
    Ok(requests)
}

/// Empties the record of a node.
pub(super) fn forget(plan: &Plan, machine: Machine) -> Result<()> {
    Ok(File::create(node::own_directory(&plan.name, machine, LOG)).map(drop)?)
}

fn request(line: &str, operation: &str) -> Option<TimedRequest> {
    let mut fields = line.split(' ');
    let is_wanted = fields.next()? == operation && fields.nth(1)? == "true";
    let mut time = || Some(Duration::from_micros(fields.next()?.parse().ok()?));
    let (took, at) = (time()?, time()?);
    let pod = fields.next()?.to_owned();
    is_wanted.then_some(TimedRequest { pod, at, took })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_successful_requests_of_an_operation_count() {
        let (at, took) = (Duration::from_micros(7), Duration::from_micros(1500));
        let expected = TimedRequest { pod: "web".into(), at, took };
        assert_eq!(request("ADD c true 1500 7 web", "ADD"), Some(expected));
        for other in ["ADD c false 1500 7 web", "DEL c true 1500 7 web", "ADD c true 1500 7", "ADD c tr"] {
            assert_eq!(request(other, "ADD"), None, "{other}");
        }
    }
}
