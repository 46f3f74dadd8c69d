//! A cluster that moves from the reference plugins to Nexin by Helm, node by node, as docs/moving.md describes it.

use super::flows::{self, Flow, Kind};
use super::plan::{Machine, Plan};
use super::pods::{self, Pod};
use super::{kubectl, links, users};
use crate::command::{run, run_with_input};
use crate::{kubernetes, tree};
use anyhow::{Context, Result};
use std::time::Duration;

const RELEASE: &str = "nexin";
/// The label of the nodes that have moved.
const MOVED: (&str, &str) = ("network", "nexin");
/// The pods of each node, by the label `app`.
const APPS: [&str; 3] = ["server", "client", "stranger"];
/// What a move step may take.
const PATIENCE: &str = "--timeout=120s";
/// The time in which policy is in force everywhere.
const ENFORCED: Duration = Duration::from_secs(5);
/// Clients may connect to servers, and strangers may not.
const POLICY: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: server}
spec:
  podSelector: {matchLabels: {app: server}}
  ingress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]
";

/// What strangers get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Enforcement {
    /// An answer: nothing enforces policy, or its denials are only reported.
    Open,
    Enforced,
}

/// Moves the nodes, then enforces policy, then uninstalls. Exchanges of pods on the node that stays, and of all pods after each
/// step, are neither lost nor wrong.
pub(super) fn run_test(plan: &Plan) -> Result<()> {
    // The controller manager creates it some time after the API server is ready.
    kubectl::run(plan, &["wait", "--for=create", "serviceaccounts/default", PATIENCE])?;
    plan.node_machines().try_for_each(|machine| create_pods(plan, machine))?;
    wait_for_pods(plan)?;
    run_with_input(kubectl::command(&plan.name).args(["apply", "--filename", "-"]), POLICY)?;
    check(plan, "before the move", Enforcement::Open)?;
    let selector = format!("nodeSelector.{}={}", MOVED.0, MOVED.1);
    helm(
        plan,
        &[
            "install",
            RELEASE,
            &chart(),
            "--create-namespace",
            "--set",
            "policyAuditMode=true",
            "--set",
            &selector,
        ],
    )?;
    for machine in plan.node_machines() {
        let others = flows(plan, Enforcement::Open, &|pod| !is_on(pod, machine))?;
        println!("cluster: {machine} moves; exchanges of pods on other nodes go on");
        flows::exchange_during(others, &Default::default(), &|| move_node(plan, machine))?;
        check(plan, &format!("{machine} has moved"), Enforcement::Open)?;
    }
    println!("cluster: an upgrade ends audit mode");
    let clients = flows(plan, Enforcement::Enforced, &|pod| !pod.name.starts_with("stranger"))?;
    flows::exchange_during(clients, &Default::default(), &|| {
        helm(plan, &["upgrade", RELEASE, &chart(), "--reuse-values", "--set", "policyAuditMode=false"])?;
        wait_for_agents(plan)?;
        std::thread::sleep(ENFORCED);
        Ok(())
    })?;
    check(plan, "policy is enforced", Enforcement::Enforced)?;
    println!("cluster: Helm uninstalls; what was enforced stays");
    let all = flows(plan, Enforcement::Enforced, &|_| true)?;
    flows::exchange_during(all, &Default::default(), &|| {
        helm(plan, &["uninstall", RELEASE, "--wait"])?;
        kubectl::run(plan, &["wait", "--for=delete", "pods", "--all", "--namespace", RELEASE, PATIENCE])
            .map(drop)
    })
}

/// Adds policy to the pods of the reference plugins, which stay in place.
pub(super) fn run_behind_test(plan: &Plan) -> Result<()> {
    let values = ["--set", "cni.behind=10-bridge.conflist", "--set", "masquerade=false"];
    helm(plan, &[&["install", RELEASE, &chart(), "--create-namespace"][..], &values].concat())?;
    wait_for_agents(plan)?;
    plan.node_machines().try_for_each(|machine| create_pods(plan, machine))?;
    check(plan, "without a policy", Enforcement::Open)?;
    run_with_input(kubectl::command(&plan.name).args(["apply", "--filename", "-"]), POLICY)?;
    std::thread::sleep(ENFORCED);
    check(plan, "policy is enforced behind the reference plugins", Enforcement::Enforced)
}

