//! The programs of a running cluster: their logs, and their ends and starts for tests of faults.

use super::plan::{Machine, Plan};
use super::{links, machine};
use anyhow::{Result, bail};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The lines of each log that an overview shows.
const SHOWN_LINES: usize = 10;
/// The time in which a program ends or starts.
const CHANGE: Duration = Duration::from_secs(10);

/// Prints the end of each log of all machines or of one, or a whole log.
pub(super) fn print_logs(plan: &Plan, arguments: &[String]) -> Result<()> {
    let machines = match arguments {
        [] => plan.machines().collect(),
        [machine, ..] => vec![machine.parse::<Machine>()?],
    };
    if let [machine, program] = arguments {
        let path = plan.name.directory(machine.parse()?).join("logs").join(format!("{program}.log"));
        print!("{}", std::fs::read_to_string(path)?);
        return Ok(());
    }
    for machine in machines {
        for entry in std::fs::read_dir(plan.name.directory(machine).join("logs"))? {
            let path = entry?.path();
            let text = String::from_utf8_lossy(&std::fs::read(&path)?).into_owned();
            let lines: Vec<&str> = text.lines().collect();
            println!("==> {} <==", path.display());
            println!("{}", lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n"));
        }
    }
    Ok(())
}

/// Kills a program of a machine; it stays away until it is started again.
pub(super) fn stop(plan: &Plan, machine: Machine, program: &str) -> Result<()> {
    let running = mark(plan, machine, "running", program);
    if !running.exists() {
        bail!("`{program}` does not run on {machine}; `cargo xtask cluster status` shows what runs");
    }
    std::fs::write(mark(plan, machine, "stopped", program), "")?;
    wait_until(|| !running.exists(), &format!("`{program}` does not end"))
}

/// Starts a stopped program of a machine again.
pub(super) fn start(plan: &Plan, machine: Machine, program: &str) -> Result<()> {
    let stopped = mark(plan, machine, "stopped", program);
    if !stopped.exists() {
        bail!("`{program}` of {machine} was not stopped");
    }
    std::fs::remove_file(stopped)?;
    let running = mark(plan, machine, "running", program);
    wait_until(|| running.exists(), &format!("`{program}` does not start"))
}

/// Kills a program of a machine and starts it again.
pub(super) fn restart(plan: &Plan, machine: Machine, program: &str) -> Result<()> {
    stop(plan, machine, program)?;
    start(plan, machine, program)
}

/// Kills all processes of a node and starts it again, with the files that it had and a new network namespace.
pub(super) fn reboot(plan: &Plan, node: Machine) -> Result<()> {
    if node == Machine::Plane {
        bail!(
            "the plane holds the network of the machines; `restart plane PROGRAM` starts its programs again"
        );
    }
    machine::kill(&plan.name, Some(node))?;
    links::renew(plan, node)?;
    for entry in std::fs::read_dir(plan.name.directory(node).join("running"))? {
        std::fs::remove_file(entry?.path())?;
    }
    machine::start(&plan.name, node)
}

/// The file by which the init process shows, or changes, the state of a program.
fn mark(plan: &Plan, machine: Machine, state: &str, program: &str) -> PathBuf {
    plan.name.directory(machine).join(state).join(program)
}

fn wait_until(is_reached: impl Fn() -> bool, otherwise: &str) -> Result<()> {
    let deadline = Instant::now() + CHANGE;
    while !is_reached() {
        if Instant::now() > deadline {
            bail!("{otherwise}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
