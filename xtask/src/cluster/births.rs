//! Births: pods are born and killed on all nodes, while connections from and to each newborn are checked from its first instant.

mod attachment_steps;
mod checkers;
mod newborn;
mod tally;

use super::dial::{self, PORT};
use super::plan::{Machine, Plan};
use super::pods::{self, Pod};
use super::{kubectl, node, timed_plugin};
use crate::command::run_with_input;
use anyhow::{Context, Result, bail};
use checkers::{Born, Checkers};
pub(super) use newborn::run as run_newborn;
use newborn::{Peer, RESULTS};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tally::Tally;

const POLICIES: &str = include_str!("births/policies.yaml");
/// The kinds of newborns: each has servers and friends of its own.
const KINDS: [&str; 2] = ["a", "b"];
/// How many pods are created at once, and how many exist at most.
const AT_ONCE: usize = 10;
const MOST: usize = 40;
/// Every so many newborns, one is killed at once.
const KILLED: usize = 5;
/// The time in which a newborn finishes its checks.
const LIFE: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(10);

/// A newborn that was created.
struct Alive {
    kind: &'static str,
    node: Machine,
    created: Instant,
    /// Set when the pod is about to be killed.
    is_over: Arc<AtomicBool>,
    is_killed_at_once: bool,
    was_born: bool,
}

/// Bears and kills this many pods; a connection that is wrongly allowed or refused is an error.
pub(super) fn run_test(plan: &Plan, count: usize) -> Result<()> {
    timed_plugin::install(plan)?;
    for machine in plan.node_machines() {
        fs::create_dir_all(results(plan, machine))?;
    }
    let standing = Standing::create(plan)?;
    for machine in plan.node_machines() {
        timed_plugin::forget(plan, machine)?;
    }
    let checkers = Checkers::start(plan, &standing.friends)?;
    let mut births = Births {
        plan,
        peers: standing.peers(plan)?,
        checkers,
        alive: BTreeMap::new(),
        tally: Tally::default(),
    };
    let started = Instant::now();
    births.run(count)?;
    let Births { checkers, mut tally, .. } = births;
    tally.add_checks(checkers.end()?);
    println!(
        "cluster: {count} births in {:.0} s, {:.1} a second",
        started.elapsed().as_secs_f32(),
        count as f32 / started.elapsed().as_secs_f32()
    );
    tally.print(plan)?;
    tally.verdict()
}

/// The directory of results of a node, on this machine.
fn results(plan: &Plan, machine: Machine) -> PathBuf {
    node::own_directory(&plan.name, machine, RESULTS)
}

/// The pods that exist during the whole test.
struct Standing {
    servers: Vec<(&'static str, Pod)>,
    friends: Vec<(&'static str, Pod)>,
}

impl Standing {
    /// Creates the policies and a pod of each role on each node, and starts the servers.
    fn create(plan: &Plan) -> Result<Self> {
        run_with_input(kubectl::command(&plan.name).args(["apply", "--filename", "-"]), POLICIES)?;
        let roles = ["server-a", "server-b", "open", "friend-a", "friend-b"];
        let pods = plan
            .node_machines()
            .flat_map(|machine| roles.map(|role| pods::idle(&format!("{role}-{machine}"), machine, role)));
        pods::create(plan, &pods.collect::<Vec<_>>())?;
        let nodes = usize::from(plan.nodes);
        let of = |role: &'static str| -> Result<Vec<(&'static str, Pod)>> {
            Ok(pods::ready(plan, &format!("app={role}"), nodes)?.into_iter().map(|pod| (role, pod)).collect())
        };
        let servers = [of("server-a")?, of("server-b")?, of("open")?].concat();
        for (role, pod) in &servers {
            let greeting = format!("{role} {}", pod.name);
            pod.start(move || dial::serve(greeting)).join().expect("a server does not panic")?;
        }
        let friends = [("a", of("friend-a")?), ("b", of("friend-b")?)];
        let friends =
            friends.into_iter().flat_map(|(kind, pods)| pods.into_iter().map(move |(_, pod)| (kind, pod)));
        Ok(Self { servers, friends: friends.collect() })
    }

    /// What a newborn of each kind connects to.
    fn peers(&self, plan: &Plan) -> Result<BTreeMap<&'static str, Vec<Peer>>> {
        let mut peers = BTreeMap::new();
        for kind in KINDS {
            let own = format!("server-{kind}");
            let mut of_kind = Vec::new();
            for (role, pod) in &self.servers {
                for address in &pod.addresses {
                    let address = SocketAddr::new(*address, PORT);
                    let greeting = format!("{role} {}", pod.name);
                    of_kind.push(Peer { greeting, address, is_allowed: *role == own });
                }
            }
            for role in ["server-a", "server-b", "open"] {
                let address =
                    kubectl::run(plan, &["get", "service", role, "--output=jsonpath={.spec.clusterIP}"])?;
                let address: IpAddr = address.trim().parse().context("the address of a service")?;
                let address = SocketAddr::new(address, PORT);
                // Any pod of the role answers.
                of_kind.push(Peer { greeting: format!("{role} "), address, is_allowed: role == own });
            }
            peers.insert(kind, of_kind);
        }
        Ok(peers)
    }
}

