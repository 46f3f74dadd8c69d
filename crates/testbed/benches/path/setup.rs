//! Two workloads on a node of their own, with nothing, Nexin or nftables between them.
//!
//! Node and workloads are network namespaces without a name, and nothing is pinned: whichever way the process ends,
//! the kernel removes everything.

use crate::nftables;
use crate::population;
use anyhow::{Context, Result, ensure};
use loader::{Loaded, Options};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;
use workload::{NetworkNamespace, NodeNamespace, Plan, Wired};

/// The port that policies allow.
pub(crate) const ALLOWED_PORT: u16 = 5201;
/// A port that they do not.
pub(crate) const DENIED_PORT: u16 = 5202;
/// Longest packet on a workload's wire.
const MTU: u32 = 1500;
/// The client's addresses, IPv4 first.
pub(crate) const CLIENT: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 244, 0, 2)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0x10, 0x244, 0, 0, 0, 0, 2))];
/// The server's addresses, IPv4 first.
pub(crate) const SERVER: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 244, 0, 3)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0x10, 0x244, 0, 0, 0, 0, 3))];

/// What stands between the two workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Between {
    /// Plain kernel routing.
    Nothing,
    /// Nexin's programs, and policies that allow the one port.
    Policy,
    /// Nexin's programs, and no policy.
    NoPolicy,
    /// Rules in the node's forward chain that mean the same as the policies.
    Nftables,
}

/// A node, its two workloads and a server's socket.
pub(crate) struct Setup {
    pub(crate) between: Between,
    pub(crate) node: NetworkNamespace,
    pub(crate) client: Door,
    pub(crate) server: Door,
    pub(crate) listener: TcpListener,
    /// The programs that judge, where there are any.
    pub(crate) loaded: Option<Loaded>,
}

/// A workload and its host-side interface.
pub(crate) struct Door {
    pub(crate) namespace: NetworkNamespace,
    pub(crate) interface: u32,
}

impl Between {
    /// All set-ups; ratios are to the first.
    pub(crate) const ALL: [Self; 4] = [Self::Nothing, Self::Policy, Self::NoPolicy, Self::Nftables];

    /// What tables call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nothing => "no programs (plain kernel routing)",
            Self::Policy => "nexin, policy allows by identity and port",
            Self::NoPolicy => "nexin, no policy",
            Self::Nftables => "nftables, rules of the same meaning",
        }
    }

    /// Whether it lets nothing through but the allowed port.
    fn refuses(self) -> bool {
        matches!(self, Self::Policy | Self::Nftables)
    }
}

impl Setup {
    /// Sets a node up, and sees that what stands between its workloads lets through what it should, and no more.
    pub(crate) fn new(between: Between) -> Result<Self> {
        let node = NetworkNamespace::anonymous()?;
        let [client, server] = [NetworkNamespace::anonymous()?, NetworkNamespace::anonymous()?];
        let wired = node.enter(|| wire(between, [&client, &server]))?;
        let (loaded, [client_wire, server_wire]) = wired.with_context(|| between.name())?;
        let listener = server.enter(|| TcpListener::bind((SERVER[0], ALLOWED_PORT)))??;
        let client = Door { namespace: client, interface: client_wire.interface };
        let server = Door { namespace: server, interface: server_wire.interface };
        let setup = Self { between, node, client, server, listener, loaded };
        setup.check().with_context(|| between.name())?;
        Ok(setup)
    }

    fn check(&self) -> Result<()> {
        let allowed = self.try_port(ALLOWED_PORT, Duration::from_secs(2))?;
        allowed.context("the allowed port cannot be reached")?;
        drop(self.listener.accept()?);
        let denied = self.try_port(DENIED_PORT, Duration::from_millis(200))?;
        let outcome = denied.expect_err("no server listens on the denied port").kind();
        let expected =
            if self.between.refuses() { io::ErrorKind::TimedOut } else { io::ErrorKind::ConnectionRefused };
        ensure!(outcome == expected, "the port beside the allowed one is {outcome}, not {expected}");
        Ok(())
    }

    fn try_port(&self, port: u16, patience: Duration) -> Result<io::Result<TcpStream>> {
        let address = SocketAddr::new(SERVER[0], port);
        Ok(self.client.namespace.enter(|| TcpStream::connect_timeout(&address, patience))?)
    }
}

/// Wires the workloads to the node that the calling thread is in, and takes the wires up once they are guarded.
fn wire(between: Between, workloads: [&NetworkNamespace; 2]) -> Result<(Option<Loaded>, [Wired; 2])> {
    let mut node = NodeNamespace::current()?;
    node.prepare()?;
    let [client, server] = workloads;
    let plan = |host, addresses| Plan { host, addresses, mtu: MTU, index: None, alias: None };
    let wires = [node.wire(client, &plan("client", &CLIENT))?, node.wire(server, &plan("server", &SERVER))?];
    let loaded = match between {
        Between::Nothing => None,
        Between::Policy => Some(load(&wires, population::policies()?)?),
        Between::NoPolicy => Some(load(&wires, Vec::new())?),
        Between::Nftables => {
            load_rules()?;
            None
        }
    };
    for wired in &wires {
        node.up(wired)?;
    }
    Ok((loaded, wires))
}

/// Loads the programs with the rows of a whole node, and attaches them.
fn load(wires: &[Wired; 2], policies: Vec<policy::rule::Policy>) -> Result<Loaded> {
    let mut loaded = Loaded::open(Options::default())?;
    let writes = control::World::new().apply(population::changes(wires, policies));
    loaded.apply(&writes.now)?;
    for wired in wires {
        loaded.attach(wired.interface)?;
    }
    Ok(loaded)
}

/// Loads rules that mean what the policies mean for the two workloads.
fn load_rules() -> Result<()> {
    let pairs = ["ip", "ip6"].into_iter().zip(CLIENT.into_iter().zip(SERVER));
    let accepted = pairs.map(|(family, (client, server))| {
        format!("{family} saddr {client} {family} daddr {server} tcp dport {ALLOWED_PORT} accept;\n")
    });
    let rules = format!(
        "table inet guard {{\nchain forward {{\ntype filter hook forward priority filter; policy drop;\n\
         ct state established accept;\n{}}}\n}}\n",
        accepted.collect::<String>()
    );
    nftables::load(&rules)
}
