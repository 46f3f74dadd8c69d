//! Standing checkers: each connects to every newborn as soon as its address is known, and to the next addresses before.

use super::super::dial::{Outcome, PORT, dial};
use super::super::plan::Plan;
use super::super::pods::Pod;
use super::newborn::{ALLOWED, DENIED};
use anyhow::Result;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How many addresses after the latest one are tried, and how often.
const AHEAD: u8 = 4;
const AGAIN: Duration = Duration::from_millis(400);

/// A newborn whose address is known.
#[derive(Clone, Debug)]
pub(super) struct Born {
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) addresses: Vec<IpAddr>,
    /// Whether it is about to be killed.
    pub(super) is_over: Arc<AtomicBool>,
}

/// What the checkers found.
#[derive(Debug, Default)]
pub(super) struct Checks {
    pub(super) allowed: u64,
    pub(super) denied: u64,
    /// Attempts at addresses that nothing was known of, and those that a newborn answered.
    pub(super) ahead: u64,
    pub(super) ahead_answered: u64,
    pub(super) wrong: Vec<String>,
    /// How long allowed connections took.
    pub(super) times: Vec<Duration>,
}

/// All checkers.
pub(super) struct Checkers {
    senders: Vec<Sender<Born>>,
    threads: Vec<JoinHandle<Result<()>>>,
    found: Arc<Mutex<Checks>>,
}

/// A checker: a pod that newborns of one kind let in.
#[derive(Clone)]
struct Checker {
    name: String,
    kind: &'static str,
    found: Arc<Mutex<Checks>>,
}

impl Checkers {
    /// Starts a checker in each of these pods, each a friend of a kind.
    pub(super) fn start(plan: &Plan, friends: &[(&'static str, Pod)]) -> Result<Self> {
        let found: Arc<Mutex<Checks>> = Arc::default();
        let (mut senders, mut threads) = (Vec::new(), Vec::new());
        let mut blocks = BTreeMap::new();
        for (_, pod) in friends {
            if let (IpAddr::V4(address), Some(_)) = (pod.address(true)?, plan.node_machines().next()) {
                let latest: &mut u8 = blocks.entry(block(address)).or_default();
                *latest = (*latest).max(address.octets()[3]);
            }
        }
        for (kind, pod) in friends {
            let (sender, born) = channel();
            let checker = Checker { name: pod.name.clone(), kind, found: Arc::clone(&found) };
            let blocks = blocks.clone();
            senders.push(sender);
            threads.push(pod.start(move || {
                checker.run(&born, blocks);
                Ok(())
            }));
        }
        Ok(Self { senders, threads, found })
    }

    /// Lets all checkers connect to a newborn.
    pub(super) fn check(&self, born: Born) {
        // The checkers run as long as their senders exist.
        self.senders.iter().for_each(|sender| drop(sender.send(born.clone())));
    }

    /// Waits for the attempts that are under way, and returns what was found.
    pub(super) fn end(self) -> Result<Checks> {
        drop(self.senders);
        for thread in self.threads {
            thread.join().expect("a checker does not panic")?;
        }
        thread::sleep(ALLOWED + Duration::from_secs(1));
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::take(&mut found))
    }
}

impl Checker {
    /// Checks newborns until there will be no more.
    fn run(self, born: &Receiver<Born>, mut latest: BTreeMap<[u8; 3], u8>) {
        use std::sync::mpsc::RecvTimeoutError::{Disconnected, Timeout};
        let mut again = Instant::now();
        loop {
            match born.recv_timeout(again.saturating_duration_since(Instant::now())) {
                Ok(born) => {
                    for address in &born.addresses {
                        if let IpAddr::V4(address) = address {
                            latest.insert(block(*address), address.octets()[3]);
                        }
                        let (checker, born, address) = (self.clone(), born.clone(), *address);
                        thread::spawn(move || checker.check(&born, address));
                    }
                }
                Err(Timeout) => {
                    latest.iter().for_each(|(block, latest)| self.try_ahead(*block, *latest));
                    again = Instant::now() + AGAIN;
                }
                Err(Disconnected) => return,
            }
        }
    }

    /// Connects to a newborn.
    fn check(&self, born: &Born, address: IpAddr) {
        let is_allowed = born.kind == self.kind;
        let started = Instant::now();
        let outcome = dial(SocketAddr::new(address, PORT), if is_allowed { ALLOWED } else { DENIED });
        let took = started.elapsed();
        let was_killed = born.is_over.load(Ordering::SeqCst);
        let greeted = matches!(&outcome, Outcome::Greeted(_));
        self.note(|found| {
            match is_allowed {
                true if greeted => found.times.push(took),
                // The pod was killed meanwhile: its connections end.
                true if !was_killed => found.wrong.push(format!(
                    "{} connected to {} at {address}, which policy allows: {outcome} after {took:?}",
                    self.name, born.name
                )),
                _ => self.note_greeting(found, address, &outcome),
            }
            *(if is_allowed { &mut found.allowed } else { &mut found.denied }) += 1;
        });
    }

    /// Connects to the addresses that come next, whatever has them: only newborns listen there.
    fn try_ahead(&self, block: [u8; 3], latest: u8) {
        for step in 1..=AHEAD {
            let [a, b, c] = block;
            let address = IpAddr::from(Ipv4Addr::new(a, b, c, latest.wrapping_add(step)));
            let checker = self.clone();
            thread::spawn(move || {
                let outcome = dial(SocketAddr::new(address, PORT), Duration::from_secs(1));
                checker.note(|found| {
                    found.ahead += 1;
                    found.ahead_answered += u64::from(matches!(outcome, Outcome::Greeted(_)));
                    checker.note_greeting(found, address, &outcome);
                });
            });
        }
    }

    /// Notes the greeting of a newborn of another kind, which policy denies.
    fn note_greeting(&self, found: &mut Checks, address: IpAddr, outcome: &Outcome) {
        let Outcome::Greeted(greeting) = outcome else { return };
        let is_newborn_of_another_kind =
            greeting.split_once(' ').is_some_and(|(kind, _)| kind.len() == 1 && kind != self.kind);
        if is_newborn_of_another_kind {
            found.wrong.push(format!("{} connected to {address}, which policy denies: {outcome}", self.name));
        }
    }

    fn note(&self, note: impl FnOnce(&mut Checks)) {
        note(&mut self.found.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The part of an address that names its node.
fn block(address: Ipv4Addr) -> [u8; 3] {
    let [a, b, c, _] = address.octets();
    [a, b, c]
}
