//! The node proxy as a process of its own: it asks the kernel's maps, reads rule sets from files, and tells the agent.
//!
//! It needs no agent to go on: which rule sets apply to a connection it asks the policy rows in the kernel, by the
//! same code as the packet path, and again when the epoch has risen.

use crate::confinement::{self, ReportFile};
use crate::limits::ProxyLimits;
use crate::occupancy;
use crate::paths::Paths;
use crate::request_events::EventSender;
use crate::rule_set_cache::RuleSetCache;
use crate::storage;
use abi::Address;
use abi::address::AddressInfo;
use abi::endpoint::EndpointKey;
use abi::policy::{ClassKey, ColumnKey, Direction, GroupKey, VerdictInfo, VerdictKey, action};
use anyhow::Context;
use datapath::policy::{self, PolicyRows, Question};
use loader::Pinned;
use proxy::{AppliedRuleSet, Flow, Policy, Rules};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::cell::Cell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::num::NonZero;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::task::Waker;
use std::thread;

/// Runs the proxy for the node whose files are under these paths, until the process is ended.
pub fn run_proxy(paths: &Paths, port: u16, limits: &ProxyLimits) -> anyhow::Result<()> {
    let pins = paths.pins();
    let pinned = Pinned::open(&pins).with_context(|| {
        format!("the maps under {} cannot be opened; is the agent running?", pins.display())
    })?;
    let policy = Arc::new(KernelPolicy { pinned, library: RuleSetCache::new(&paths.rule_sets()) });
    let sender = Arc::new(EventSender::new(&paths.request_events())?);
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    let listeners = listeners(port, workers)?;
    // One of each family stands for all that share its port.
    loader::set_proxy_sockets(&pins, listeners.each_ref().map(|some| some.first().map(AsFd::as_fd)))
        .context("the kernel cannot be told where the proxy listens")?;
    let config = limits.config().map_err(anyhow::Error::msg)?;
    let config = proxy::Config { max_connections: room(config.max_connections)?, ..config };
    // All is open that this process opens by itself; what it starts from here on is confined as well.
    if let Err(error) = storage::make_directory(&paths.rule_sets()) {
        tracing::warn!(%error, "there is no directory of rule sets");
    }
    let reporting = ReportFile::open(&paths.proxy_report());
    confinement::confine(&paths.rule_sets(), &paths.request_events(), reporting)?;
    policy.library.start()?;
    let proxy = proxy::Proxy::new(
        config,
        policy,
        Arc::clone(&sender) as Arc<dyn proxy::Events>,
        Arc::new(proxy::Transparent),
    );
    let ended = run_workers(&proxy, listeners)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let watched = proxy.clone();
    runtime.spawn(async move { watched.watch_policy().await });
    runtime.block_on(async {
        loop {
            sender.tell(proxy.occupancy().into());
            tokio::time::sleep(occupancy::INTERVAL).await;
            if let Ok(result) = ended.try_recv() {
                return result;
            }
        }
    })
}

