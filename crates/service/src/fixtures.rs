//! Builders of services and workloads for tests: a part that a test does not name has the value that most tests want.

use crate::candidate::Candidate;
use crate::service::{Service, ServicePort, TargetPort, TransportProtocol};
use crate::slice::{EndpointPort, EndpointSlice};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Labels by key and value.
pub fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

/// A service without a selector at `10.96.0.1`, with these ports.
pub fn service(namespace: &str, name: &str, ports: impl IntoIterator<Item = ServicePort>) -> Service {
    Service {
        namespace: namespace.into(),
        name: name.into(),
        labels: BTreeMap::new(),
        selector: BTreeMap::new(),
        addresses: vec![IpAddr::from([10, 96, 0, 1])],
        headless: false,
        external_name: None,
        keeps_clients: false,
        stays_on_node: false,
        ports: ports.into_iter().collect(),
    }
}

/// A port of TCP without a name that leads to a number.
pub fn tcp(port: u16, target: u16) -> ServicePort {
    ServicePort {
        name: String::new(),
        protocol: TransportProtocol::Tcp,
        port,
        target: TargetPort::Number(target),
    }
}

/// A port of TCP without a name that leads to a named port.
pub fn tcp_to(port: u16, target: &str) -> ServicePort {
    ServicePort { target: TargetPort::Name(target.into()), ..tcp(port, 0) }
}

/// Addresses that serve one named port of TCP.
pub fn slice(addresses: impl IntoIterator<Item = IpAddr>, name: &str, port: u16) -> EndpointSlice {
    let ports = vec![EndpointPort::named(name, TransportProtocol::Tcp, port)];
    EndpointSlice { addresses: addresses.into_iter().collect(), ports, ..EndpointSlice::default() }
}

/// A workload at `10.0.0.LAST` without a named port.
pub fn candidate(namespace: &str, own: &[(&str, &str)], last: u8) -> Candidate {
    Candidate {
        namespace: namespace.into(),
        labels: labels(own).into(),
        addresses: vec![IpAddr::from([10, 0, 0, last])],
        named_ports: Arc::default(),
    }
}

/// The named ports of a workload whose port `http` of TCP has this number, if it has one.
pub fn http(port: impl Into<Option<u16>>) -> Arc<BTreeMap<(String, u8), u16>> {
    let named = |port| (("http".to_owned(), TransportProtocol::Tcp.number()), port);
    Arc::new(port.into().map(named).into_iter().collect())
}
