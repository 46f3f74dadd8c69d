//! A service, as its manifest describes it.

use abi::protocol;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Namespace and name of the service that lists the addresses of the API servers.
pub const API_SERVER: (&str, &str) = ("default", "kubernetes");

/// Namespace and name of a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName {
    /// The namespace.
    pub namespace: String,
    /// The name, unique in the namespace.
    pub name: String,
}

/// A service, as its manifest describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its own labels, by which policies may refer to it.
    pub labels: BTreeMap<String, String>,
    /// Labels that a workload of the same namespace must have to serve. A service without a selector selects no workload;
    /// its backends are the addresses that Endpoints and EndpointSlices list for it.
    pub selector: BTreeMap<String, String>,
    /// Its cluster addresses; at most one of each family. Empty until one is assigned, or where it is headless.
    pub addresses: Vec<IpAddr>,
    /// Whether it wants no cluster address (`clusterIP: None`, or of type ExternalName).
    pub headless: bool,
    /// The domain name that the service's own name stands for, where it is of type ExternalName.
    pub external_name: Option<String>,
    /// Whether all connections of a client go to one backend (`sessionAffinity: ClientIP`).
    pub keeps_clients: bool,
    /// Whether connections go to backends of the client's own node only (`internalTrafficPolicy: Local`).
    pub stays_on_node: bool,
    /// What it offers.
    pub ports: Vec<ServicePort>,
}

/// One port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name; may be empty where the service has no other port.
    pub name: String,
    /// Its protocol.
    pub protocol: TransportProtocol,
    /// The port at the service's own address.
    pub port: u16,
    /// The port at the backend.
    pub target: TargetPort,
}

/// Protocols that a service can offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransportProtocol {
    /// TCP, 6.
    Tcp,
    /// UDP, 17.
    Udp,
    /// SCTP, 132.
    Sctp,
}

/// A port of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    /// By number.
    Number(u16),
    /// By the name that the workload gives it, in lower case.
    Name(String),
}

impl TransportProtocol {
    /// The number in the IP header.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => protocol::TCP,
            Self::Udp => protocol::UDP,
            Self::Sctp => protocol::SCTP,
        }
    }
}

impl ServiceName {
    /// The name of a service of this namespace.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

impl Service {
    /// Its namespace and name.
    pub fn full_name(&self) -> ServiceName {
        ServiceName::new(&self.namespace, &self.name)
    }
}