/// Creates a server, a client and a stranger on a node.
fn create_pods(plan: &Plan, machine: Machine) -> Result<()> {
    let pod = |app: &str| pods::idle(&format!("{app}-{machine}"), machine, app);
    pods::create(plan, &APPS.map(pod))
}

fn is_on(pod: &Pod, machine: Machine) -> bool {
    pod.name.ends_with(&machine.to_string())
}

/// All pairs of pods exchange for some seconds.
fn check(plan: &Plan, what: &str, enforcement: Enforcement) -> Result<()> {
    println!("cluster: {what}");
    let all = flows(plan, enforcement, &|_| true)?;
    flows::exchange_during(all, &Default::default(), &|| Ok(())).with_context(|| what.to_owned())
}

/// The flows from clients and strangers to servers, among these pods.
fn flows(plan: &Plan, enforcement: Enforcement, is_among: &dyn Fn(&Pod) -> bool) -> Result<Vec<Flow>> {
    let some = |app: &str| -> Result<Vec<Pod>> {
        let pods = pods::ready(plan, &format!("app={app}"), usize::from(plan.nodes))?;
        Ok(pods.into_iter().filter(is_among).collect())
    };
    let denied = if enforcement == Enforcement::Open { Kind::NewTcp } else { Kind::Denied };
    let [clients, strangers] = [some("client")?, some("stranger")?];
    let mut all = Vec::new();
    for server in some("server")? {
        flows::serve(&server)?;
        let mut add = |kind, client: &Pod| {
            all.push(Flow { kind, client: client.clone(), server: server.clone(), may_be_cut: false });
        };
        for client in &clients {
            [Kind::Tcp, Kind::NewTcp, Kind::Udp].into_iter().for_each(|kind| add(kind, client));
        }
        strangers.iter().for_each(|stranger| add(denied, stranger));
    }
    Ok(all)
}

/// Drains a node, gives it to Nexin, and fills it again.
fn move_node(plan: &Plan, machine: Machine) -> Result<()> {
    let node = machine.to_string();
    kubectl::run(plan, &["cordon", &node])?;
    let names: Vec<String> = APPS.iter().map(|app| format!("{app}-{node}")).collect();
    pods::delete(plan, &names)?;
    let ended = names.iter().map(|name| format!("pods/{name}"));
    let arguments: Vec<String> =
        ["wait", "--for=delete", PATIENCE].map(str::to_owned).into_iter().chain(ended).collect();
    run(kubectl::command(&plan.name).args(arguments))?;
    // The plugin's bridge has the node's pod block; a node that is rebooted has it no more.
    links::delete(&plan.name, machine, "cni0")?;
    kubectl::run(plan, &["label", "node", &node, &format!("{}={}", MOVED.0, MOVED.1)])?;
    wait_for_agents(plan)?;
    kubectl::run(plan, &["uncordon", &node])?;
    create_pods(plan, machine)?;
    wait_for_pods(plan)
}

fn wait_for_pods(plan: &Plan) -> Result<()> {
    let selector = format!("app in ({})", APPS.join(","));
    pods::ready(plan, &selector, APPS.len() * usize::from(plan.nodes)).map(drop)
}

/// Waits until every node that has moved has an agent of the latest configuration.
fn wait_for_agents(plan: &Plan) -> Result<()> {
    let arguments = ["rollout", "status", "daemonset/nexin-agent", "--namespace", RELEASE, PATIENCE];
    kubectl::run(plan, &arguments).map(drop)
}

fn chart() -> String {
    tree::root().join("deploy/helm/nexin").display().to_string()
}

/// Runs Helm in the namespace of the release.
fn helm(plan: &Plan, arguments: &[&str]) -> Result<()> {
    let mut helm = links::command_within(&plan.name, Machine::Plane, &kubernetes::program("helm")?);
    helm.args(arguments).args(["--namespace", RELEASE]);
    helm.env("KUBECONFIG", plan.name.kubeconfig(users::ADMIN));
    for (variable, directory) in
        [("HELM_CACHE_HOME", "cache"), ("HELM_CONFIG_HOME", "config"), ("HELM_DATA_HOME", "data")]
    {
        helm.env(variable, plan.name.state().join("helm").join(directory));
    }
    run(&mut helm).map(drop)
}
