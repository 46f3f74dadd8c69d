//! EndpointSlices: addresses that serve the same ports.

use crate::service::{ServicePort, TargetPort, TransportProtocol};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Addresses that all serve the same ports: an EndpointSlice, or a subset of Endpoints, which Kubernetes mirrors to an
/// EndpointSlice. The addresses may be of this node's workloads, of other nodes' workloads, or outside the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointSlice {
    /// The addresses that are ready.
    pub addresses: BTreeSet<IpAddr>,
    /// The addresses of pods that end and still serve. They count for a port of which no address is ready.
    pub terminating: BTreeSet<IpAddr>,
    /// The names of the nodes that have the addresses, as far as the slice names them.
    pub nodes: BTreeMap<IpAddr, String>,
    /// The ports that each of them serves.
    pub ports: Vec<EndpointPort>,
}

/// A port that the addresses of a slice serve.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EndpointPort {
    /// The port of the service that connections come from.
    pub service_port: ServicePortRef,
    /// The protocol.
    pub protocol: TransportProtocol,
    /// The number at the addresses of the slice.
    pub port: u16,
}

/// How a slice refers to a port of its service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServicePortRef {
    /// By name, as manifests do; empty where the service has one port without a name.
    Name(String),
    /// By the number at the service's own address, as the [selector source](crate::SelectorSource) does: names need not
    /// be unique.
    Number(u16),
}

impl EndpointPort {
    /// A port by the name of the service's port.
    pub fn named(name: impl Into<String>, protocol: TransportProtocol, port: u16) -> Self {
        Self { service_port: ServicePortRef::Name(name.into()), protocol, port }
    }

    fn has_name(&self, name: &str) -> bool {
        matches!(&self.service_port, ServicePortRef::Name(own) if own == name)
    }
}

impl EndpointSlice {
    /// Addresses without a port.
    pub fn of(addresses: BTreeSet<IpAddr>) -> Self {
        Self { addresses, ..Self::default() }
    }

    /// Whether the slice has no address.
    pub(crate) fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.terminating.is_empty()
    }

    /// The numbers at which the addresses serve a port of the service.
    ///
    /// As in kube-proxy the name and the protocol must be the same; the service's `targetPort` does not count. But where no
    /// port of the slice has the name of the service's port, one with the name of its `targetPort` does.
    pub(crate) fn serving<'a>(&'a self, port: &'a ServicePort) -> impl Iterator<Item = u16> + 'a {
        let of_protocol = || self.ports.iter().filter(|own| own.protocol == port.protocol);
        let has_port_name = of_protocol().any(|own| own.has_name(&port.name));
        let name = match &port.target {
            TargetPort::Name(target) if !has_port_name => target,
            TargetPort::Name(_) | TargetPort::Number(_) => &port.name,
        };
        let serves = move |own: &&EndpointPort| match &own.service_port {
            ServicePortRef::Name(own) => own == name,
            ServicePortRef::Number(number) => *number == port.port,
        };
        of_protocol().filter(serves).map(|own| own.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(ports: &[EndpointPort], port: &ServicePort, expected: &[u16]) {
        let slice = EndpointSlice { ports: ports.to_vec(), ..EndpointSlice::default() };
        assert_eq!(slice.serving(port).collect::<Vec<_>>(), expected, "{port:?} of {ports:?}");
    }

    fn port(name: &str, protocol: TransportProtocol, target: TargetPort) -> ServicePort {
        ServicePort { name: name.into(), protocol, port: 80, target }
    }

    fn named(name: &str) -> TargetPort {
        TargetPort::Name(name.into())
    }

    #[test]
    fn a_port_serves_the_port_of_the_service_with_its_name_and_protocol() {
        let ports = [
            EndpointPort::named("web", TransportProtocol::Tcp, 8080),
            EndpointPort::named("web", TransportProtocol::Udp, 8081),
            EndpointPort::named("db", TransportProtocol::Tcp, 5433),
            EndpointPort::named("", TransportProtocol::Sctp, 9),
        ];
        check(&ports, &port("web", TransportProtocol::Tcp, TargetPort::Number(1)), &[8080]);
        check(&ports, &port("web", TransportProtocol::Udp, named("db")), &[8081]);
        check(&ports, &port("", TransportProtocol::Tcp, named("db")), &[5433]);
        check(&ports, &port("", TransportProtocol::Sctp, TargetPort::Number(1)), &[9]);
        check(&ports, &port("other", TransportProtocol::Tcp, TargetPort::Number(8080)), &[]);
        check(&ports, &port("db", TransportProtocol::Udp, named("db")), &[]);
    }

    #[test]
    fn a_port_by_number_serves_just_the_port_of_the_service_with_that_number() {
        let by_number = |number, port| EndpointPort {
            service_port: ServicePortRef::Number(number),
            protocol: TransportProtocol::Tcp,
            port,
        };
        let ports = [by_number(80, 8080), by_number(81, 8081)];
        for name in ["", "web"] {
            check(&ports, &port(name, TransportProtocol::Tcp, named("web")), &[8080]);
            check(&ports, &port(name, TransportProtocol::Udp, named("web")), &[]);
        }
    }
}
