//! The tests of real clusters: of the clusters themselves, and of our agent in one.

use super::plan::{Name, Network, Plan};
use super::{
    api_server, births, cases, commands, conformance, down, e2e, faults, images, kubectl, moving,
    permissions, restarts, tutorial, up,
};
use crate::tree;
use anyhow::{Context, Result, bail, ensure};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// A test, by the name that the command line takes.
type Test = (&'static str, fn(&Settings) -> Result<()>);

const TESTS: &[Test] = &[
    ("side-by-side", two_clusters_do_not_meet),
    ("crash", an_interrupted_start_leaves_nothing),
    ("control", upstream_tests_pass_with_the_reference_plugins),
    ("short", tutorial_births_and_ten_tests_of_policies_pass),
    ("tutorial", the_tutorial_runs_under_our_agent),
    ("permissions", each_permission_is_used_and_none_is_missing),
    ("policy", upstream_tests_of_policies_pass),
    ("conformance", upstream_conformance_tests_of_the_network_pass),
    ("services", upstream_tests_of_services_pass),
    ("cluster-policy", conformance_tests_of_cluster_network_policy_pass),
    ("cases", policy_tests_pass_with_pods_on_three_nodes),
    ("births", newborns_are_under_policy_from_their_first_instant),
    ("faults", exchanges_survive_faults),
    ("api-server", nothing_is_lost_with_the_api_servers_store),
    ("move", a_cluster_moves_node_by_node),
    ("behind", policy_is_added_to_another_plugin),
    ("restarts", an_agent_is_back_soon_on_a_node_with_many_pods),
];

/// Upstream's tests that need no policy: they pass with the reference plugins, so a failure under our agent is its own.
const NEED_NO_POLICY: &str = "Netpol.*should support allow-all policy|Services should function for (pod-Service|endpoint-Service): http";
/// A policy for pods that no test makes.
const CLUSTERWIDE_POLICY: &str = "testbed/kubernetes/clusterwide.yaml";
/// The PolicyTests of the tree.
const CASES: &[&str] = &["examples/tutorial", "examples/policies"];
/// The time that an interrupted start has before its end.
const BEFORE_INTERRUPTION: Duration = Duration::from_secs(4);

/// What the tests need to know.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) nexin: Option<PathBuf>,
    /// The number of documents that the test `cases` runs of each path.
    pub(super) limit: Option<usize>,
    /// How many pods a test creates.
    pub(super) pods: usize,
    /// How long a test cuts a node off and stops the API server.
    pub(super) outage: Duration,
}

/// Runs the tests of these names, or all; each makes and removes clusters of its own.
pub(super) fn run(settings: &Settings, names: &[String]) -> Result<ExitCode> {
    let unknown = names.iter().find(|name| !TESTS.iter().any(|(test, _)| test == name));
    if let Some(name) = unknown {
        let known: Vec<&str> = TESTS.iter().map(|(test, _)| *test).collect();
        bail!("no test `{name}`; the tests are {}", known.join(", "));
    }
    let mut failed = Vec::new();
    for (name, test) in
        TESTS.iter().filter(|(test, _)| names.is_empty() || names.iter().any(|name| name == test))
    {
        let started = Instant::now();
        println!("cluster: test {name}");
        match test(settings) {
            Ok(()) => println!("cluster: test {name} passed ({:.0} s)", started.elapsed().as_secs_f32()),
            // What is missing here is missing for all tests.
            Err(error) if error.is::<crate::lacking::Lacking>() => return Err(error),
            Err(error) => {
                println!("cluster: test {name} failed: {error:#}");
                failed.push(*name);
            }
        }
    }
    if failed.is_empty() { Ok(ExitCode::SUCCESS) } else { bail!("failed: {}", failed.join(", ")) }
}

/// A cluster that lasts as long as this value.
struct Temporary(Plan);

impl Temporary {
    fn up(name: &str, nodes: u8, network: Network, settings: &Settings) -> Result<Self> {
        let plan = Plan { name: name.parse()?, nodes, network };
        // An earlier test that was killed may have left one.
        down::run(&plan.name)?;
        let cluster = Self(plan);
        up::run(&cluster.0, settings.nexin.clone())?;
        Ok(cluster)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = down::run(&self.0.name) {
            eprintln!("cluster: could not remove `{}`: {error:#}", self.0.name);
        }
    }
}

fn two_clusters_do_not_meet(settings: &Settings) -> Result<()> {
    let one = Temporary::up("sideone", 1, Network::Bridge, settings)?;
    let other = Temporary::up("sidetwo", 2, Network::Bridge, settings)?;
    kubectl::run(&one.0, &["create", "namespace", "of-one"])?;
    let found = kubectl::run(&other.0, &["get", "namespaces", "--output=name"])?;
    ensure!(!found.contains("of-one"), "both clusters have one API server");
    let name = other.0.name.clone();
    drop(other);
    let left = down::leftovers(&name)?;
    ensure!(left.is_empty(), "left of the cluster that was removed: {}", left.join(", "));
    kubectl::run(&one.0, &["wait", "--for=condition=Ready", "nodes", "--all", "--timeout=5s"])?;
    kubectl::run(&one.0, &["get", "namespace", "of-one"]).map(drop)
}

fn an_interrupted_start_leaves_nothing(settings: &Settings) -> Result<()> {
    let name: Name = "crash".parse()?;
    drop(Temporary::up("crash", 1, Network::Bridge, settings)?);
    let mut start = Command::new(std::env::current_exe()?);
    start
        .args(["cluster", "up", "--name", "crash", "--nodes", "2"])
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let mut start = start.spawn().context("could not run xtask")?;
    std::thread::sleep(BEFORE_INTERRUPTION);
    start.kill()?;
    start.wait()?;
    ensure!(!down::leftovers(&name)?.is_empty(), "the start was too quick to be interrupted");
    down::run(&name)?;
    let left = down::leftovers(&name)?;
    ensure!(left.is_empty(), "left of the interrupted cluster: {}", left.join(", "));
    Ok(())
}

