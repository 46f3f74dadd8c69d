//! The API server restarts, returns from an older store, and loses a definition, while exchanges go on: no policy is lost or
//! opened. Prints what the agents request from it.

mod kinds;
mod steps;
mod storms;

use super::plan::{Machine, Plan};
use super::{faults, kubectl, pods, programs};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;
use steps::{apply, expect_policies, policy, step, until};

/// How long the load of idle agents is measured.
const IDLE: Duration = Duration::from_secs(30);
const STORE: [&str; 2] = ["kube-apiserver", "etcd"];
const DEFINITION: &str = "ciliumclusterwidenetworkpolicies.cilium.io";

/// Runs all steps.
pub(super) fn run_test(plan: &Plan) -> Result<()> {
    faults::create(plan)?;
    apply(plan, &policy("CiliumNetworkPolicy", "earlier"))?;
    expect_policies(plan, &["server", "earlier"], &[])?;
    check_objects(plan)?;
    kinds::check(plan)?;
    storms::check(plan)?;
    step("restarted twice", || {
        faults::during(plan, &|| {
            for _ in 0..2 {
                programs::restart(plan, Machine::Plane, STORE[0])?;
                wait_for_server(plan)?;
            }
            Ok(())
        })
    })?;
    step("an older store", || older_store(plan))?;
    step("a definition removed and made again", || definition(plan))?;
    print_load(plan)
}

/// Copies the store, changes policies, and puts the copy in place: what was in force then is in force again.
fn older_store(plan: &Plan) -> Result<()> {
    let data = plan.name.directory(Machine::Plane).join("etcd");
    let copy = data.with_extension("copy");
    stop_store(plan)?;
    copy_tree(&data, &copy)?;
    start_store(plan)?;
    apply(plan, &policy("CiliumNetworkPolicy", "later"))?;
    kubectl::run(plan, &["delete", "ciliumnetworkpolicies", "earlier"])?;
    expect_policies(plan, &["server", "later"], &["earlier"])?;
    faults::during(plan, &|| {
        stop_store(plan)?;
        std::fs::remove_dir_all(&data)?;
        copy_tree(&copy, &data)?;
        start_store(plan)?;
        expect_policies(plan, &["server", "earlier"], &["later"])
    })
}

/// Removes the definition of a kind with its policies, and makes both again.
fn definition(plan: &Plan) -> Result<()> {
    let wide = policy("CiliumClusterwideNetworkPolicy", "wide");
    apply(plan, &wide)?;
    expect_policies(plan, &["server", "wide"], &[])?;
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/crds/ciliumclusterwidenetworkpolicies.yaml");
    let definition = std::fs::read_to_string(file)?;
    faults::during(plan, &|| {
        kubectl::run(plan, &["delete", "customresourcedefinition", DEFINITION, "--timeout=60s"])?;
        expect_policies(plan, &["server", "earlier"], &["wide"])?;
        apply(plan, &definition)?;
        kubectl::run(plan, &["wait", "--for=condition=Established", "crd", DEFINITION, "--timeout=60s"])?;
        until("the policy is not accepted again", || apply(plan, &wide))?;
        expect_policies(plan, &["server", "wide", "earlier"], &[])
    })
}

/// Checks what agents and operator write.
fn check_objects(plan: &Plan) -> Result<()> {
    let condition = "--output=jsonpath={.status.conditions[?(@.type=='Valid')].status}";
    until("the policy has no condition", || {
        let valid = kubectl::run(plan, &["get", "ciliumnetworkpolicies", "server", condition])?;
        ensure!(valid.trim() == "True", "Valid is {valid:?}");
        Ok(())
    })?;
    until("endpoints do not have the cluster's identities", || identities_are_assigned(plan))?;
    for node in plan.node_machines() {
        let name = node.to_string();
        let addresses =
            kubectl::run(plan, &["get", "ciliumnodes", &name, "--output=jsonpath={.spec.addresses}"])?;
        ensure!(addresses.contains("InternalIP"), "the CiliumNode of {name} has the addresses {addresses:?}");
    }
    println!("cluster: identities, a condition and CiliumNodes: passed");
    Ok(())
}

