//! Starts a machine's init process in namespaces of its own, finds it again, and runs commands beside it.

use super::cgroups;
use super::init;
use super::plan::{Machine, Name};
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The time in which killed processes end.
const END: Duration = Duration::from_secs(20);

/// Starts the init process of a machine, which outlives this process.
pub(super) fn start(name: &Name, machine: Machine) -> Result<()> {
    let directory = name.directory(machine);
    let log = init::log(&directory, "init")?;
    // `ip netns exec` would mount a /sys of its own, without the cgroups.
    let network = format!("--net=/run/netns/{}", name.namespace(machine));
    let namespaces = ["--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let mut command = Command::new("setsid");
    command.args(["nsenter", &network, "unshare"]).args(namespaces).arg(std::env::current_exe()?);
    command.args(["cluster", "machine", &name.to_string(), &machine.to_string()]);
    command.current_dir("/").stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.spawn().with_context(|| format!("could not start {machine}"))?;
    Ok(())
}

/// The init process of a machine.
pub(super) fn init_process(name: &Name, machine: Machine) -> Result<i32> {
    let depth = nesting("self")?.len() + 1;
    let processes = cgroups::processes(name, Some(machine))?;
    // The first process of a pod is one namespace further in.
    let is_init = |pid: &i32| {
        nesting(&pid.to_string()).is_ok_and(|numbers| numbers.len() == depth && numbers.last() == Some(&1))
    };
    processes
        .into_iter()
        .find(is_init)
        .with_context(|| format!("{machine} of the cluster `{name}` does not run"))
}

/// The numbers of a process, from this PID namespace to its own.
fn nesting(process: &str) -> Result<Vec<i32>> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    Ok(line
        .context("the kernel has no PID namespaces")?
        .split_whitespace()
        .filter_map(|number| number.parse().ok())
        .collect())
}

/// A command in all namespaces of a machine.
pub(super) fn command_on(name: &Name, machine: Machine, program: &str) -> Result<Command> {
    let mut command = Command::new("nsenter");
    command.args(["--target", &init_process(name, machine)?.to_string()]);
    command.args(["--net", "--mount", "--uts", "--ipc", "--pid", "--", program]);
    Ok(command)
}

/// Kills all processes of a cluster, or of one of its machines, and waits for their end. Only these are in its cgroups.
pub(super) fn kill(name: &Name, machine: Option<Machine>) -> Result<()> {
    let started = Instant::now();
    loop {
        let processes = cgroups::processes(name, machine)?;
        if processes.is_empty() {
            return Ok(());
        }
        if started.elapsed() > END {
            bail!("{} processes of the cluster `{name}` do not end: {processes:?}", processes.len());
        }
        kill_all(&processes);
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn kill_all(processes: &BTreeSet<i32>) {
    for pid in processes.iter().filter_map(|pid| Pid::from_raw(*pid)) {
        // A process that has ended meanwhile needs no signal.
        let _ = kill_process(pid, Signal::KILL);
    }
}
