//! Brings a cluster up, and waits until its nodes are ready.

use super::plan::{Machine, Network, Plan, server};
use super::{cgroups, images, kubectl, links, machine, node, packages, plane};
use crate::command::run_with_input;
use crate::{kubernetes, tree};
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// The time in which the API server becomes ready, and then the nodes.
const READY: Duration = Duration::from_secs(90);

/// Brings a cluster up. What was made when this fails stays for a look; `down` removes it.
pub(super) fn run(plan: &Plan, nexin: Option<PathBuf>) -> Result<()> {
    packages::ensure()?;
    // What is built before the cluster does not count to the time that it takes to come up.
    let programs = programs()?;
    let started = Instant::now();
    make_directories(plan, &programs)?;
    images::write_agnhost(plan)?;
    // With a network of its own a cluster has our image only where a binary is named.
    if plan.network == Network::Nexin || nexin.is_some() {
        images::write_nexin(plan, &nexin.map_or_else(images::built_binary, Ok)?)?;
    }
    plane::prepare(plan)?;
    links::make(plan)?;
    for node in plan.node_machines() {
        node::prepare(plan, node)?;
    }
    for machine in plan.machines() {
        cgroups::create(&plan.name, machine)?;
        machine::start(&plan.name, machine)?;
    }
    wait_for_server(plan)?;
    println!("cluster: the control plane is ready after {:.1} s", started.elapsed().as_secs_f32());
    create_nodes(plan)?;
    std::fs::write(plan.name.ready_mark(), "")?;
    if plan.network == Network::Nexin {
        install(plan)?;
    }
    if plan.network != Network::None {
        wait_for_nodes(plan)?;
        println!("cluster: {} nodes are ready after {:.1} s", plan.nodes, started.elapsed().as_secs_f32());
    }
    println!(
        "cluster: `{0}` is up; try `cargo xtask cluster kubectl --name {0} get nodes,pods -A`",
        plan.name
    );
    Ok(())
}

/// The programs of the cluster, which are built where they are not.
fn programs() -> Result<Vec<PathBuf>> {
    let names = plane::PROGRAMS.iter().chain(node::PROGRAMS).chain(&["agnhost"]);
    names.map(|name| kubernetes::program(name)).collect()
}

/// Makes the directories of the cluster. Its programs are there too, so that a later build does not take them away.
fn make_directories(plan: &Plan, programs: &[PathBuf]) -> Result<()> {
    let state = plan.name.state();
    if state.exists() {
        bail!(
            "the cluster `{0}` is there already; `cargo xtask cluster down --name {0}` removes it",
            plan.name
        );
    }
    let machines = plan.machines().map(|machine| plan.name.directory(machine));
    let of_machine =
        |directory: PathBuf| ["logs", "done", "stopped", "running"].map(|part| directory.join(part));
    let of_cluster = ["bin", "images", "users"].map(|part| state.join(part));
    for directory in machines.flat_map(of_machine).chain(of_cluster) {
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("could not make {}", directory.display()))?;
    }
    plan.save()?;
    for program in programs {
        let name = program.file_name().context("a program has a name")?;
        let copy = state.join("bin").join(name);
        // A link does not reach another file system.
        std::fs::hard_link(program, &copy).or_else(|_| std::fs::copy(program, &copy).map(drop))?;
    }
    Ok(())
}

/// Waits until the API server answers that it is ready.
fn wait_for_server(plan: &Plan) -> Result<()> {
    let deadline = Instant::now() + READY;
    let address = format!("{}/readyz", server());
    loop {
        let mut curl = links::command_within(&plan.name, Machine::Plane, Path::new("curl"));
        curl.args(["--silent", "--fail", "--insecure", "--max-time", "2", &address]);
        if curl.stdin(Stdio::null()).output()?.status.success() {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!(
                "the API server is not ready; `cargo xtask cluster logs --name {} plane` shows why",
                plan.name
            );
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Applies our own manifests. The definitions come first, since the agent waits for what they define.
fn install(plan: &Plan) -> Result<()> {
    for directory in ["deploy/crds", "deploy/manifests"] {
        let directory = tree::root().join(directory).display().to_string();
        kubectl::run(plan, &["apply", "--server-side", "--filename", &directory])?;
    }
    Ok(())
}

fn create_nodes(plan: &Plan) -> Result<()> {
    let nodes: Vec<_> = plan.node_machines().map(node::object).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": nodes}).to_string();
    run_with_input(kubectl::command(&plan.name).args(["create", "--filename", "-"]), &list).map(drop)
}

fn wait_for_nodes(plan: &Plan) -> Result<()> {
    let timeout = format!("--timeout={}s", READY.as_secs());
    let waited = kubectl::run(plan, &["wait", "--for=condition=Ready", "nodes", "--all", &timeout]);
    let hint = || {
        format!("the nodes are not ready; `cargo xtask cluster logs --name {} node1` shows why", plan.name)
    };
    waited.map(drop).with_context(hint)
}
