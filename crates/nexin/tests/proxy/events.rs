//! Tests of the events of requests: each is seen, or counted as lost.

use crate::bed::{Bed, eventually};
use crate::stage::{Manner, PATIENCE, PUBLIC, connect, number, serve};
use api::{ApiRequest, Client};
use flow::{FlowVerdict, LostSource, Observed};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// What an observer saw.
#[derive(Default)]
struct Seen {
    forwarded: AtomicU64,
    denied: AtomicU64,
    /// Requests that the proxy could not report.
    lost: AtomicU64,
}

impl Seen {
    /// Counts what this node's observers see from now on.
    fn follow(bed: &Bed) -> Arc<Self> {
        let request = ApiRequest::Observe { last: 0, follow: true, filters: vec!["type=l7".into()] };
        let client = Client::connect(&bed.socket()).unwrap();
        let stream = client.follow::<Observed>(request).unwrap();
        let seen = Arc::<Self>::default();
        let counts = Arc::clone(&seen);
        thread::spawn(move || stream.map_while(Result::ok).for_each(|observed| counts.count(&observed)));
        seen
    }

    fn count(&self, observed: &Observed) {
        let (counter, count) = match observed {
            Observed::Lost { lost_events, .. } => {
                assert_eq!(lost_events.source, LostSource::Proxy, "the observer is fast enough");
                (&self.lost, lost_events.num_events_lost)
            }
            Observed::Flow(flow) if flow.verdict == FlowVerdict::Forwarded => (&self.forwarded, 1),
            Observed::Flow(_) => (&self.denied, 1),
        };
        counter.fetch_add(count, Ordering::Relaxed);
    }

    /// Forwarded requests, denied requests, and lost events.
    fn counts(&self) -> [u64; 3] {
        [&self.forwarded, &self.denied, &self.lost].map(|counter| counter.load(Ordering::Relaxed))
    }
}

/// Sends a request on an open connection; returns the status of the response.
fn exchange(stream: &mut TcpStream, path: &str) -> u16 {
    try_exchange(stream, path).unwrap()
}

fn try_exchange(stream: &mut TcpStream, path: &str) -> io::Result<u16> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: s\r\n\r\n")?;
    let (mut response, mut part) = (Vec::new(), [0; 1024]);
    while !response.ends_with(b"\r\n\r\nok") && !response.ends_with(b"Access denied\r\n") {
        let count = stream.read(&mut part)?;
        if count == 0 {
            return Err(io::Error::other(String::from_utf8_lossy(&response)));
        }
        response.extend_from_slice(&part[..count]);
    }
    Ok(String::from_utf8_lossy(&response[9..12]).parse().unwrap())
}

fn signal(process: u32, signal: &str) {
    assert!(Command::new("kill").args([signal, &process.to_string()]).status().unwrap().success());
}

#[test]
#[ignore = "needs root"]
fn requests_that_are_made_while_the_agent_is_stopped_are_seen_or_counted() {
    let bed = Bed::new("events");
    bed.apply(PUBLIC);
    let (server, client) = (bed.bare_workload("server"), bed.bare_workload("client"));
    serve(&server, Manner::Keep);
    let seen = Seen::follow(&bed);
    let mut stream = connect(&client, SocketAddr::new(server.addresses[0], 80), None).unwrap();
    assert_eq!(exchange(&mut stream, "/public"), 200);
    assert!(eventually(|| (seen.counts() == [1, 0, 0]).then_some(())).is_some(), "{:?}", seen.counts());

    let made = number("NEXIN_EVENTS", 20_000);
    signal(bed.agent(), "-STOP");
    for request in 0..made {
        let (path, status) = if request % 100 == 0 { ("/private", 403) } else { ("/public", 200) };
        assert_eq!(exchange(&mut stream, path), status, "no request waits for the agent");
    }
    signal(bed.agent(), "-CONT");
    let all = eventually(|| (seen.counts().iter().sum::<u64>() == made + 1).then_some(()));
    let [forwarded, denied, lost] = seen.counts();
    assert!(
        all.is_some(),
        "{made} requests within {PATIENCE:?}: {forwarded} forwarded, {denied} denied, {lost} lost"
    );
    assert_eq!(denied, made / 100, "denials have a place that forwards do not take");
    assert!(lost > 0 && forwarded > 5000, "{forwarded} forwarded, {lost} lost");
    assert_eq!(bed.status().lost_events, lost);
}

#[test]
#[ignore = "needs root"]
fn requests_that_end_as_the_proxy_is_killed_are_seen_or_counted() {
    const ROUNDS: u64 = 5;
    let bed = Bed::new("killed");
    bed.apply(PUBLIC);
    let (server, client) = (bed.bare_workload("server"), bed.bare_workload("client"));
    serve(&server, Manner::Keep);
    let seen = Seen::follow(&bed);
    let mut made = 0;
    for _ in 0..ROUNDS {
        let mut stream = connect(&client, SocketAddr::new(server.addresses[0], 80), None).unwrap();
        let requests = thread::spawn(move || {
            let mut made = 0;
            while try_exchange(&mut stream, "/public").is_ok_and(|status| status == 200) {
                made += 1;
            }
            made
        });
        thread::sleep(Duration::from_millis(300));
        let proxy = bed.status().proxy.unwrap();
        signal(proxy, "-KILL");
        made += requests.join().unwrap();
        let next = || bed.status().proxy.filter(|next| *next != proxy);
        assert!(eventually(next).is_some(), "the next proxy");
    }
    // Each round ends in a request that may have a response which the client did not receive.
    let complete = || made..=made + ROUNDS;
    let sum = || seen.counts().iter().sum::<u64>();
    assert!(
        eventually(|| complete().contains(&sum()).then_some(())).is_some(),
        "{made}: {:?}",
        seen.counts()
    );
    let [_, _, lost] = seen.counts();
    assert!(lost > 0, "some records waited when the proxy was killed");
    assert_eq!(bed.status().lost_events, lost);
}
