//! Backends that are listed by address, as Endpoints and EndpointSlices do.

use crate::{Protocol, ServicePort, TargetPort};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Addresses that all serve the same ports: one EndpointSlice, or one subset of Endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointSlice {
    /// The addresses that are ready.
    pub addresses: BTreeSet<IpAddr>,
    /// The ports that each of them serves.
    pub ports: Vec<EndpointPort>,
}

/// A port that listed addresses serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointPort {
    /// The name, which is that of the service's port; empty where the service has one port without a name.
    pub name: String,
    /// The protocol.
    pub protocol: Protocol,
    /// The number.
    pub port: u16,
}

impl EndpointSlice {
    /// Addresses, and no port.
    pub fn of(addresses: BTreeSet<IpAddr>) -> Self {
        Self { addresses, ports: Vec::new() }
    }

    /// The numbers of the listed ports that serve a port of the service.
    ///
    /// As in kube-proxy the name and the protocol must be the same; the service's `targetPort` does not count. But where no
    /// listed port has the name of the service's port, one that has the name of its `targetPort` does.
    pub(crate) fn serving<'a>(&'a self, port: &'a ServicePort) -> impl Iterator<Item = u16> + 'a {
        let of_protocol = || self.ports.iter().filter(|listed| listed.protocol == port.protocol);
        let is_listed = of_protocol().any(|listed| listed.name == port.name);
        let name = match &port.target {
            TargetPort::Name(target) if !is_listed => target,
            TargetPort::Name(_) | TargetPort::Number(_) => &port.name,
        };
        of_protocol().filter(move |listed| listed.name == *name).map(|listed| listed.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(name: &str, protocol: Protocol, port: u16) -> EndpointPort {
        EndpointPort { name: name.into(), protocol, port }
    }

    #[test]
    fn a_listed_port_serves_the_port_of_the_service_with_its_name_and_protocol() {
        let slice = EndpointSlice {
            addresses: BTreeSet::new(),
            ports: vec![
                listed("web", Protocol::Tcp, 8080),
                listed("web", Protocol::Udp, 8081),
                listed("db", Protocol::Tcp, 5433),
                listed("", Protocol::Sctp, 9),
            ],
        };
        let check = |name: &str, protocol, target: TargetPort, expected: &[u16]| {
            let port = ServicePort { name: name.into(), protocol, port: 80, target };
            assert_eq!(slice.serving(&port).collect::<Vec<_>>(), expected, "{port:?}");
        };
        let named = |name: &str| TargetPort::Name(name.into());
        check("web", Protocol::Tcp, TargetPort::Number(1), &[8080]);
        check("web", Protocol::Udp, named("db"), &[8081]);
        check("", Protocol::Tcp, named("db"), &[5433]);
        check("", Protocol::Sctp, TargetPort::Number(1), &[9]);
        check("other", Protocol::Tcp, TargetPort::Number(8080), &[]);
        check("db", Protocol::Udp, named("db"), &[]);
    }
}
