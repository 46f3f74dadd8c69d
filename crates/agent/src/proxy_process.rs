//! The node proxy as a process of its own: it asks the kernel's maps, reads rule sets from files, and tells the agent.
//!
//! It needs no agent to go on: which rule sets apply to a connection it asks the policy rows in the kernel, by the
//! same code as the packet path, and again when the epoch has risen.

use crate::confinement::{self, Reporting};
use crate::paths::Paths;
use crate::request_events::Reporter;
use crate::rule_sets::Library;
use abi::Address;
use abi::address::AddressInfo;
use abi::endpoint::EndpointKey;
use abi::policy::{ClassKey, ColumnKey, Direction, GroupKey, VerdictInfo, VerdictKey, action};
use anyhow::Context;
use datapath::policy::{self, PolicyRows, Question};
use loader::Pinned;
use proxy::{Applied, Flow, Policy};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::cell::Cell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Runs the proxy for the node whose files are under these paths, until the process is ended.
pub fn run_proxy(paths: &Paths, port: u16) -> anyhow::Result<()> {
    let pins = paths.pins();
    let pinned = Pinned::open(&pins).with_context(|| {
        format!("the maps under {} cannot be opened; is the agent running?", pins.display())
    })?;
    let policy = KernelPolicy { pinned, library: Library::new(&paths.rule_sets()) };
    let events = Reporter::new(&paths.request_events())?;
    let listen = |address: IpAddr| proxy::Transparent::listen(SocketAddr::new(address, port));
    let failed = |address: IpAddr| format!("the proxy cannot listen at {}", SocketAddr::new(address, port));
    let (v4, v6) = (Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
    let first = listen(v4).with_context(|| failed(v4))?;
    let second = match listen(v6) {
        Err(error) if lacks_family(&error) => {
            tracing::warn!(%error, "there is no IPv6 here; the proxy listens on IPv4 alone");
            None
        }
        listens => Some(listens.with_context(|| failed(v6))?),
    };
    let config = proxy::Config { max_connections: room()?, ..proxy::Config::default() };
    // All is open; from here on strangers are listened to.
    let reporting = Reporting::open(&paths.proxy_report())?;
    confinement::confine(&paths.rule_sets(), &paths.request_events(), reporting)?;
    let proxy = proxy::Proxy::new(config, Arc::new(policy), Arc::new(events), Arc::new(proxy::Transparent));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match second {
            Some(second) => tokio::try_join!(proxy.serve(first), proxy.serve(second)).map(drop),
            None => proxy.serve(first).await.map(drop),
        }
    })?;
    Ok(())
}

/// Whether an error of listening on the IPv6 loopback says that the kernel, or the namespace, has no IPv6.
fn lacks_family(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

/// Takes as many descriptors as the process may have, and tells how many connections they are enough for.
fn room() -> anyhow::Result<usize> {
    /// Of one connection: the client's socket and the server's.
    const EACH: u64 = 2;
    /// Listeners, maps, files, and whatever else.
    const OTHERS: u64 = 64;
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    let most = proxy::Config::default().max_connections;
    let fits = maximum.map_or(u64::MAX, |maximum| maximum.saturating_sub(OTHERS) / EACH);
    Ok(usize::try_from(fits).map_or(most, |fits| fits.clamp(1, most)))
}

/// Policy as the packet path applies it: the same rows, asked by the same code.
struct KernelPolicy {
    pinned: Pinned,
    library: Library,
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

    fn rules(&self, set: u32) -> Option<Arc<l7::Matcher>> {
        self.library.matcher(set)
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
                action::REDIRECT => applied.push(Applied { set: verdict.l7, rule: verdict.rule, direction }),
                _ => return Ok(None),
            }
        }
        let flow =
            Flow { source_identity: source.identity, destination_identity: destination.identity, applied };
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
