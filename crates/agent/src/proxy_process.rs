//! The node proxy's process: it looks policy up in the kernel's maps, reads rule sets from files, and sends events to
//! the agent.
//!
//! The proxy works without an agent: it finds the rule sets of a connection in the policy maps, by the packet path's
//! own code, and looks them up again when the epoch has increased.

use crate::confinement::{self, ReportFile};
use crate::heartbeats::Heartbeats;
use crate::limits::ProxyLimits;
use crate::occupancy;
use crate::paths::Paths;
use crate::proxy_handover::{self, ProxyListeners};
use crate::request_events::EventSender;
use crate::rule_set_loader::RuleSetLoader;
use crate::storage;
use crate::threads;
use abi::Address;
use abi::address::{AddressInfo, AddressKey};
use abi::endpoint::EndpointKey;
use abi::map::{self, Map, MapId};
use abi::policy::{ClassKey, ColumnKey, Direction, GroupKey, VerdictInfo, VerdictKey, action};
use abi::protocol;
use anyhow::Context;
use datapath::policy::{self, FlowQuery, PolicyRows};
use loader::{MappedEpoch, Pinned, ReadError};
use proxy::{AppliedRuleSet, ProxiedFlow, RequestPolicy, Rules};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::task::Waker;

/// The maps that the proxy reads: those of a policy lookup, and the epoch.
const MAPS: [MapId; 8] = [
    MapId::Config,
    MapId::Endpoints,
    MapId::Addresses,
    MapId::Columns,
    MapId::CidrParents,
    MapId::Groups,
    MapId::Classes,
    MapId::Verdicts,
];

/// Runs the proxy for the agent with these paths, until the process ends.
pub fn run_proxy(paths: &Paths, port: u16, limits: &ProxyLimits) -> anyhow::Result<()> {
    let pins = paths.pins();
    let pinned = Pinned::open(&pins, &MAPS).with_context(|| {
        format!("the maps under {} cannot be opened; is the agent running?", pins.display())
    })?;
    let epoch = MappedEpoch::open(&pins)?;
    let (listeners, heartbeats) = proxy_handover::receive(io::stdin().as_fd())?;
    let heartbeats = Arc::new(heartbeats);
    let at = listeners.v4[0].local_addr()?;
    anyhow::ensure!(at.port() == port, "the agent listens at {at} for the proxy of port {port}");
    let sender = |unreported| EventSender::new(&paths.request_events(), unreported);
    // The main thread has the first place, and serves no requests.
    let counts = heartbeats.unreported_counts()?.into_iter().skip(1);
    let workers = listeners.v4.iter().zip(counts);
    let senders =
        workers.map(|(_, count)| sender(Some(count)).map(Arc::new)).collect::<io::Result<Vec<_>>>()?;
    let sender = sender(None)?;
    // One socket of each family represents all sockets that share its port.
    loader::set_proxy_sockets(
        &pins,
        [&listeners.v4, &listeners.v6].map(|some| some.first().map(AsFd::as_fd)),
    )
    .context("the proxy's sockets cannot be written to the map")?;
    let config = limits.config().map_err(anyhow::Error::msg)?;
    let config = proxy::ProxyConfig { max_connections: max_connections(config.max_connections)?, ..config };
    // All files and sockets are open; threads that start from here on are confined, too.
    if let Err(error) = storage::make_directory(&paths.rule_sets()) {
        tracing::warn!(%error, "the directory of rule sets cannot be created");
    }
    let reporting = ReportFile::open(&paths.proxy_report());
    let mut rule_sets = RuleSetLoader::new(&paths.rule_sets());
    // The first runtime of a process makes a pair of sockets, which a confined process may not.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    confinement::confine(&paths.rule_sets(), &paths.request_events(), reporting)?;
    let (results, ended) = channel();
    rule_sets.start(end_of_thread(&results))?;
    let policy = Arc::new(KernelPolicy { pinned, epoch, rule_sets });
    let proxy = proxy::Proxy::new(config, policy, Arc::new(proxy::Transparent));
    run_workers(&proxy, listeners, senders, (&heartbeats, results))?;
    runtime.block_on(async {
        let watched = proxy.clone();
        let watch = until_it_ends("policy is not watched", async move { watched.watch_policy().await });
        let report = async {
            loop {
                sender.send_occupancy(proxy.occupancy().into());
                tokio::time::sleep(occupancy::INTERVAL).await;
                if let Ok(result) = ended.try_recv() {
                    return result;
                }
            }
        };
        let beat = async { heartbeats.keep_beating(0).await.context("the heartbeats cannot be written") };
        tokio::try_join!(report, beat, watch).map(drop)
    })
}

