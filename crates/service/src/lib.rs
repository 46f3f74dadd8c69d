//! Services and the backends behind them, as map rows.
//!
//! A service is known by its cluster addresses; its backends are the workloads that its selector selects, or else the
//! addresses that its Endpoints and EndpointSlices list. The packet path looks a service up by address, port and protocol,
//! and finds a numbered set of backends; a changed set gets a new number, so that one write switches the service from the
//! old set to the new.
#![forbid(unsafe_code)]

mod rows;
mod slice;

pub use rows::{Frontend, backend_rows, frontends};
pub use slice::{EndpointPort, EndpointSlice};

use abi::protocol;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Namespace and name of the service whose listed addresses are those of the API servers.
pub const API_SERVER: (&str, &str) = ("default", "kubernetes");

/// A service, as its manifest describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its own labels, by which policies may refer to it.
    pub labels: BTreeMap<String, String>,
    /// Labels that a workload of the same namespace must have to serve. With no labels the service selects no workload,
    /// and its backends are the addresses that are listed for it.
    pub selector: BTreeMap<String, String>,
    /// Its own addresses; at most one of each family. Empty until one is assigned, or where it is headless.
    pub addresses: Vec<IpAddr>,
    /// Whether it wants no address of its own (`clusterIP: None`, or of type ExternalName).
    pub headless: bool,
    /// The domain name that the service's own name stands for, where it is of type ExternalName.
    pub external_name: Option<String>,
    /// What it offers.
    pub ports: Vec<ServicePort>,
}

/// One port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name; may be empty where there is one only.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// The port at the service's own address.
    pub port: u16,
    /// The port at the backend.
    pub target: TargetPort,
}

/// Protocols that a service can offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
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

/// A workload that may serve.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its own labels.
    pub labels: &'a BTreeMap<String, String>,
    /// Its addresses.
    pub addresses: &'a [IpAddr],
    /// Its ports by name and protocol number.
    pub named_ports: &'a BTreeMap<(String, u8), u16>,
}

impl Protocol {
    /// The number in the IP header.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => protocol::TCP,
            Self::Udp => protocol::UDP,
            Self::Sctp => protocol::SCTP,
        }
    }
}

impl Service {
    /// Whether the workload stands behind this service.
    pub fn selects(&self, candidate: &Candidate<'_>) -> bool {
        !self.selector.is_empty()
            && candidate.namespace == self.namespace
            && self.selector.iter().all(|(key, value)| candidate.labels.get(key) == Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    }

    #[test]
    fn a_service_selects_by_labels_within_its_namespace() {
        let service = Service {
            namespace: "default".into(),
            name: "web".into(),
            labels: BTreeMap::new(),
            selector: labels(&[("id", "app1")]),
            addresses: vec![],
            headless: false,
            external_name: None,
            ports: vec![],
        };
        let ports = BTreeMap::new();
        let check = |namespace, pairs: &[(&str, &str)], expected: bool| {
            let labels = labels(pairs);
            let candidate = Candidate { namespace, labels: &labels, addresses: &[], named_ports: &ports };
            assert_eq!(service.selects(&candidate), expected, "{namespace} {pairs:?}");
        };
        check("default", &[("id", "app1"), ("x", "y")], true);
        check("default", &[("id", "app2")], false);
        check("other", &[("id", "app1")], false);
    }
}
