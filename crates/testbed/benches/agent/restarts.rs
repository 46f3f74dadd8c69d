//! Agent and proxy end over and over while traffic goes on.

use crate::case::{Recorder, scaled};
use crate::exchanges::{Kind, ProxyEnds, Tally, attempt_denied};
use crate::node::{Node, Workload, kill};
use crate::traffic::{ECHO, HTTP, serve};
use anyhow::{Result, bail};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How many ends at full scale.
const ENDS: usize = 200;
/// How many threads make exchanges of one kind at the same time.
const AT_ONCE: usize = 4;
/// Between a start and the next end.
const REST: Duration = Duration::from_millis(100);
/// How long the next proxy may take.
const NEXT: Duration = Duration::from_secs(10);

/// `client` may use the echoes of `server` and send it GET /public; `stranger` may not.
const POLICY: &str = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: server}\nspec:\n  \
    endpointSelector: {matchLabels: {app: server}}\n  ingress:\n  - fromEndpoints:\n    - matchLabels: {app: client}\n    \
    toPorts:\n    - ports: [{port: \"7\", protocol: ANY}]\n    - ports: [{port: \"80\", protocol: TCP}]\n      rules: \
    {http: [{method: GET, path: /public}]}\n";

/// The workloads whose traffic goes on.
struct Workloads {
    server: Workload,
    client: Workload,
    stranger: Workload,
}

/// What all traffic came to.
struct Outcome {
    tallies: Vec<(Kind, Tally)>,
    /// Attempts that policy denies, and how many of them succeeded.
    denied: [u64; 2],
}

/// Ends agent and proxy in turn, and starts the agent again; the agent starts the proxy.
pub(crate) fn restarts(node: &mut Node, scale: f64, record: &mut Recorder<'_>) -> Result<()> {
    node.start()?;
    let own = std::process::id();
    let workloads = Workloads {
        server: node.workload("server", own)?,
        client: node.workload("client", own)?,
        stranger: node.workload("stranger", own)?,
    };
    serve(&workloads.server)?;
    let file = node.directory.join("policy.yaml");
    fs::write(&file, POLICY)?;
    node.apply(&file)?;
    let (is_over, ends) = (AtomicBool::new(false), ProxyEnds::default());
    let outcome = thread::scope(|scope| {
        let traffic = scope.spawn(|| make_traffic(&workloads, &ends, &is_over));
        let ended = (0..scaled(ENDS, scale)).try_for_each(|turn| {
            end(node, turn, &ends)?;
            thread::sleep(REST);
            anyhow::Ok(())
        });
        is_over.store(true, Ordering::Relaxed);
        let outcome = traffic.join().expect("the traffic does not panic");
        ended.and(outcome)
    })?;
    report(&outcome, record);
    Ok(())
}

/// Ends the agent or the proxy, and waits until the next one serves.
fn end(node: &mut Node, turn: usize, ends: &ProxyEnds) -> Result<()> {
    match turn % 5 {
        0 => end_agent(node, "-KILL"),
        1 => end_proxy(node, "-KILL", ends),
        2 => end_agent(node, "-TERM"),
        3 => end_proxy(node, "-TERM", ends),
        _ => end_agent(node, "-INT"),
    }
}

fn end_agent(node: &mut Node, signal: &str) -> Result<()> {
    node.stop(signal)?;
    node.start().map(drop)
}

fn end_proxy(node: &Node, signal: &str, ends: &ProxyEnds) -> Result<()> {
    let before = node.proxy()?;
    let _end = ends.begin();
    kill(signal, before)?;
    let until = Instant::now() + NEXT;
    while node.proxy().map_or(true, |proxy| proxy == before) {
        if Instant::now() > until {
            bail!("no other proxy serves after {} s", NEXT.as_secs());
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Makes exchanges of all kinds, and attempts that policy denies, until it is over.
fn make_traffic(workloads: &Workloads, ends: &ProxyEnds, is_over: &AtomicBool) -> Result<Outcome> {
    let Workloads { server, client, stranger } = workloads;
    thread::scope(|scope| {
        let exchanging: Vec<_> = Kind::ALL
            .into_iter()
            .flat_map(|kind| [kind; AT_ONCE])
            .map(|kind| (kind, scope.spawn(move || kind.exchange((client, server), ends, is_over))))
            .collect();
        let attempting =
            [ECHO, HTTP].map(|port| scope.spawn(move || attempt_denied((stranger, server), port, is_over)));
        let mut tallies = Kind::ALL.map(|kind| (kind, Tally::default())).to_vec();
        for (kind, thread) in exchanging {
            let tally = thread.join().expect("an exchange does not panic")?;
            tallies.iter_mut().filter(|(of, _)| *of == kind).for_each(|(_, sum)| sum.add(&tally));
        }
        let denied = attempting.map(|thread| thread.join().expect("an attempt does not panic"));
        let denied = [0, 1].map(|index| denied.iter().map(|counts| counts[index]).sum());
        Ok(Outcome { tallies, denied })
    })
}

fn report(Outcome { tallies, denied }: &Outcome, record: &mut Recorder<'_>) {
    tallies.iter().for_each(|(kind, tally)| eprintln!("{kind:?}: {tally:?}"));
    let sum = |count: fn(&Tally) -> u64| tallies.iter().map(|(_, tally)| count(tally)).sum::<u64>() as f64;
    record("exchanges", sum(|tally| tally.exchanges));
    record("exchanges lost or wrong", sum(|tally| tally.lost));
    record("HTTP requests repeated, since their proxy ended", sum(|tally| tally.repeated));
    record("idle HTTP connections that ended with their proxy", sum(|tally| tally.ended_idle));
    record("attempts that policy denies", denied[0] as f64);
    record("of these, passed", denied[1] as f64);
    let slowest = tallies.iter().map(|(_, tally)| tally.slowest).max().unwrap_or_default();
    record("slowest exchange", slowest.as_secs_f64() * 1e3);
}