/// Runs a task that never ends by itself; its panic is an error, with this text.
async fn until_it_ends(
    without: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    tokio::spawn(task).await.context(without)?;
    anyhow::bail!("{without}")
}

/// Serves one listener of each family on each thread, which also writes its heartbeats and has a sender of its own; the
/// channel receives the result of a worker that ends, also by a panic.
fn run_workers(
    proxy: &proxy::Proxy,
    ProxyListeners { v4, v6 }: ProxyListeners,
    senders: Vec<Arc<EventSender>>,
    (heartbeats, results): (&Arc<Heartbeats>, Sender<anyhow::Result<()>>),
) -> anyhow::Result<()> {
    let mut v6 = v6.into_iter();
    for (number, (first, sender)) in v4.into_iter().zip(senders).enumerate() {
        let (proxy, results, second) = (proxy.clone(), results.clone(), v6.next());
        let heartbeats = Arc::clone(heartbeats);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (name, ended) = (format!("worker {number}"), end_of_thread(&results));
        let ending = name.clone();
        let work = move || {
            // The main thread has the first place.
            let beat = async { Ok(heartbeats.keep_beating(number + 1).await?) };
            let work = async { tokio::try_join!(serve(&proxy, (first, second), sender), beat).map(drop) };
            // Without a receiver the process is ending.
            let _ = results.send(runtime.block_on(work).context("a worker ended"));
        };
        threads::start_then(&name, move || ended(&ending), work)?;
    }
    Ok(())
}

/// Serves a listener of each family, and sends the events of both.
async fn serve(
    proxy: &proxy::Proxy,
    (first, second): (TcpListener, Option<TcpListener>),
    sender: Arc<EventSender>,
) -> anyhow::Result<()> {
    let events = Arc::clone(&sender) as Arc<dyn proxy::Events>;
    let send = until_it_ends("events are not sent", async move { sender.send_in_time().await });
    let first = proxy.serve(first, Arc::clone(&events));
    let serve = async {
        let served = match second {
            Some(second) => tokio::try_join!(first, proxy.serve(second, events)).map(drop),
            None => first.await,
        };
        served.map_err(anyhow::Error::from)
    };
    tokio::try_join!(serve, send).map(drop)
}

/// Sends that a thread ended, which ends the process.
fn end_of_thread(results: &Sender<anyhow::Result<()>>) -> impl Fn(&str) + Clone + Send + 'static {
    let results = results.clone();
    // Without a receiver the process is ending.
    move |name| drop(results.send(Err(anyhow::anyhow!("the thread {name} ended"))))
}

/// Raises the soft limit of descriptors to the hard limit; returns the number of connections that fit.
fn max_connections(wanted: usize) -> anyhow::Result<usize> {
    /// Descriptors of listeners, maps and files.
    const OTHERS: usize = 128;
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    let most = maximum.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    let fits = |connections: &usize| proxy::Proxy::descriptors(*connections) + OTHERS <= most;
    // Each connection takes at least two descriptors.
    let mut max = wanted.min(most / 2).max(1);
    while max > 1 && !fits(&max) {
        max -= (max / 64).max(1);
    }
    Ok(max)
}

/// Policy as the packet path applies it: the same map entries, looked up by the same code.
struct KernelPolicy {
    pinned: Pinned,
    epoch: MappedEpoch,
    rule_sets: RuleSetLoader,
}

impl RequestPolicy for KernelPolicy {
    fn flow(&self, client: SocketAddr, server: SocketAddr) -> Option<ProxiedFlow> {
        // Rows that were read during two changes may be those of no state. The packet path finishes its lookups before the
        // second change; a process cannot be waited for.
        let mut generation = self.generation();
        loop {
            let found = self.look_up(client, server);
            let now = self.generation();
            match found {
                _ if now != generation => generation = now,
                Ok(flow) => return flow,
                Err(error) => {
                    tracing::error!(%error, %client, %server, "policy cannot be looked up; requests are denied");
                    return None;
                }
            }
        }
    }