/// The births of a run.
struct Births<'a> {
    plan: &'a Plan,
    peers: BTreeMap<&'static str, Vec<Peer>>,
    checkers: Checkers,
    alive: BTreeMap<String, Alive>,
    tally: Tally,
}

impl Births<'_> {
    fn run(&mut self, count: usize) -> Result<()> {
        let mut created = 0;
        let mut over = Vec::new();
        while created < count || !self.alive.is_empty() {
            let next = AT_ONCE.min(count - created);
            if next > 0 && self.alive.len() + next <= MOST {
                self.create(created..created + next)?;
                created += next;
            }
            over.extend(self.collect()?);
            // One request deletes several pods.
            if over.len() >= AT_ONCE || (created == count && !over.is_empty()) {
                pods::delete(self.plan, &over)?;
                over.iter().for_each(|name| drop(self.alive.remove(name)));
                over.clear();
            }
            let late = self.alive.iter().find(|(_, one)| one.created.elapsed() > LIFE);
            if let Some((name, one)) = late {
                let what = if one.was_born { "did not finish its checks" } else { "was not born" };
                bail!("{name} on {} {what} within {} s", one.node, LIFE.as_secs());
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    fn create(&mut self, numbers: std::ops::Range<usize>) -> Result<()> {
        let mut objects = Vec::new();
        for number in numbers {
            let node = Machine::Node(1 + u8::try_from(number % usize::from(self.plan.nodes))?);
            // Not in step with the nodes: an address is given to both kinds.
            let kind = KINDS[(number / usize::from(self.plan.nodes) + number / 7) % KINDS.len()];
            let name = format!("newborn-{number}");
            objects.push(newborn::object(&name, node, kind, &self.peers[kind]));
            let alive = Alive {
                kind,
                node,
                created: Instant::now(),
                is_over: Arc::default(),
                is_killed_at_once: number % KILLED == KILLED - 1,
                was_born: false,
            };
            self.alive.insert(name, alive);
        }
        pods::create(self.plan, &objects)
    }

    /// Reads what newborns wrote; returns the names of those that are to be killed.
    fn collect(&mut self) -> Result<Vec<String>> {
        let mut over = Vec::new();
        for machine in self.plan.node_machines() {
            for entry in fs::read_dir(results(self.plan, machine))? {
                let path = entry?.path();
                let (Some(stem), Some(kind)) = (path.file_stem(), path.extension()) else { continue };
                let name = stem.to_string_lossy().into_owned();
                let Some(alive) = self.alive.get_mut(&name) else { continue };
                if kind != "born" && kind != "done" {
                    continue;
                }
                let text: Value = serde_json::from_str(&fs::read_to_string(&path)?)?;
                fs::remove_file(&path)?;
                if kind == "born" {
                    alive.was_born = true;
                    let addresses =
                        text["addresses"].as_array().into_iter().flatten().filter_map(Value::as_str);
                    let addresses = addresses.map(str::parse).collect::<Result<Vec<IpAddr>, _>>()?;
                    self.tally.note_born(&addresses);
                    let is_over = Arc::clone(&alive.is_over);
                    self.checkers.check(Born { kind: alive.kind, name: name.clone(), addresses, is_over });
                } else {
                    self.tally.add_newborn(&name, alive.node, &text);
                }
                if kind == "done" || alive.is_killed_at_once {
                    // What is cut off from now on is cut off by the end of the pod.
                    if !alive.is_over.swap(true, Ordering::SeqCst) {
                        over.push(name);
                    }
                }
            }
        }
        Ok(over)
    }
}
