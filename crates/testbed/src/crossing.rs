//! A probe with everything that names stand for: two ends, their addresses, and what is sent.

use crate::service::Frontend;
use crate::state::{HOST_ADDRESSES, State};
use l7::head::MAX_FIELDS;
use l7::{Field, Refusal, Request, RequestView};
use manifest::Protocol;
use manifest::test::{HttpRequest, Party, Probe, Question, WorkloadName};
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

/// Why a probe's ends have no addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartyError {
    /// A name that stands for nothing.
    #[error("{0} is no workload, node or external of this test at this step")]
    Unknown(Name),
    /// An end without an address of the family.
    #[error("{name} has no {} address", family_name(*.family))]
    NoAddress {
        /// The end.
        name: Name,
        /// The family that was asked for.
        family: Family,
    },
    /// Ends that share no family.
    #[error("{from} and {to} have no address family in common")]
    NoCommonFamily {
        /// One end.
        from: Name,
        /// The other.
        to: Name,
    },
}

/// A party as people write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(pub Party);

impl State {
    /// Finds the ends of a probe and an address of one family for both. What a workload sends to the address of a service
    /// crosses to each backend.
    pub fn crossings(&self, probe: &Probe) -> Result<Vec<Crossing>, PartyError> {
        let asked = self.untranslated(probe)?;
        let (End::Workload(_), Some(protocol)) = (&asked.from, asked.sent.protocol()) else {
            return Ok(vec![asked]);
        };
        let address = SocketAddr::new(asked.destination, asked.port());
        let Some(backends) = self.backends(address, protocol) else { return Ok(vec![asked]) };
        let count = u32::try_from(backends.len()).expect("a test has fewer backends than 2^32");
        if backends.is_empty() {
            return Ok(vec![Crossing { frontend: Some(Frontend { address, slot: 0, count }), ..asked }]);
        }
        let crossing = |(slot, backend): (u32, SocketAddr)| Crossing {
            to: self.end_at(backend.ip()),
            destination: backend.ip(),
            sent: asked.sent.at_port(backend.port()),
            frontend: Some(Frontend { address, slot, count }),
            ..asked.clone()
        };
        Ok((0..).zip(backends).map(crossing).collect())
    }

    /// The crossing to the very address that a probe names.
    fn untranslated(&self, probe: &Probe) -> Result<Crossing, PartyError> {
        let (from, sources) = self.party(&probe.from)?;
        let (to, destinations) = self.party(&probe.to)?;
        let of = |addresses: &[IpAddr], family| addresses.iter().copied().find(|&one| is_of(one, family));
        let pair = |family| Some((of(&sources, family)?, of(&destinations, family)?));
        let (source, destination) = match probe.family {
            Some(family) => {
                let missing = |party: &Party| PartyError::NoAddress { name: Name(party.clone()), family };
                let source = of(&sources, family).ok_or_else(|| missing(&probe.from))?;
                (source, of(&destinations, family).ok_or_else(|| missing(&probe.to))?)
            }
            None => pair(Family::Ipv4).or_else(|| pair(Family::Ipv6)).ok_or_else(|| {
                PartyError::NoCommonFamily { from: Name(probe.from.clone()), to: Name(probe.to.clone()) }
            })?,
        };
        Ok(Crossing { from, to, source, destination, sent: sent(probe), frontend: None })
    }

    fn party(&self, party: &Party) -> Result<(End, Vec<IpAddr>), PartyError> {
        let unknown = || PartyError::Unknown(Name(party.clone()));
        Ok(match party {
            Party::Workload(name) => {
                let workload = self.workloads.get(name).ok_or_else(unknown)?;
                match workload.node.as_ref().and_then(|node| self.nodes.get(node)) {
                    _ if !workload.host_network => (End::Workload(name.clone()), workload.addresses.clone()),
                    Some(node) => (End::Node(node.name.clone()), node.addresses.clone()),
                    None => (End::Host, HOST_ADDRESSES.to_vec()),
                }
            }
            Party::Node(name) => {
                (End::Node(name.clone()), self.nodes.get(name).ok_or_else(unknown)?.addresses.clone())
            }
            Party::External(name) => (End::World, self.externals.get(name).ok_or_else(unknown)?.clone()),
            Party::Host => (End::Host, HOST_ADDRESSES.to_vec()),
            Party::Address(address) => (self.end_at(*address), vec![*address]),
        })
    }

    fn end_at(&self, address: IpAddr) -> End {
        let has = |addresses: &[IpAddr]| addresses.contains(&address);
        if let Some((name, _)) = self.workloads.iter().find(|(_, workload)| has(&workload.addresses)) {
            return End::Workload(name.clone());
        }
        match self.nodes.values().find(|node| has(&node.addresses)) {
            _ if has(&HOST_ADDRESSES) => End::Host,
            Some(node) => End::Node(node.name.clone()),
            None => End::World,
        }
    }
}

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

impl Sent {
    /// The protocol, where it has ports.
    fn protocol(&self) -> Option<Protocol> {
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

fn sent(probe: &Probe) -> Sent {
    match &probe.question {
        Question::Connect { protocol, port } => Sent::Connection(*protocol, *port),
        Question::Icmp { kind } => Sent::Icmp(*kind),
        Question::Http { port, request } => {
            let host = request.host.clone().unwrap_or_else(|| host_of(&probe.to));
            Sent::Request(*port, HttpRequest { host: Some(host), ..request.clone() })
        }
    }
}

/// What a client that was not told otherwise writes into the Host field.
fn host_of(party: &Party) -> String {
    match party {
        Party::Workload(name) => name.name.clone(),
        Party::External(name) | Party::Node(name) => name.clone(),
        Party::Address(IpAddr::V6(address)) => format!("[{address}]"),
        Party::Address(address) => address.to_string(),
        Party::Host => "host".into(),
    }
}

fn is_of(address: IpAddr, family: Family) -> bool {
    address.is_ipv4() == (family == Family::Ipv4)
}

fn family_name(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "IPv4",
        Family::Ipv6 => "IPv6",
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Party::Workload(name) => write!(f, "{}/{}", name.namespace, name.name),
            Party::External(name) | Party::Node(name) => f.write_str(name),
            Party::Address(address) => address.fmt(f),
            Party::Host => f.write_str("host"),
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
