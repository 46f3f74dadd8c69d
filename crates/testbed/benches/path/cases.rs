//! The kinds of packets whose time is measured: for each hook and address family, by what the packet path knows of the flow.

use crate::population::{NODE, PROXY_PORT};
use crate::setup::{ALLOWED_PORT, CLIENT, DENIED_PORT, SERVER, Setup};
use abi::{Hook, mark};
use anyhow::{Context, Result};
use datapath::craft::{self, Craft, flag};
use loader::{Loaded, PacketContext, ProgramAction};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};

/// Hop limit of frames.
const HOP_LIMIT: u8 = 255;
/// Source port of the flow that is established.
const KNOWN_PORT: u16 = 10_000;
/// Source ports of new flows begin here.
const FIRST_NEW_PORT: u16 = 20_000;
/// An end outside the cluster, IPv4 first.
const WORLD: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7))];
/// The ends of the node's own connections, of which the proxy's stands for all.
const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// A kind of packet at a hook.
pub(crate) struct Case<'a> {
    pub(crate) loaded: &'a Loaded,
    pub(crate) hook: Hook,
    pub(crate) packet: PacketContext,
    pub(crate) flow: FlowCase,
    source: IpAddr,
    destination: IpAddr,
    /// The ports of the one flow that is established, denied or ignored.
    ports: [u16; 2],
}

/// What the packet path knows of a packet's flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlowCase {
    /// Established: both ends have sent; at the proxy, a connection of the proxy.
    Established,
    /// No conntrack entry, and policy allows the packet: policy lookup, a new entry, a reported flow; at the proxy, its
    /// listener accepts the packet.
    New,
    /// No conntrack entry, and policy refuses the packet: policy lookup, a reported drop; at the proxy, no socket.
    Denied,
    /// Between a workload and the world, at a hook that judges the node's own packets.
    NotTheNodes,
    /// No policy enforces anything for the node.
    Unenforced,
}

/// The node's connection to itself through which the stack finds a socket for the packets of a proxied flow.
pub(crate) struct ProxyConnection {
    listener: TcpListener,
    client: TcpStream,
}

impl ProxyConnection {
    /// Connects in the namespace that the calling thread is in; for each address family.
    pub(crate) fn each() -> Result<[Self; 2]> {
        let [v4, v6] = LOOPBACK.map(|address| -> Result<Self> {
            let listener = TcpListener::bind((address, PROXY_PORT)).context("the node proxy's port")?;
            let client = TcpStream::connect((address, PROXY_PORT)).context("the node proxy's connection")?;
            Ok(Self { listener, client })
        });
        Ok([v4?, v6?])
    }
}

/// Every kind of packet. `enforced` has a policy for the node, and `unenforced` none.
pub(crate) fn cases<'a>(
    enforced: &'a Setup,
    unenforced: &'a Setup,
    proxy: &[ProxyConnection; 2],
) -> Result<Vec<Case<'a>>> {
    const WITHOUT: &str = "there are no programs to run";
    let loaded = enforced.loaded.as_ref().context(WITHOUT)?;
    let (client, server) = (enforced.client.interface, enforced.server.interface);
    let mut cases = Vec::new();
    for (hook, interface) in [(Hook::FromWorkload, client), (Hook::ToWorkload, server)] {
        let packet = PacketContext { interface, ..PacketContext::default() };
        cases.extend(tracked(loaded, hook, packet, [CLIENT, SERVER]));
    }
    let loaded_without = unenforced.loaded.as_ref().context(WITHOUT)?;
    for (hook, ends) in [(Hook::FromOutside, [WORLD, NODE]), (Hook::ToOutside, [NODE, WORLD])] {
        cases.extend(tracked(loaded, hook, PacketContext::default(), ends));
        let forwarded = PacketContext { ingress: client, ..PacketContext::default() };
        let [source, destination] = ends.map(|end| if end == NODE { CLIENT } else { end });
        for (source, destination) in source.into_iter().zip(destination) {
            let ports = [KNOWN_PORT, ALLOWED_PORT];
            let other = Case {
                loaded,
                hook,
                packet: forwarded,
                flow: FlowCase::NotTheNodes,
                source,
                destination,
                ports,
            };
            cases.push(Case { loaded: loaded_without, flow: FlowCase::Unenforced, ..other });
            cases.push(other);
        }
    }
    for connection in proxy {
        cases.extend(proxied(loaded, connection)?);
    }
    Ok(cases)
}

