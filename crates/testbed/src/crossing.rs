//! A probe with everything that names stand for: two ends, their addresses, and what is sent.

use abi::conntrack::ConnKey;
use l7::head::MAX_FIELDS;
use l7::{Field, Refusal, Request, RequestView};
use manifest::Protocol;
use manifest::test::{HttpRequest, ProbeEnd, WorkloadName};
use policy::rule::Family;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Something on its way from one end to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crossing {
    /// Who sends it.
    pub from: End,
    /// Whom it is sent to.
    pub to: End,
    /// The sender's address, of the family of the other.
    pub source: IpAddr,
    /// The receiver's address.
    pub destination: IpAddr,
    /// What is sent.
    pub sent: Sent,
    /// The service's address that it is sent to, where it is sent to one: `to`, `destination` and the port of `sent` are
    /// then those of a backend. Without a backend they are those of the service.
    pub frontend: Option<Frontend>,
}

/// A service's address that something is sent to, and which of its backends shall be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frontend {
    /// The address and the port of the service.
    pub address: SocketAddr,
    /// The place of the backend among those of this address and port.
    pub slot: u32,
    /// How many backends there are; with none of them nothing is reached.
    pub count: u32,
}

/// One end of a crossing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// A workload.
    Workload(WorkloadName),
    /// The node itself.
    Host,
    /// Another node of the cluster, by name.
    Node(String),
    /// Anyone outside the cluster.
    World,
}

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The beginning of a connection, or a datagram.
    Connection(Protocol, u16),
    /// A connection by TCP to this port, and a request on it; its host is always given.
    Request(u16, HttpRequest),
    /// An ICMP message of this type.
    Icmp(u8),
}

/// A party as people write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(pub ProbeEnd);

impl Crossing {
    /// Whether it stays within one workload or the node, where no policy is asked. What a workload sends itself by way of a
    /// service leaves it and comes back.
    pub fn is_internal(&self) -> bool {
        self.from.is_asked() && self.from == self.to && self.frontend.is_none()
    }

    /// The address and the port that the sender writes.
    pub fn asked(&self) -> SocketAddr {
        self.frontend
            .map_or_else(|| SocketAddr::new(self.destination, self.port()), |frontend| frontend.address)
    }

    /// The number of the protocol in the IP header.
    pub fn protocol(&self) -> u8 {
        match (&self.sent, self.source) {
            (Sent::Connection(protocol, _), _) => protocol.number(),
            (Sent::Request(..), _) => Protocol::Tcp.number(),
            (Sent::Icmp(_), IpAddr::V4(_)) => Family::Ipv4.icmp(),
            (Sent::Icmp(_), IpAddr::V6(_)) => Family::Ipv6.icmp(),
        }
    }

    /// The port that policies are asked about; of an ICMP message its type, then its code.
    pub fn port(&self) -> u16 {
        match self.sent {
            Sent::Connection(_, port) | Sent::Request(port, _) => port,
            Sent::Icmp(kind) => u16::from_be_bytes([kind, 0]),
        }
    }

    /// Why no packet can be sent this way, if none can: the checksum of SCTP covers ports, so that they stay as they are.
    pub(crate) fn cannot_be_translated(&self) -> Option<&'static str> {
        let is_moved = self.frontend.is_some_and(|one| !one.is_void() && one.address.port() != self.port());
        let is_sctp = self.protocol() == Protocol::Sctp.number();
        (is_sctp && is_moved).then_some("the packet path does not translate ports of SCTP")
    }

    /// Whether a flow from this source port reaches the backend that is meant; any does where nothing is translated.
    pub(crate) fn reaches(&self, source_port: u16) -> bool {
        let Some(Frontend { address, slot, count }) = self.frontend.filter(|frontend| frontend.count > 1)
        else {
            return true;
        };
        let key = ConnKey {
            local: self.source.into(),
            remote: address.ip().into(),
            local_port: source_port.to_be_bytes(),
            remote_port: address.port().to_be_bytes(),
            protocol: self.protocol(),
            padding: [0; 3],
        };
        datapath::slot(&key, count) == slot
    }

    /// The request as whoever decides on it sees it: parsed from its bytes and made canonical, or refused.
    pub fn with_request<T>(&self, decide: impl FnOnce(Option<Result<RequestView<'_>, Refusal>>) -> T) -> T {
        let Sent::Request(_, request) = &self.sent else { return decide(None) };
        let mut head = head(request);
        let mut fields = [Field::default(); MAX_FIELDS];
        match Request::parse(&mut head, &mut fields) {
            Ok(request) => decide(Some(Ok(request.view()))),
            Err(refusal) => decide(Some(Err(refusal))),
        }
    }
}

impl Frontend {
    /// Whether the service has no backend.
    pub fn is_void(&self) -> bool {
        self.count == 0
    }
}

impl Sent {
    /// The protocol, where it has ports.
    pub(crate) fn protocol(&self) -> Option<Protocol> {
        match self {
            Self::Connection(protocol, _) => Some(*protocol),
            Self::Request(..) => Some(Protocol::Tcp),
            Self::Icmp(_) => None,
        }
    }

    /// The same, at another port.
    pub(crate) fn at_port(&self, port: u16) -> Self {
        match self {
            Self::Connection(protocol, _) => Self::Connection(*protocol, port),
            Self::Request(_, request) => Self::Request(port, request.clone()),
            Self::Icmp(kind) => Self::Icmp(*kind),
        }
    }
}

impl End {
    /// Whether policies can be about it: it is on this node.
    pub fn is_asked(&self) -> bool {
        matches!(self, Self::Workload(_) | Self::Host)
    }
}

/// The head of a request as it is sent.
pub(crate) fn head(request: &HttpRequest) -> Vec<u8> {
    let host = request.host.as_deref().unwrap_or_default();
    let fields = request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    Request::compose(&request.method, &request.path, host, fields)
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            ProbeEnd::Workload(name) => write!(f, "{}/{}", name.namespace, name.name),
            ProbeEnd::External(name) | ProbeEnd::Node(name) => f.write_str(name),
            ProbeEnd::Address(address) => address.fmt(f),
            ProbeEnd::Host => f.write_str("host"),
        }
    }
}

impl fmt::Display for Crossing {
    /// Both ends with their addresses, and what is sent: `x/a (10.0.0.1) to x/b (10.0.0.2), 80/TCP`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, source, destination, sent, frontend } = self;
        write!(f, "{from} ({source}) to {to} ({destination}), {sent}")?;
        match frontend {
            Some(Frontend { address, slot, count }) => {
                write!(f, ", by way of the service at {address} (backend {slot} of {count})")
            }
            None => Ok(()),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload(name) => write!(f, "{}/{}", name.namespace, name.name),
            Self::Host => f.write_str("host"),
            Self::Node(name) => write!(f, "node {name}"),
            Self::World => f.write_str("world"),
        }
    }
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(protocol, port) => write!(f, "{port}/{}", protocol_name(*protocol)),
            Self::Icmp(kind) => write!(f, "ICMP type {kind}"),
            Self::Request(port, request) => write!(f, "{port}/TCP {} {}", request.method, request.path),
        }
    }
}

/// The name of a protocol in manifests.
pub(crate) fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
        Protocol::Sctp => "SCTP",
    }
}
