//! A crossing: a probe whose names are resolved to two ends, their addresses, and what is sent.

use abi::service::ChoiceKey;
use l7::head::MAX_FIELDS;
use l7::{Field, Refusal, Request, RequestView};
use manifest::TransportProtocol;
use manifest::test::{HttpRequest, ProbeEnd, WorkloadName};
use policy::rule::Family;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// A packet, connection or request from one end to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crossing {
    /// The sender.
    pub from: CrossingEnd,
    /// The receiver.
    pub to: CrossingEnd,
    /// The sender's address, of the same family as the receiver's.
    pub source: IpAddr,
    /// The receiver's address.
    pub destination: IpAddr,
    /// What is sent.
    pub sent: Sent,
    /// The service's address, where the sender uses one. `to`, `destination` and the port of `sent` then name a backend, or
    /// the service itself where it has no backend.
    pub frontend: Option<CrossingFrontend>,
}

/// A service's address that the sender uses, and the backend that must receive the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrossingFrontend {
    /// The address and the port of the service.
    pub address: SocketAddr,
    /// The index of the backend in the backend set of this address and port.
    pub index: u32,
    /// The number of backends; 0 where the service has none.
    pub count: u32,
}

/// One end of a crossing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CrossingEnd {
    /// A workload.
    Workload(WorkloadName),
    /// The node itself.
    Host,
    /// Another node of the cluster, by name.
    Node(String),
    /// A host outside the cluster.
    World,
}

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The first packet of a connection, or a datagram.
    Connection(TransportProtocol, u16),
    /// A TCP connection to this port, and a request on it; the request always names a host.
    Request(u16, HttpRequest),
    /// An ICMP message of this type.
    Icmp(u8),
}

/// An end as test files write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenEnd(pub ProbeEnd);

impl Crossing {
    /// Whether both ends are one workload or the node: no policy applies then, through a service or not.
    pub fn is_internal(&self) -> bool {
        self.from.is_enforced_here() && self.from == self.to
    }

    /// The destination address and port in the packet as it is sent.
    pub fn asked(&self) -> SocketAddr {
        self.frontend
            .map_or_else(|| SocketAddr::new(self.destination, self.port()), |frontend| frontend.address)
    }

    /// The number of the protocol in the IP header.
    pub fn protocol(&self) -> u8 {
        match (&self.sent, self.source) {
            (Sent::Connection(protocol, _), _) => protocol.number(),
            (Sent::Request(..), _) => TransportProtocol::Tcp.number(),
            (Sent::Icmp(_), IpAddr::V4(_)) => Family::Ipv4.icmp(),
            (Sent::Icmp(_), IpAddr::V6(_)) => Family::Ipv6.icmp(),
        }
    }

    /// The port that policies match; for an ICMP message its type in the upper byte and its code in the lower.
    pub fn port(&self) -> u16 {
        match self.sent {
            Sent::Connection(_, port) | Sent::Request(port, _) => port,
            Sent::Icmp(kind) => u16::from_be_bytes([kind, 0]),
        }
    }

    /// Why no such packet can be sent, where none can: the SCTP checksum covers the ports, so the packet path does not
    /// translate them.
    pub(crate) fn cannot_be_translated(&self) -> Option<&'static str> {
        let is_moved = self.frontend.is_some_and(|one| !one.is_void() && one.address.port() != self.port());
        let is_sctp = self.protocol() == TransportProtocol::Sctp.number();
        (is_sctp && is_moved).then_some("the packet path does not translate ports of SCTP")
    }

    /// The index of the one backend that all flows to the destination reach, of a service that keeps its clients.
    pub(crate) fn backend_of_client(&self, count: usize) -> usize {
        let key = self.choice_key(SocketAddr::new(self.destination, self.port()), 0);
        let count = u32::try_from(count).expect("a test has fewer backends than 2^32");
        if count == 0 { 0 } else { datapath::backend_of_client(&key, count) as usize }
    }

    /// Whether a flow from this source port reaches the wanted backend; true for every port where nothing is translated.
    pub(crate) fn reaches(&self, source_port: u16) -> bool {
        let Some(CrossingFrontend { address, index, count }) =
            self.frontend.filter(|frontend| frontend.count > 1)
        else {
            return true;
        };
        datapath::backend_index(&self.choice_key(address, source_port), count) == index
    }

    fn choice_key(&self, service: SocketAddr, source_port: u16) -> ChoiceKey {
        ChoiceKey {
            client: self.source.into(),
            service: service.ip().into(),
            client_port: source_port.to_be_bytes(),
            service_port: service.port().to_be_bytes(),
            protocol: self.protocol(),
            padding: [0; 3],
        }
    }

    /// The request as policy judges it: parsed from its bytes and made canonical, or refused.
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

impl CrossingFrontend {
    /// Whether the service has no backend.
    pub fn is_void(&self) -> bool {
        self.count == 0
    }
}

impl Sent {
    /// The protocol, if it has ports.
    pub(crate) fn protocol(&self) -> Option<TransportProtocol> {
        match self {
            Self::Connection(protocol, _) => Some(*protocol),
            Self::Request(..) => Some(TransportProtocol::Tcp),
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

impl CrossingEnd {
    /// Whether this node enforces policies for the end.
    pub fn is_enforced_here(&self) -> bool {
        matches!(self, Self::Workload(_) | Self::Host)
    }
}

/// The head of a request in the bytes that are sent.
pub(crate) fn head(request: &HttpRequest) -> Vec<u8> {
    let host = request.host.as_deref().unwrap_or_default();
    let fields = request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    Request::compose(&request.method, &request.path, host, fields)
}

impl fmt::Display for WrittenEnd {
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
            Some(CrossingFrontend { address, index, count }) => {
                write!(f, ", by way of the service at {address} (backend {index} of {count})")
            }
            None => Ok(()),
        }
    }
}

impl fmt::Display for CrossingEnd {
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
pub(crate) fn protocol_name(protocol: TransportProtocol) -> &'static str {
    match protocol {
        TransportProtocol::Tcp => "TCP",
        TransportProtocol::Udp => "UDP",
        TransportProtocol::Sctp => "SCTP",
    }
}
