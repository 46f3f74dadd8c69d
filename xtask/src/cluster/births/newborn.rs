//! The first process of a newborn pod: it listens, and connects at once to all its peers.

use super::super::dial::{Outcome, dial, serve};
use super::super::plan::Machine;
use super::super::pods;
use super::super::timed_plugin::since_epoch;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// How long an attempt that policy allows may take: the kernel repeats a SYN after 1, 3 and 7 s.
pub(super) const ALLOWED: Duration = Duration::from_secs(10);
/// How long an attempt that policy denies is tried.
pub(super) const DENIED: Duration = Duration::from_secs(3);
/// Where newborns write what they found, on their nodes.
pub(super) const RESULTS: &str = "/var/log/nexin/births";
/// The container's directory of results.
const DIRECTORY: &str = "/results";

/// What a newborn connects to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    /// What the greeting begins with.
    pub(super) greeting: String,
    pub(super) address: SocketAddr,
    pub(super) is_allowed: bool,
}

/// The object of a newborn pod.
pub(super) fn object(name: &str, node: Machine, kind: &str, peers: &[Peer]) -> Value {
    let peers: Vec<Value> =
        peers.iter().map(|peer| json!([peer.greeting, peer.address.to_string(), peer.is_allowed])).collect();
    let task = json!({"name": name, "kind": kind, "peers": peers}).to_string();
    let container = json!({
        "name": "newborn",
        "command": ["/xtask", "cluster", "newborn", task],
        "volumeMounts": [{"name": "results", "mountPath": DIRECTORY}],
    });
    let mut pod = pods::object(name, node, &format!("newborn-{kind}"), container);
    pod["spec"]["volumes"] = json!([{"name": "results", "hostPath": {"path": RESULTS}}]);
    pod["spec"]["restartPolicy"] = "Never".into();
    pod
}

/// Runs a newborn until it is killed.
pub(in super::super) fn run(task: &str) -> Result<()> {
    let started = Instant::now();
    let task: Value = serde_json::from_str(task)?;
    let [name, kind] = ["name", "kind"].map(|key| task[key].as_str().unwrap_or_default());
    serve(format!("{kind} {name}"))?;
    let peers = task["peers"].as_array().into_iter().flatten().map(parse).collect::<Result<Vec<Peer>>>()?;
    let attempts: Vec<_> = peers
        .into_iter()
        .map(|peer| {
            thread::spawn(move || {
                let outcome = dial(peer.address, if peer.is_allowed { ALLOWED } else { DENIED });
                (peer, outcome, started.elapsed(), since_epoch())
            })
        })
        .collect();
    write(name, "born", &json!({"addresses": addresses()}))?;
    let attempts = attempts.into_iter().filter_map(|attempt| attempt.join().ok());
    let attempts: Vec<Value> = attempts
        .map(|(peer, outcome, took, at)| {
            json!({
                "greeting": peer.greeting,
                "address": peer.address.to_string(),
                "is_allowed": peer.is_allowed,
                "outcome": outcome.to_json(),
                "micros": micros(took),
                "at_micros": micros(at),
            })
        })
        .collect();
    write(name, "done", &json!({"attempts": attempts}))?;
    loop {
        thread::park();
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Writes a file that is complete when it has its name.
fn write(name: &str, what: &str, content: &Value) -> Result<()> {
    let path = Path::new(DIRECTORY).join(format!("{name}.{what}"));
    let incomplete = path.with_extension("part");
    fs::write(&incomplete, content.to_string())?;
    Ok(fs::rename(&incomplete, &path)?)
}

/// The pod's addresses: those by which it reaches others.
fn addresses() -> Vec<IpAddr> {
    let towards = |bind: &str, to: &str| -> Option<IpAddr> {
        let socket = UdpSocket::bind(bind).ok()?;
        socket.connect(to).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    [("0.0.0.0:0", "192.0.2.1:1"), ("[::]:0", "[2001:db8::1]:1")]
        .into_iter()
        .filter_map(|(bind, to)| towards(bind, to))
        .collect()
}

fn parse(peer: &Value) -> Result<Peer> {
    let text = |index: usize| peer[index].as_str().context("a peer lacks a field");
    Ok(Peer {
        greeting: text(0)?.to_owned(),
        address: text(1)?.parse()?,
        is_allowed: peer[2].as_bool().context("a peer lacks a field")?,
    })
}

/// Whether an outcome is what policy means, for a peer whose greeting begins so.
pub(super) fn is_right(outcome: &Outcome, greeting: &str, is_allowed: bool) -> bool {
    match outcome {
        Outcome::Greeted(found) => is_allowed && found.starts_with(greeting),
        _ => !is_allowed,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::dial::PORT;
    use super::*;

    #[test]
    fn only_the_right_greeting_of_an_allowed_peer_is_right() {
        let greeted = Outcome::Greeted("server-a 1".to_owned());
        assert!(is_right(&greeted, "server-a ", true) && !is_right(&greeted, "server-b ", true));
        assert!(!is_right(&greeted, "server-a ", false));
        assert!(is_right(&Outcome::Silence, "", false) && !is_right(&Outcome::Silence, "", true));
        assert!(!is_right(&Outcome::Reset, "", true));
    }

    #[test]
    fn a_newborn_reads_the_peers_that_its_object_contains() {
        let peer = Peer {
            greeting: "open ".to_owned(),
            address: SocketAddr::from(([10, 0, 0, 1], PORT)),
            is_allowed: false,
        };
        let pod = object("n", Machine::Node(1), "a", std::slice::from_ref(&peer));
        let task = pod["spec"]["containers"][0]["command"][3].as_str().unwrap();
        let task: Value = serde_json::from_str(task).unwrap();
        assert_eq!(parse(&task["peers"][0]).unwrap(), peer);
    }
}
