//! What runs in a cluster: the programs of each machine, and the memory of all.

use super::plan::{Machine, Plan};
use super::{cgroups, kubectl};
use anyhow::Result;

/// Prints the machines with their programs, and the nodes and pods.
pub(super) fn print(plan: &Plan) -> Result<()> {
    for machine in plan.machines() {
        let processes = cgroups::processes(&plan.name, Some(machine))?;
        let memory: u64 = processes.iter().filter_map(|pid| memory(*pid)).sum();
        let running = programs(plan, machine, "running")?.join(" ");
        println!("{machine}: {} processes, {} MB; {running}", processes.len(), memory / 1024);
        let stopped = programs(plan, machine, "stopped")?;
        if !stopped.is_empty() {
            println!("{machine}: stopped: {}", stopped.join(" "));
        }
    }
    print!("{}", kubectl::run(plan, &["get", "nodes,pods", "--all-namespaces", "--output", "wide"])?);
    Ok(())
}

/// The programs that have a mark of this state.
fn programs(plan: &Plan, machine: Machine, state: &str) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(plan.name.directory(machine).join(state))?;
    let mut names: Vec<String> =
        entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned())).collect();
    names.sort_unstable();
    Ok(names)
}

/// The memory of a process in KiB, with its part of what it shares.
fn memory(pid: i32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.split_whitespace().next()?.parse().ok()
}
