//! The faults.

use super::super::flows::Run;
use super::super::plan::{Machine, Plan};
use super::super::{cgroups, images, kubectl, links, machine, node, programs};
use crate::command::run;
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// What the faults need to know.
pub(super) struct Setting<'a> {
    pub(super) plan: &'a Plan,
    /// How long the API server is away, and, up to a minute, a node is cut off.
    pub(super) outage: Duration,
    /// The flows meanwhile.
    pub(super) run: Arc<Run>,
}

/// A fault.
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) cause: fn(&Setting<'_>) -> Result<()>,
    /// Whether it ends the pods of the flows.
    pub(super) ends_pods: bool,
}

/// All faults. The reboot is last: its flows are between the pods that come back.
pub(super) const STEPS: &[Step] = &[
    Step { name: "agent-killed", cause: kill_agents, ends_pods: false },
    Step { name: "agent-pod-deleted", cause: delete_agents, ends_pods: false },
    Step { name: "agent-restarted", cause: restart_agents, ends_pods: false },
    Step { name: "agent-upgraded", cause: upgrade_agents, ends_pods: false },
    Step { name: "node-cut-off", cause: cut_node_off, ends_pods: false },
    Step { name: "api-server-away", cause: stop_api_server, ends_pods: false },
    Step { name: "operator-away", cause: stop_operator, ends_pods: false },
    Step { name: "kubelet-restarted", cause: |setting| restart(setting, "kubelet"), ends_pods: false },
    Step { name: "containerd-restarted", cause: |setting| restart(setting, "containerd"), ends_pods: false },
    Step { name: "node-rebooted", cause: reboot, ends_pods: true },
];

const NAMESPACE: &str = "--namespace=nexin";
const DAEMON_SET: &str = "daemonset/nexin-agent";
const AGENTS: &str = "--selector=app.kubernetes.io/name=nexin-agent";
/// The time in which what was stopped works again.
const BACK: Duration = Duration::from_secs(120);

/// Fails where the status of a node's agent has a problem, or the agent does not answer.
pub(super) fn status(plan: &Plan, node: Machine) -> Result<()> {
    let output = run_status(plan, node)?;
    let [printed, errors] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    ensure!(output.status.success(), "nexin status fails:\n{printed}{errors}");
    Ok(())
}

/// Whether a node's agent answers, with or without problems.
pub(in super::super) fn answers(plan: &Plan, node: Machine) -> bool {
    run_status(plan, node).is_ok_and(|output| output.stdout.starts_with(b"agent"))
}

fn run_status(plan: &Plan, node: Machine) -> Result<Output> {
    run_nexin(plan, node, &["status"])
}

/// Runs `nexin` beside the agent of a node.
pub(in super::super) fn run_nexin(plan: &Plan, node: Machine, arguments: &[&str]) -> Result<Output> {
    let target = format!("--target={}", agent(plan, node)?);
    let mut command = Command::new("nsenter");
    Ok(command.args([&target, "--net", "--mount", "--pid", "--", "/nexin"]).args(arguments).output()?)
}

/// The agent's process on a node.
pub(in super::super) fn agent(plan: &Plan, node: Machine) -> Result<i32> {
    process(plan, node, "agent").with_context(|| format!("no agent runs on {node}"))
}

/// Our process with this role on a node.
pub(in super::super) fn process(plan: &Plan, node: Machine, role: &str) -> Option<i32> {
    let beginning = format!("/nexin\0{role}\0");
    let has_role = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.starts_with(beginning.as_bytes())
    };
    cgroups::processes(&plan.name, Some(node)).ok()?.into_iter().find(has_role)
}

/// Kills the agent's process of each node. The kubelet starts its container again, after 10 s if it has done so before.
fn kill_agents(setting: &Setting<'_>) -> Result<()> {
    for node in setting.plan.node_machines() {
        let pid = agent(setting.plan, node)?;
        kill_process(Pid::from_raw(pid).context("a process number")?, Signal::KILL)?;
        wait_for_agent(setting.plan, node, pid)?;
    }
    Ok(())
}

/// Waits for another agent than that with this process number.
fn wait_for_agent(plan: &Plan, node: Machine, before: i32) -> Result<()> {
    until(&format!("no agent answers on {node}"), || {
        agent(plan, node).is_ok_and(|pid| pid != before) && status(plan, node).is_ok()
    })
}

fn delete_agents(setting: &Setting<'_>) -> Result<()> {
    let plan = setting.plan;
    let before: Vec<(Machine, i32)> =
        plan.node_machines().map(|node| Ok((node, agent(plan, node)?))).collect::<Result<_>>()?;
    kubectl::run(plan, &["delete", "pods", NAMESPACE, AGENTS])?;
    before.into_iter().try_for_each(|(node, pid)| wait_for_agent(plan, node, pid))
}

/// Restarts all agents one after another.
fn restart_agents(setting: &Setting<'_>) -> Result<()> {
    kubectl::run(setting.plan, &["rollout", "restart", NAMESPACE, DAEMON_SET])?;
    wait_for_rollout(setting.plan)
}

