//! Whether the agents of the cluster's other nodes answer: each agent probes the others by UDP, and answers their probes.

use crate::published::Publication;
use crate::record::time_of_day;
use crate::threads;
use api::view::NodeReachability;
use flow::Time;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The port of every node. An agent binds it once it knows another node.
const PORT: u16 = 4249;
/// The shortest time between two probes of an address, and the time between two probes of any.
const INTERVAL: Duration = Duration::from_secs(5);
const PACE: Duration = Duration::from_millis(20);
/// So many probes in a row without an answer make an address unreachable: a network may lose one.
const MISSES: u32 = 2;

/// A message: these bytes, its kind, and the number of the probe.
const LENGTH: usize = 16;
const NAME: [u8; 7] = *b"nexin-h";
const PROBE: u8 = 1;
const ANSWER: u8 = 2;

/// Why nothing is known of the other nodes.
const WITHOUT: &str = "it is not known which nodes are reachable";

/// What the probes found; all clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeHealth(Arc<Mutex<Found>>);

#[derive(Debug, Default)]
struct Found {
    addresses: BTreeMap<Target, Reach>,
    /// Why there are no probes.
    failure: Option<String>,
}

/// An address of another node, after the node's name.
type Target = (String, IpAddr);

/// What is known of an address.
#[derive(Clone, Copy, Debug, Default)]
struct Reach {
    /// The time between the last probe that was answered and its answer.
    round_trip: Option<Duration>,
    /// When the first of the probes was sent that had no answer in a row.
    silent_since: Option<Time>,
    misses: u32,
}

impl NodeHealth {
    /// Starts the thread that probes the nodes of the published state.
    pub(crate) fn start(publication: Publication) -> Self {
        let health = Self::default();
        let (of_thread, ended) = (health.clone(), health.clone());
        let end = move || ended.lock().failure = Some("its thread ended; restart the agent".into());
        let started = threads::start_then("node health", end, move || of_thread.run(&publication));
        if let Err(error) = started {
            health.lock().failure = Some(error.to_string());
        }
        health
    }