/// Established, new and denied flows between two ends.
fn tracked<'a>(
    loaded: &'a Loaded,
    hook: Hook,
    packet: PacketContext,
    [sources, destinations]: [[IpAddr; 2]; 2],
) -> impl Iterator<Item = Case<'a>> {
    sources.into_iter().zip(destinations).flat_map(move |(source, destination)| {
        [FlowCase::Established, FlowCase::New, FlowCase::Denied].map(|flow| {
            let ports = [KNOWN_PORT, if flow == FlowCase::Denied { DENIED_PORT } else { ALLOWED_PORT }];
            Case { loaded, hook, packet, flow, source, destination, ports }
        })
    })
}

/// Packets at the proxy's interface: of its connection, to its listener, and to no socket.
fn proxied<'a>(loaded: &'a Loaded, connection: &ProxyConnection) -> Result<[Case<'a>; 3]> {
    let server = connection.listener.local_addr()?;
    let address = server.ip();
    let packet = PacketContext { mark: mark::TO_PROXY, ..PacketContext::default() };
    let known = connection.client.local_addr()?.port();
    Ok([FlowCase::Established, FlowCase::New, FlowCase::Denied].map(|flow| {
        let ports = [known, if flow == FlowCase::Denied { DENIED_PORT } else { server.port() }];
        Case { loaded, hook: Hook::ToProxy, packet, flow, source: address, destination: address, ports }
    }))
}

impl Case<'_> {
    /// The packet; each number gives a new flow a source port of its own.
    pub(crate) fn segment(&self, number: u16) -> Craft {
        let [source, destination] = self.ports;
        let (source, flags) = match self.flow {
            FlowCase::Established | FlowCase::NotTheNodes | FlowCase::Unenforced => (source, flag::ACK),
            FlowCase::New => (FIRST_NEW_PORT + number, flag::SYN),
            FlowCase::Denied => (source, flag::SYN),
        };
        let ends = [SocketAddr::new(self.source, source), SocketAddr::new(self.destination, destination)];
        craft::tcp(ends[0], ends[1]).flags(flags).hop_limit(HOP_LIMIT)
    }

    /// The first segment of the flow that is established, and its answer with the answer's hook; none where no packet path
    /// tracks the flow.
    pub(crate) fn opening(&self) -> Option<[(Hook, Craft); 2]> {
        let back = match self.hook {
            Hook::FromWorkload => Hook::ToWorkload,
            Hook::ToWorkload => Hook::FromWorkload,
            Hook::FromOutside => Hook::ToOutside,
            Hook::ToOutside => Hook::FromOutside,
            _ => return None,
        };
        let [source, destination] = self.ports;
        let ends = [SocketAddr::new(self.source, source), SocketAddr::new(self.destination, destination)];
        let answer = craft::tcp(ends[1], ends[0]).flags(flag::SYN | flag::ACK);
        (self.flow == FlowCase::Established)
            .then(|| [(self.hook, craft::tcp(ends[0], ends[1])), (back, answer)])
    }

    /// The action on the packet; an allowed packet goes from the sender's program to the receiver's interface.
    pub(crate) fn expected(&self) -> ProgramAction {
        match (self.flow, self.hook) {
            (FlowCase::Denied, _) => ProgramAction::Drop,
            (_, Hook::FromWorkload) => ProgramAction::Redirect,
            _ => ProgramAction::Pass,
        }
    }
}

impl fmt::Display for Case<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = if self.source.is_ipv4() { "IPv4" } else { "IPv6" };
        let flow = match (self.flow, self.hook) {
            (FlowCase::Established, Hook::ToProxy) => "the proxy's connection",
            (FlowCase::New, Hook::ToProxy) => "to the proxy's listener",
            (FlowCase::Denied, Hook::ToProxy) => "no socket",
            (FlowCase::Established, _) => "established flow",
            (FlowCase::New, _) => "new allowed flow",
            (FlowCase::Denied, _) => "denied flow",
            (FlowCase::NotTheNodes, _) => "a workload's flow",
            (FlowCase::Unenforced, _) => "no node policy",
        };
        write!(f, "{}, {family}, {flow}", self.hook)
    }
}