    /// The epoch, which increases after the map entries of a change were written.
    fn generation(&self) -> u64 {
        self.epoch.read().into()
    }

    fn rules(&self, set: u32) -> Rules {
        self.rule_sets.cache().rules(set)
    }

    fn wake_when_rules_load(&self, waker: &Waker) {
        self.rule_sets.cache().wake(waker);
    }
}

impl KernelPolicy {
    /// Looks up the verdicts of both ends, as far as they are workloads of this node. None if one of them denies the
    /// connection, or if neither end is a workload of this node.
    fn look_up(&self, client: SocketAddr, server: SocketAddr) -> anyhow::Result<Option<ProxiedFlow>> {
        let source = self.address(client)?;
        let destination = self.address(server)?;
        let sides = [(&source, &destination, Direction::Egress), (&destination, &source, Direction::Ingress)];
        let mut applied = Vec::new();
        let mut is_local = false;
        for (subject, peer, direction) in sides.into_iter().filter(|(subject, ..)| subject.interface != 0) {
            is_local = true;
            let verdict = self.verdict(subject, peer, direction, server.port())?;
            match verdict.action {
                action::ALLOW => {}
                action::REDIRECT => {
                    applied.push(AppliedRuleSet { set: verdict.l7, rule: verdict.rule, direction })
                }
                _ => return Ok(None),
            }
        }
        let flow = ProxiedFlow {
            source_identity: source.identity,
            destination_identity: destination.identity,
            workloads: (source.interface, destination.interface),
            applied,
        };
        Ok(is_local.then_some(flow))
    }

    fn verdict(
        &self,
        subject: &AddressInfo,
        peer: &AddressInfo,
        direction: Direction,
        port: u16,
    ) -> anyhow::Result<VerdictInfo> {
        let interface = subject.interface;
        let endpoint = self.pinned.lookup(map::Endpoints, &EndpointKey { interface })?;
        let endpoint = endpoint
            .with_context(|| format!("map {} has no entry for interface {interface}", MapId::Endpoints))?;
        let rows = Rows { pinned: &self.pinned, failure: Cell::new(None) };
        let query = FlowQuery { direction, protocol: protocol::TCP, port: port.to_be_bytes() };
        let verdict = policy::evaluate(&rows, &endpoint, peer, query);
        rows.failure.take().map_or(Ok(verdict), |error| Err(error.into()))
    }

    fn address(&self, of: SocketAddr) -> anyhow::Result<AddressInfo> {
        let address = self.pinned.lookup(map::Addresses, &AddressKey::host(Address::from(of.ip())))?;
        address.with_context(|| format!("map {} has no entry for {}", MapId::Addresses, of.ip()))
    }
}

/// The policy maps in the kernel. An entry that cannot be read counts as missing, and the failure is recorded: the
/// verdict must be discarded then.
struct Rows<'a> {
    pinned: &'a Pinned,
    failure: Cell<Option<ReadError>>,
}

impl Rows<'_> {
    fn lookup<M: Map>(&self, map: M, key: &M::Key) -> Option<M::Value> {
        self.pinned.lookup(map, key).unwrap_or_else(|error| {
            self.failure.set(Some(error));
            None
        })
    }
}

impl PolicyRows for Rows<'_> {
    fn column(&self, key: &ColumnKey) -> Option<u32> {
        self.lookup(map::Columns, key)
    }

    fn cidr_parent(&self, class: u32) -> Option<u32> {
        self.lookup(map::CidrParents, &class)
    }

    fn group(&self, key: &GroupKey) -> Option<u32> {
        self.lookup(map::Groups, key)
    }

    fn class(&self, key: &ClassKey) -> Option<u32> {
        self.lookup(map::Classes, key)
    }

    fn verdict(&self, key: &VerdictKey) -> Option<VerdictInfo> {
        self.lookup(map::Verdicts, key)
    }
}