/// Gives all agents the image of another release, one after another. The proxies stay, and the status of each node names its
/// proxy as one of an earlier release.
fn upgrade_agents(setting: &Setting<'_>) -> Result<()> {
    let plan = setting.plan;
    let program = format!("/proc/{}/exe", agent(plan, Machine::Node(1))?);
    let (archive, image) = images::write_next_nexin(plan, Path::new(&program))?;
    plan.node_machines().try_for_each(|node| import(plan, node, &archive))?;
    let proxies: Vec<Option<i32>> = plan.node_machines().map(|node| process(plan, node, "proxy")).collect();
    kubectl::run(plan, &["set", "image", NAMESPACE, DAEMON_SET, &format!("agent={image}")])?;
    wait_for_rollout(plan)?;
    for (node, proxy) in plan.node_machines().zip(proxies) {
        let now = process(plan, node, "proxy");
        ensure!(now.is_some() && now == proxy, "the proxy of {node} was {proxy:?}, and is {now:?}");
        let status = run_status(plan, node)?;
        let status = String::from_utf8_lossy(&status.stdout).into_owned();
        ensure!(status.contains("runs the program of an earlier agent"), "the status of {node} is\n{status}");
    }
    Ok(())
}

/// Imports an archive of images into a node that runs.
fn import(plan: &Plan, node: Machine, archive: &Path) -> Result<()> {
    let program = plan.name.program("ctr").display().to_string();
    let mut command = machine::command_on(&plan.name, node, &program)?;
    run(command.args(node::import_arguments(&archive.display().to_string()))).map(drop)
}

fn wait_for_rollout(plan: &Plan) -> Result<()> {
    kubectl::run(plan, &["rollout", "status", NAMESPACE, DAEMON_SET, "--timeout=180s"]).map(drop)
}

/// Takes the link of the second node down for a while, at most a minute.
fn cut_node_off(setting: &Setting<'_>) -> Result<()> {
    let node = Machine::Node(2);
    let outage = setting.outage.min(Duration::from_secs(60));
    setting.run.set_cut(true);
    links::set_connected(&setting.plan.name, node, false)?;
    thread::sleep(outage);
    links::set_connected(&setting.plan.name, node, true)?;
    // The kernel waits longer and longer between two attempts to send a segment, and may have begun to wait just now.
    thread::sleep(outage + Duration::from_secs(5));
    setting.run.set_cut(false);
    thread::sleep(Duration::from_secs(10));
    Ok(())
}

/// Stops the API server for a while; an agent restarts meanwhile.
fn stop_api_server(setting: &Setting<'_>) -> Result<()> {
    let plan = setting.plan;
    programs::stop(plan, Machine::Plane, "kube-apiserver")?;
    thread::sleep(setting.outage / 2);
    let node = Machine::Node(1);
    let before = agent(plan, node)?;
    kill_process(Pid::from_raw(before).context("a process number")?, Signal::KILL)?;
    // The kubelet starts the container again without an API server.
    let restarted =
        until(&format!("no agent runs on {node}"), || agent(plan, node).is_ok_and(|pid| pid != before));
    thread::sleep(setting.outage / 2);
    programs::start(plan, Machine::Plane, "kube-apiserver")?;
    restarted?;
    until("the API server does not answer", || kubectl::run(plan, &["get", "--raw=/readyz"]).is_ok())
}

fn stop_operator(setting: &Setting<'_>) -> Result<()> {
    let scale = |replicas: &str| {
        let replicas = format!("--replicas={replicas}");
        kubectl::run(setting.plan, &["scale", NAMESPACE, "deployment/nexin-operator", &replicas])
    };
    scale("0")?;
    thread::sleep(setting.outage.min(Duration::from_secs(20)));
    scale("2").map(drop)
}

/// Kills a program of all nodes, and starts it again.
fn restart(setting: &Setting<'_>, program: &str) -> Result<()> {
    for node in setting.plan.node_machines() {
        programs::restart(setting.plan, node, program)?;
        thread::sleep(Duration::from_secs(5));
    }
    Ok(())
}

/// Reboots the first node, and waits until its pods run again.
fn reboot(setting: &Setting<'_>) -> Result<()> {
    let (plan, node) = (setting.plan, Machine::Node(1));
    let before = agent(plan, node)?;
    programs::reboot(plan, node)?;
    let process = |machine| machine::init_process(&plan.name, machine).is_ok();
    until("the node does not start", || process(node))?;
    wait_for_agent(plan, node, before)?;
    // The kubelet notices that the pods' sandboxes are gone, and makes new ones.
    until("the pods of the node do not run again", || {
        ["server", "client-1", "stranger-1"].iter().all(|pod| has_process(plan, node, pod))
    })?;
    let listed = kubectl::run(plan, &["get", "pods", "--output=jsonpath={.items[*].status.podIP}"])?;
    let mut addresses: Vec<&str> = listed.split_whitespace().collect();
    addresses.sort_unstable();
    addresses.dedup();
    ensure!(addresses.len() == 5, "the pods have the addresses {listed}");
    Ok(())
}

/// Whether a pod of the default namespace has a process on a node.
fn has_process(plan: &Plan, node: Machine, pod: &str) -> bool {
    let uid =
        kubectl::run(plan, &["get", "pod", pod, "--output=jsonpath={.metadata.uid}"]).unwrap_or_default();
    let started = "--output=jsonpath={.status.containerStatuses[0].state.running.startedAt}";
    let is_running = kubectl::run(plan, &["get", "pod", pod, started]).is_ok_and(|text| !text.is_empty());
    let group = format!("/pod{uid}/");
    let is_of_pod = |pid: &i32| {
        std::fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|text| text.contains(&group))
    };
    is_running
        && cgroups::processes(&plan.name, Some(node))
            .is_ok_and(|all| all.iter().filter(|pid| is_of_pod(pid)).count() >= 2)
}

fn until(otherwise: &str, is_reached: impl Fn() -> bool) -> Result<()> {
    let deadline = Instant::now() + BACK;
    while !is_reached() {
        if Instant::now() > deadline {
            bail!("{otherwise} after {} s", BACK.as_secs());
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
