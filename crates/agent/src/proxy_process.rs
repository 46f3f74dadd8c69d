//! The node proxy as a process of its own: it asks the kernel's maps, reads rule sets from files, and tells the agent.
//!
//! It needs no agent to go on. What the kernel remembers of a flow says which rule sets apply; when the agent has
//! changed policy, the packet path has judged the flow anew by the time the next request arrives.

use crate::paths::Paths;
use crate::request_events::Reporter;
use crate::rule_sets::Library;
use abi::Address;
use abi::conntrack::{ConnInfo, ConnKey, flag};
use abi::policy::Direction;
use anyhow::Context;
use loader::Pinned;
use proxy::{Applied, Flow, Policy};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Runs the proxy for the node whose files are under these paths, until the process is ended.
pub fn run_proxy(paths: &Paths, port: u16) -> anyhow::Result<()> {
    let pins = paths.pins();
    let pinned = Pinned::open(&pins).with_context(|| {
        format!("the maps under {} cannot be opened; is the agent running?", pins.display())
    })?;
    let policy = KernelPolicy { pinned, library: Library::new(&paths.rule_sets()), stale: AtomicU64::new(0) };
    let events = Reporter::new(&paths.request_events())?;
    let listeners = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)].map(|address| {
        let address = SocketAddr::new(address, port);
        proxy::Transparent::listen(address).with_context(|| format!("the proxy cannot listen at {address}"))
    });
    let [v4, v6] = listeners;
    let listeners = [v4?, v6?];
    let proxy = proxy::Proxy::new(
        proxy::Config::default(),
        Arc::new(policy),
        Arc::new(events),
        Arc::new(proxy::Transparent),
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let [v4, v6] = listeners;
        tokio::try_join!(proxy.serve(v4), proxy.serve(v6)).map(drop)
    })?;
    Ok(())
}

/// Policy as the packet path applied it to a flow.
struct KernelPolicy {
    pinned: Pinned,
    library: Library,
    /// How many answers were given from rows of an older epoch; each asks for a new look at the next request.
    stale: AtomicU64,
}

impl Policy for KernelPolicy {
    fn flow(&self, client: SocketAddr, server: SocketAddr) -> Option<Flow> {
        match self.ask(client, server) {
            Ok(flow) => flow,
            Err(error) => {
                tracing::error!(%error, %client, %server, "the flow cannot be looked up; its requests are refused");
                None
            }
        }
    }

    fn generation(&self) -> u64 {
        // Where the epoch cannot be read, every request asks again, and then fails.
        let epoch = self
            .pinned
            .config()
            .map_or_else(|_| self.stale.fetch_add(1, Ordering::Relaxed), |config| config.epoch.into());
        epoch + self.stale.load(Ordering::Relaxed)
    }

    fn rules(&self, set: u32) -> Option<Arc<l7::Matcher>> {
        self.library.matcher(set)
    }
}

impl KernelPolicy {
    fn ask(&self, client: SocketAddr, server: SocketAddr) -> std::io::Result<Option<Flow>> {
        let out = self.pinned.connection(&key(client, server))?;
        let into = self.pinned.connection(&key(server, client))?;
        let sides = [(out, Direction::Egress), (into, Direction::Ingress)];
        let proxied: Vec<(ConnInfo, Direction)> = sides
            .into_iter()
            .filter_map(|(row, direction)| Some((row?, direction)))
            .filter(|(row, _)| row.flags & flag::PROXIED != 0)
            .collect();
        if proxied.is_empty() {
            return Ok(None);
        }
        let epoch = self.pinned.config()?.epoch;
        if proxied.iter().any(|(row, _)| row.epoch != epoch) {
            self.stale.fetch_add(1, Ordering::Relaxed);
        }
        let applied = proxied.iter().filter(|(row, _)| row.l7 != 0);
        Ok(Some(Flow {
            source_identity: self.identity(client)?,
            destination_identity: self.identity(server)?,
            applied: applied
                .map(|(row, direction)| Applied { set: row.l7, rule: row.rule, direction: *direction })
                .collect(),
        }))
    }

    fn identity(&self, of: SocketAddr) -> std::io::Result<u32> {
        Ok(self.pinned.address(Address::from(of.ip()))?.map_or(abi::identity::UNKNOWN, |info| info.identity))
    }
}

fn key(local: SocketAddr, remote: SocketAddr) -> ConnKey {
    ConnKey {
        local: local.ip().into(),
        remote: remote.ip().into(),
        local_port: local.port().to_be_bytes(),
        remote_port: remote.port().to_be_bytes(),
        protocol: 6,
        padding: [0; 3],
    }
}