    /// The addresses that were probed at least once.
    pub(crate) fn view(&self) -> Vec<NodeReachability> {
        let view = |((name, address), reach): (&Target, &Reach)| NodeReachability {
            name: name.clone(),
            address: *address,
            reachable: reach.misses < MISSES,
            round_trip_micros: reach
                .round_trip
                .map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)),
            unreachable_since: reach.silent_since.filter(|_| reach.misses >= MISSES).map(String::from),
        };
        let found = self.lock();
        let is_known = |(_, reach): &(&Target, &Reach)| reach.round_trip.is_some() || reach.misses >= MISSES;
        found.addresses.iter().filter(is_known).map(view).collect()
    }

    /// Why there are no probes.
    pub(crate) fn note(&self) -> Option<String> {
        self.lock().failure.as_ref().map(|failure| format!("{WITHOUT}: {failure}"))
    }

    fn run(&self, publication: &Publication) {
        let mut prober: Option<Prober> = None;
        loop {
            let targets = targets(publication);
            self.lock().addresses.retain(|target, _| targets.contains(target));
            if targets.is_empty() {
                prober = None;
            } else if prober.is_none() {
                let bound = Prober::bind(PORT).map_err(|error| format!("UDP port {PORT}: {error}"));
                self.lock().failure = bound.as_ref().err().cloned();
                prober = bound.ok();
            }
            match &mut prober {
                Some(prober) => prober.round(&targets, INTERVAL, self),
                None => thread::sleep(INTERVAL),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Found> {
        // Each change is a single assignment or call, so a panic cannot leave it inconsistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The addresses by which the nodes of the cluster reach one another.
fn targets(publication: &Publication) -> Vec<Target> {
    let published = publication.current();
    let nodes = published.world.remote_nodes();
    nodes.flat_map(|node| node.internal_addresses.iter().map(|own| (node.name.clone(), *own))).collect()
}

/// Sends probes, and answers those of others.
struct Prober {
    socket: UdpSocket,
    /// The port of the other nodes.
    port: u16,
    /// The probes of this round: what they are sent to, and when.
    sent: BTreeMap<u64, (Target, Instant)>,
}

impl Prober {
    fn bind(port: u16) -> io::Result<Self> {
        let any = [IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::UNSPECIFIED)];
        let socket = UdpSocket::bind(SocketAddr::new(any[0], port))
            .or_else(|_| UdpSocket::bind(SocketAddr::new(any[1], port)))?;
        Ok(Self { socket, port, sent: BTreeMap::new() })
    }

    /// Probes each address once, and answers others, for at least `time`.
    fn round(&mut self, targets: &[Target], time: Duration, health: &NodeHealth) {
        let (began, at) = (Instant::now(), time_of_day());
        for target in targets {
            self.send(target);
            self.receive_until(Instant::now() + PACE, health);
        }
        self.receive_until(began + time, health);
        let mut found = health.lock();
        for (target, _) in std::mem::take(&mut self.sent).into_values() {
            let reach = found.addresses.entry(target).or_default();
            reach.misses = reach.misses.saturating_add(1);
            reach.silent_since.get_or_insert(at);
        }
    }

    fn send(&mut self, target: &Target) {
        // A number that no other host can guess.
        let number = RandomState::new().hash_one(target);
        self.sent.insert(number, (target.clone(), Instant::now()));
        // Without a route the answer is missing, too.
        let _ = self.socket.send_to(&message(PROBE, number), self.socket_address(target.1));
    }

    /// The address as the socket takes it: one of IPv6 takes addresses of IPv4 in their mapped form.
    fn socket_address(&self, address: IpAddr) -> SocketAddr {
        let is_v6 = self.socket.local_addr().is_ok_and(|own| own.is_ipv6());
        match address {
            IpAddr::V4(v4) if is_v6 => SocketAddr::new(v4.to_ipv6_mapped().into(), self.port),
            other => SocketAddr::new(other, self.port),
        }
    }

    fn receive_until(&mut self, end: Instant, health: &NodeHealth) {
        // One byte more than a message: a longer one is none.
        let mut bytes = [0; LENGTH + 1];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            if self.socket.set_read_timeout(Some(left)).is_err() {
                return thread::sleep(left);
            }
            // An error is a time-out, or an answer of ICMP to an earlier message.
            let Ok((length, from)) = self.socket.recv_from(&mut bytes) else { continue };
            match read(&bytes[..length]) {
                Some((PROBE, number)) => {
                    let _ = self.socket.send_to(&message(ANSWER, number), from);
                }
                Some((ANSWER, number)) => {
                    let Some((target, sent)) = self.sent.remove(&number) else { continue };
                    let reach = Reach { round_trip: Some(sent.elapsed()), ..Reach::default() };
                    health.lock().addresses.insert(target, reach);
                }
                _ => {}
            }
        }
    }
}

fn message(kind: u8, number: u64) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    bytes[..7].copy_from_slice(&NAME);
    bytes[7] = kind;
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// The kind and the number of a message.
fn read(bytes: &[u8]) -> Option<(u8, u64)> {
    let bytes: [u8; LENGTH] = bytes.try_into().ok()?;
    let number = u64::from_be_bytes(bytes[8..].try_into().ok()?);
    (bytes[..7] == NAME).then_some((bytes[7], number))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_millis(60);

    fn target(name: &str) -> Target {
        (name.to_owned(), Ipv4Addr::LOCALHOST.into())
    }

    /// A prober whose other nodes have the port of `other`.
    fn prober(other: u16) -> Prober {
        Prober { port: other, ..Prober::bind(0).unwrap() }
    }

    #[test]
    fn an_agent_that_answers_is_reachable_and_one_that_does_not_is_unreachable_since_its_first_silence() {
        let answering = prober(0);
        let port = answering.socket.local_addr().unwrap().port();
        let other = thread::spawn(move || {
            let mut answering = answering;
            answering.round(&[], 4 * TIME, &NodeHealth::default());
        });
        let (mut own, health) = (prober(port), NodeHealth::default());
        own.round(&[target("b")], TIME, &health);
        let [
            NodeReachability {
                reachable: true, round_trip_micros: Some(time), unreachable_since: None, ..
            },
        ] = &health.view()[..]
        else {
            panic!("{:?}", health.view())
        };
        assert!(Duration::from_micros(*time) < TIME);
        other.join().unwrap();
        // Its socket is closed now.
        for (is_reachable, rounds) in [(true, 1), (false, 2)] {
            let before = time_of_day();
            own.round(&[target("b")], TIME, &health);
            let [one] = &health.view()[..] else { panic!("{:?}", health.view()) };
            assert_eq!(
                (one.reachable, one.unreachable_since.is_none()),
                (is_reachable, is_reachable),
                "{rounds}"
            );
            assert!(one.unreachable_since.as_ref().is_none_or(|since| *since < String::from(before)));
        }
    }

    #[test]
    fn only_messages_of_agents_are_read() {
        let good = message(PROBE, 7);
        assert_eq!(read(&good), Some((PROBE, 7)));
        for bad in [&good[..15], &[&good[..], &[0]].concat(), &[0; LENGTH], b""] {
            assert_eq!(read(bad), None);
        }
    }
}
