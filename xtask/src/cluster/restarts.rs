//! Restarts of the agent on a node with many pods: how long they take, what they cost, and that no exchange is lost.

use super::dial::{Outcome, PORT, dial, serve};
use super::faults::{self, agent, answers};
use super::figures::machine;
use super::plan::{Machine, Plan};
use super::{kubectl, pods};
use crate::command::run_with_input;
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

/// How many pods are created at once.
const AT_ONCE: usize = 20;
/// The time in which an agent answers again. The kubelet waits 10 s before the second restart of a container, then 20 s.
const BACK: Duration = Duration::from_secs(90);
const RESTARTS: usize = 3;
/// What the agent may take, in kB.
const MEMORY: u64 = 80_000;
const NODE: Machine = Machine::Node(1);

/// Restarts the agent of the first node with this many pods.
pub(super) fn run_test(plan: &Plan, count: usize) -> Result<()> {
    for first in (0..count).step_by(AT_ONCE) {
        let numbers = first..count.min(first + AT_ONCE);
        let some: Vec<_> =
            numbers.map(|number| pods::idle(&format!("idle-{number}"), NODE, "idle")).collect();
        pods::create(plan, &some)?;
        pods::wait(plan, "app=idle")?;
    }
    pods::create(plan, &[pods::idle("gate", NODE, "gate"), pods::idle("visitor", NODE, "visitor")])?;
    let gate = pods::ready(plan, "app=gate", 1)?.pop().context("there is a gate")?;
    let visitor = pods::ready(plan, "app=visitor", 1)?.pop().context("there is a visitor")?;
    gate.start(|| serve("gate".to_owned())).join().expect("a server does not panic")?;
    let to = SocketAddr::new(gate.address(true)?, PORT);
    faults::create(plan)?;
    println!("cluster: {}; {count} pods on {NODE}", machine()?);
    faults::during(plan, &|| {
        for restart in 0..RESTARTS {
            // The visitor is allowed and denied in turn, by a change while no agent runs.
            let is_allowed = restart % 2 == 1;
            let visit = || {
                let visited = visitor.start(move || Ok(dial(to, Duration::from_millis(200))));
                visited.join().expect("a visit does not panic")
            };
            let times = restart_agent(plan, is_allowed, &|| {
                visit().is_ok_and(|outcome| matches!(outcome, Outcome::Greeted(_)) == is_allowed)
            })?;
            println!(
                "cluster:   agent killed; next process after {:.2} s; from its start: API {:.2} s, a changed policy {:.2} s; {:.2} s \
                 of CPU time",
                times[0].as_secs_f64(),
                times[1].as_secs_f64(),
                times[2].as_secs_f64(),
                cpu_time(agent(plan, NODE)?)?.as_secs_f64()
            );
            thread::sleep(Duration::from_secs(2));
        }
        Ok(())
    })?;
    let process = agent(plan, NODE)?;
    let [resident, peak] = memory(process)?;
    println!("cluster: agent: {resident} kB resident, {peak} kB at most");
    ensure!(peak < MEMORY, "the agent took {peak} kB, more than {MEMORY} kB");
    if let Some(proxy) = faults::process(plan, NODE, "proxy") {
        let [resident, peak] = memory(proxy)?;
        println!("cluster: proxy: {resident} kB resident, {peak} kB at most");
    }
    Ok(())
}

/// Kills the agent and changes a policy: the time until the next agent's process, and from its start until it answers and until
/// the change is in force.
fn restart_agent(plan: &Plan, is_allowed: bool, is_in_force: &dyn Fn() -> bool) -> Result<[Duration; 3]> {
    let before = agent(plan, NODE)?;
    kill_process(Pid::from_raw(before).context("a process number")?, Signal::KILL)?;
    let killed = Instant::now();
    let visitor = if is_allowed { "visitor" } else { "none" };
    let policy = format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: gate}}\nspec:\n  podSelector: \
         {{matchLabels: {{app: gate}}}}\n  ingress: [{{from: [{{podSelector: {{matchLabels: {{app: {visitor}}}}}}}]}}]\n"
    );
    run_with_input(kubectl::command(&plan.name).args(["apply", "--filename", "-"]), &policy)?;
    wait("no next agent", || agent(plan, NODE).is_ok_and(|pid| pid != before))?;
    let started = Instant::now();
    let mut answered = None;
    let mut in_force = None;
    wait("the next agent is not back", || {
        if answered.is_none() && answers(plan, NODE) {
            answered = Some(started.elapsed());
        }
        if in_force.is_none() && is_in_force() {
            in_force = Some(started.elapsed());
        }
        answered.is_some() && in_force.is_some()
    })?;
    Ok([started - killed, answered.unwrap_or(BACK), in_force.unwrap_or(BACK)])
}

/// The CPU time of all threads of a process: on a busy machine the rest of its time is the wait for a CPU.
fn cpu_time(process: i32) -> Result<Duration> {
    let mut sum = 0;
    for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        sum += text.split(' ').next().context("a thread has a time")?.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(sum))
}

/// The resident memory of a process, and its peak, in kB.
fn memory(process: i32) -> Result<[u64; 2]> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)).context("a process has memory")?;
        line.split_whitespace().next().context("a line has a value")?.parse().context("a number")
    };
    Ok([value("VmRSS:")?, value("VmHWM:")?])
}

fn wait(otherwise: &str, mut is_reached: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + BACK;
    while !is_reached() {
        if Instant::now() > deadline {
            bail!("{otherwise} after {} s", BACK.as_secs());
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