fn upstream_tests_pass_with_the_reference_plugins(settings: &Settings) -> Result<()> {
    let cluster = Temporary::up("control", 2, Network::Bridge, settings)?;
    e2e::run(&cluster.0, &e2e::Selection::matching(NEED_NO_POLICY, None))
}

/// The part that CI runs.
fn tutorial_births_and_ten_tests_of_policies_pass(settings: &Settings) -> Result<()> {
    let cluster = Temporary::up("short", 2, Network::Nexin, settings)?;
    tutorial::run(&cluster.0)?;
    commands::run(&cluster.0, settings.nexin.clone())?;
    permissions::check_none_is_missing(&cluster.0)?;
    births::run_test(&cluster.0, settings.pods)?;
    e2e::run_named(&cluster.0, "short", None)
}

fn upstream_tests_of_policies_pass(settings: &Settings) -> Result<()> {
    let cluster = Temporary::up("policy", 2, Network::Nexin, settings)?;
    e2e::run_named(&cluster.0, "policy", None)
}

fn upstream_conformance_tests_of_the_network_pass(settings: &Settings) -> Result<()> {
    let cluster = Temporary::up("conformance", 2, Network::Nexin, settings)?;
    e2e::run_named(&cluster.0, "conformance", None)
}

fn upstream_tests_of_services_pass(settings: &Settings) -> Result<()> {
    let cluster = Temporary::up("services", 2, Network::Nexin, settings)?;
    e2e::run_named(&cluster.0, "services", None)
}

fn conformance_tests_of_cluster_network_policy_pass(settings: &Settings) -> Result<()> {
    let cluster = Temporary::up("clusterpolicy", 2, Network::Nexin, settings)?;
    conformance::run(&cluster.0, None)
}

/// Runs the tree's PolicyTests, and those that `$NEXIN_CASES` names, separated by colons.
fn policy_tests_pass_with_pods_on_three_nodes(settings: &Settings) -> Result<()> {
    let cluster = Temporary::up("cases", 3, Network::Nexin, settings)?;
    let mut paths: Vec<PathBuf> = CASES.iter().map(|path| tree::root().join(path)).collect();
    paths.extend(std::env::var_os("NEXIN_CASES").iter().flat_map(std::env::split_paths));
    paths.iter().try_for_each(|path| {
        println!("cluster: running the documents of {}", path.display());
        cases::run(&cluster.0, settings.nexin.clone(), settings.limit, std::slice::from_ref(path))
    })
}

fn the_tutorial_runs_under_our_agent(settings: &Settings) -> Result<()> {
    let cluster = Temporary::up("tutorial", 2, Network::Nexin, settings)?;
    tutorial::run(&cluster.0)?;
    commands::run(&cluster.0, settings.nexin.clone())?;
    faults::create(&cluster.0)?;
    faults::during(&cluster.0, &|| commands::uninstall(&cluster.0, settings.nexin.clone()))
        .context("while Nexin is uninstalled")
}

fn each_permission_is_used_and_none_is_missing(settings: &Settings) -> Result<()> {
    let cluster = Temporary::up("permissions", 2, Network::Nexin, settings)?;
    tutorial::run(&cluster.0)?;
    let policy = tree::root().join(CLUSTERWIDE_POLICY).display().to_string();
    kubectl::run(&cluster.0, &["apply", "--filename", &policy])?;
    let is_valid =
        ["wait", "--for=condition=Valid", "ciliumclusterwidenetworkpolicies", "--all", "--timeout=20s"];
    kubectl::run(&cluster.0, &is_valid)?;
    kubectl::run(&cluster.0, &["delete", "--filename", &policy])?;
    permissions::check_none_is_missing(&cluster.0)?;
    permissions::check_each_is_used(&cluster.0)
}

fn newborns_are_under_policy_from_their_first_instant(settings: &Settings) -> Result<()> {
    let cluster = Temporary::up("births", 3, Network::Nexin, settings)?;
    births::run_test(&cluster.0, settings.pods)
}

fn exchanges_survive_faults(settings: &Settings) -> Result<()> {
    let cluster = Temporary::up("faults", 2, Network::Nexin, settings)?;
    faults::run_test(&cluster.0, &[], settings.outage)
}

fn nothing_is_lost_with_the_api_servers_store(settings: &Settings) -> Result<()> {
    let cluster = Temporary::up("apiserver", 2, Network::Nexin, settings)?;
    api_server::run_test(&cluster.0)
}

fn an_agent_is_back_soon_on_a_node_with_many_pods(settings: &Settings) -> Result<()> {
    let cluster = Temporary::up("restarts", 2, Network::Nexin, settings)?;
    restarts::run_test(&cluster.0, settings.pods)
}

/// A cluster of the reference plugins whose nodes have our image.
fn with_reference_plugins(name: &str, settings: &Settings) -> Result<Temporary> {
    let nexin = settings.nexin.clone().map_or_else(images::built_binary, Ok)?;
    Temporary::up(name, 2, Network::Bridge, &Settings { nexin: Some(nexin), ..*settings })
}

fn a_cluster_moves_node_by_node(settings: &Settings) -> Result<()> {
    moving::run_test(&with_reference_plugins("move", settings)?.0)
}

fn policy_is_added_to_another_plugin(settings: &Settings) -> Result<()> {
    moving::run_behind_test(&with_reference_plugins("behind", settings)?.0)
}