/// As many listeners of each family as there are workers; none of IPv6 where there is no IPv6.
fn listeners(port: u16, workers: usize) -> anyhow::Result<[Vec<TcpListener>; 2]> {
    let listen = |address: IpAddr| proxy::Transparent::listen(SocketAddr::new(address, port), workers);
    let failed = |address: IpAddr| format!("the proxy cannot listen at {}", SocketAddr::new(address, port));
    let (v4, v6) = (Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
    let first = listen(v4).with_context(|| failed(v4))?;
    let second = match listen(v6) {
        Err(error) if lacks_family(&error) => {
            tracing::warn!(%error, "there is no IPv6 here; the proxy listens on IPv4 alone");
            Vec::new()
        }
        listens => listens.with_context(|| failed(v6))?,
    };
    Ok([first, second])
}

/// Serves one listener of each family on each thread; what is returned tells when one ends.
fn run_workers(
    proxy: &proxy::Proxy,
    [v4, v6]: [Vec<TcpListener>; 2],
) -> anyhow::Result<Receiver<anyhow::Result<()>>> {
    let (tell, ended) = channel();
    let mut v6 = v6.into_iter();
    for (number, first) in v4.into_iter().enumerate() {
        let (proxy, tell, second) = (proxy.clone(), tell.clone(), v6.next());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name(format!("worker {number}")).spawn(move || {
            let served = runtime.block_on(async {
                match second {
                    Some(second) => tokio::try_join!(proxy.serve(first), proxy.serve(second)).map(drop),
                    None => proxy.serve(first).await.map(drop),
                }
            });
            // Who would listen has ended, and the process with it.
            let _ = tell.send(served.context("a worker ended"));
        })?;
    }
    Ok(ended)
}

/// Whether an error of listening on the IPv6 loopback says that the kernel, or the namespace, has no IPv6.
fn lacks_family(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

/// Takes as many descriptors as the process may have, and tells how many connections they are enough for.
fn room(wanted: usize) -> anyhow::Result<usize> {
    /// Listeners, maps, files, and whatever else.
    const OTHERS: usize = 128;
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    let most = maximum.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    let fits = |connections: &usize| proxy::Proxy::descriptors(*connections) + OTHERS <= most;
    // Each takes at least two, so there are never more than half as many.
    let mut room = wanted.min(most / 2).max(1);
    while room > 1 && !fits(&room) {
        room -= (room / 64).max(1);
    }
    Ok(room)
}

/// Policy as the packet path applies it: the same rows, asked by the same code.
struct KernelPolicy {
    pinned: Pinned,
    library: RuleSetCache,
}

impl Policy for KernelPolicy {
    fn flow(&self, client: SocketAddr, server: SocketAddr) -> Option<Flow> {
        match self.ask(client, server) {
            Ok(flow) => flow,
            Err(error) => {
                tracing::error!(%error, %client, %server, "policy cannot be asked; requests are refused");
                None
            }
        }
    }

    /// The epoch, which rises after the rows that it stands for were written.
    fn generation(&self) -> u64 {
        // Where it cannot be read, each question is a new one, and its answer is that policy cannot be asked.
        static UNREAD: AtomicU64 = AtomicU64::new(u64::MAX / 2);
        self.pinned
            .config()
            .map_or_else(|_| UNREAD.fetch_add(1, Ordering::Relaxed), |config| config.epoch.into())
    }

    fn rules(&self, set: u32) -> Rules {
        self.library.rules(set)
    }

    fn wake_when_rules_load(&self, waker: &Waker) {
        self.library.wake(waker);
    }
}

impl KernelPolicy {
    /// What the policies of both ends say now, of those ends that are workloads of this node. Both must let the
    /// connection through; nothing where one does not, or where neither end is ours.
    fn ask(&self, client: SocketAddr, server: SocketAddr) -> io::Result<Option<Flow>> {
        let source = self.address(client)?;
        let destination = self.address(server)?;
        let sides = [(&source, &destination, Direction::Egress), (&destination, &source, Direction::Ingress)];
        let mut applied = Vec::new();
        let mut is_ours = false;
        for (subject, peer, direction) in sides.into_iter().filter(|(subject, ..)| subject.interface != 0) {
            is_ours = true;
            let verdict = self.verdict(subject, peer, direction, server.port())?;
            match verdict.action {
                action::ALLOW => {}
                action::REDIRECT => {
                    applied.push(AppliedRuleSet { set: verdict.l7, rule: verdict.rule, direction })
                }
                _ => return Ok(None),
            }
        }
        let flow = Flow {
            source_identity: source.identity,
            destination_identity: destination.identity,
            workloads: (source.interface, destination.interface),
            applied,
        };
        Ok(is_ours.then_some(flow))
    }

    fn verdict(
        &self,
        subject: &AddressInfo,
        peer: &AddressInfo,
        direction: Direction,
        port: u16,
    ) -> io::Result<VerdictInfo> {
        const TCP: u8 = 6;
        let Some(endpoint) = self.pinned.endpoint(&EndpointKey { interface: subject.interface })? else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let rows = Rows { pinned: &self.pinned, failure: Cell::new(None) };
        let question = Question { direction, protocol: TCP, port: port.to_be_bytes() };
        let verdict = policy::ask(&rows, &endpoint, peer, question);
        rows.failure.take().map_or(Ok(verdict), Err)
    }

    fn address(&self, of: SocketAddr) -> io::Result<AddressInfo> {
        self.pinned.address(Address::from(of.ip()))?.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// The policy rows in the kernel. A row that cannot be read is taken for none, and noted: the verdict is void then.
struct Rows<'a> {
    pinned: &'a Pinned,
    failure: Cell<Option<io::Error>>,
}

impl Rows<'_> {
    fn noted<T>(&self, row: io::Result<Option<T>>) -> Option<T> {
        row.unwrap_or_else(|error| {
            self.failure.set(Some(error));
            None
        })
    }
}

impl PolicyRows for Rows<'_> {
    fn column(&self, key: &ColumnKey) -> Option<u32> {
        self.noted(self.pinned.column(key))
    }

    fn cidr_parent(&self, class: u32) -> Option<u32> {
        self.noted(self.pinned.cidr_parent(class))
    }

    fn group(&self, key: &GroupKey) -> Option<u32> {
        self.noted(self.pinned.group(key))
    }

    fn class(&self, key: &ClassKey) -> Option<u32> {
        self.noted(self.pinned.class(key))
    }

    fn verdict(&self, key: &VerdictKey) -> Option<VerdictInfo> {
        self.noted(self.pinned.verdict(key))
    }
}