/// Whether each CiliumEndpoint has the number of a CiliumIdentity, and each agent knows it.
fn identities_are_assigned(plan: &Plan) -> Result<()> {
    let reported = kubectl::run(
        plan,
        &["get", "ciliumendpoints", "--output=jsonpath={range .items[*]}{.status.identity.id}{\"\\n\"}{end}"],
    )?;
    let assigned = kubectl::run(
        plan,
        &["get", "ciliumidentities", "--output=jsonpath={range .items[*]}{.metadata.name}{\"\\n\"}{end}"],
    )?;
    let reported: Vec<&str> = reported.split_whitespace().collect();
    ensure!(reported.len() >= 5, "{} endpoints", reported.len());
    for number in reported {
        ensure!(assigned.split_whitespace().any(|known| known == number), "{number} is none of {assigned:?}");
        for node in plan.node_machines() {
            let listed = faults::run_nexin(plan, node, &["identity", "list"])?;
            let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
            ensure!(listed.contains(number), "{node} does not know {number}:\n{listed}");
        }
    }
    Ok(())
}

/// Prints what the agents request while nothing happens, and for the birth and the end of a pod.
fn print_load(plan: &Plan) -> Result<()> {
    let before = load(plan)?;
    thread::sleep(IDLE);
    let idle = load(plan)?;
    print_difference(&format!("{} s of an idle node", IDLE.as_secs()), &before, &idle);
    pods::create(plan, &[pods::idle("newborn", Machine::Node(1), "newborn")])?;
    pods::ready(plan, "app=newborn", 1)?;
    thread::sleep(Duration::from_secs(5));
    let born = load(plan)?;
    print_difference("the birth of a pod on node1", &idle, &born);
    pods::delete(plan, &["newborn".to_owned()])?;
    thread::sleep(Duration::from_secs(5));
    print_difference("the end of a pod on node1", &born, &load(plan)?);
    Ok(())
}

fn print_difference(what: &str, before: &[[u64; 4]], after: &[[u64; 4]]) {
    for (node, (before, after)) in before.iter().zip(after).enumerate() {
        let [lists, watches, writes, bytes]: [u64; 4] =
            std::array::from_fn(|at| after[at].saturating_sub(before[at]));
        println!(
            "cluster: load of {what}, node{}: {lists} lists, {watches} watches opened, {writes} writes, {bytes} bytes received",
            node + 1
        );
    }
}

/// Lists, watches, writes and received bytes of each node's agent since its start.
fn load(plan: &Plan) -> Result<Vec<[u64; 4]>> {
    let of_node = |node| {
        let output = faults::run_nexin(plan, node, &["status", "--output", "json"])?;
        let status: Value = serde_json::from_slice(&output.stdout).context("the status is no JSON")?;
        let load = &status["api_server"];
        let read = |field: &str| load[field].as_u64().with_context(|| format!("no {field} in {status}"));
        Ok([read("lists")?, read("watches")?, read("writes")?, read("received_bytes")?])
    };
    plan.node_machines().map(of_node).collect()
}

fn stop_store(plan: &Plan) -> Result<()> {
    STORE.into_iter().try_for_each(|program| programs::stop(plan, Machine::Plane, program))
}

fn start_store(plan: &Plan) -> Result<()> {
    STORE.into_iter().rev().try_for_each(|program| programs::start(plan, Machine::Plane, program))?;
    wait_for_server(plan)
}

fn wait_for_server(plan: &Plan) -> Result<()> {
    until("the API server does not answer", || kubectl::run(plan, &["get", "--raw=/readyz"]).map(drop))
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp").arg("-a").args([from, to]).status()?;
    ensure!(status.success(), "{} cannot be copied", from.display());
    Ok(())
}
