//! Frontends: each address and port of a service, with the backends that its slices list.

use crate::candidate::Candidate;
use crate::service::{Service, ServicePort};
use crate::slice::EndpointSlice;
use abi::Address;
use abi::service::{BackendInfo, ServiceKey};
use std::net::IpAddr;

/// One address and port of a service, with the backends that serve it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frontend {
    /// The key that the packet path looks up.
    pub key: ServiceKey,
    /// Where connections may go, in a stable order.
    pub backends: Vec<BackendInfo>,
}

/// The frontends of a service whose slices are these.
pub fn frontends<'a>(
    service: &'a Service,
    slices: &'a [&'a EndpointSlice],
) -> impl Iterator<Item = Frontend> + 'a {
    service.addresses.iter().flat_map(move |&address| {
        service.ports.iter().map(move |port| Frontend {
            key: ServiceKey {
                address: Address::from(address),
                port: port.port.to_be_bytes(),
                protocol: port.protocol.number(),
                padding: 0,
            },
            backends: backends(address, port, slices),
        })
    })
}

/// The frontends of a service, from all workloads that it may select and the slices that are listed for it.
///
/// Listed slices count only where the service selects no workload.
pub fn frontends_among(
    service: &Service,
    candidates: &[Candidate],
    listed: &[&EndpointSlice],
) -> Vec<Frontend> {
    let selected = service.slices(candidates.iter().filter(|candidate| service.selects(candidate)));
    let selected: Vec<&EndpointSlice> = selected.iter().collect();
    frontends(service, if selected.is_empty() { listed } else { &selected }).collect()
}

/// The backends of a port at an address of a service: the addresses of the slices that have its family.
fn backends(address: IpAddr, port: &ServicePort, slices: &[&EndpointSlice]) -> Vec<BackendInfo> {
    let of_slice = |slice: &&EndpointSlice| {
        let of_family = slice.addresses.iter().filter(|own| own.is_ipv4() == address.is_ipv4());
        let of_address = |own: &IpAddr| {
            let address = Address::from(*own);
            let backend = |port: u16| BackendInfo { address, port: port.to_be_bytes(), padding: [0; 2] };
            slice.serving(port).map(backend).collect::<Vec<_>>()
        };
        of_family.flat_map(of_address).collect::<Vec<_>>()
    };
    let mut backends: Vec<BackendInfo> = slices.iter().flat_map(of_slice).collect();
    backends.sort_by_key(|backend| (backend.address, backend.port));
    // Endpoints and the slices that mirror them list the same addresses.
    backends.dedup();
    backends
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{self, http, labels, tcp_to};
    use std::net::SocketAddr;

    fn service(selector: &[(&str, &str)]) -> Service {
        Service {
            selector: labels(selector),
            addresses: vec!["10.96.0.1".parse().unwrap(), "fd00:96::1".parse().unwrap()],
            ..fixtures::service("default", "web", [tcp_to(80, "http")])
        }
    }

    fn slice(addresses: &[&str], port: u16) -> EndpointSlice {
        fixtures::slice(addresses.iter().map(|text| text.parse().unwrap()), "", port)
    }

    /// A workload with label `id: app1` and perhaps a port `http`.
    fn candidate(addresses: &[&str], http_port: Option<u16>) -> Candidate {
        Candidate {
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            named_ports: http(http_port),
            ..fixtures::candidate("default", &[("id", "app1")], 0)
        }
    }

    /// Checks the backends of the IPv4 frontend and of the IPv6 frontend.
    #[track_caller]
    fn check(found: impl IntoIterator<Item = Frontend>, expected: [&[&str]; 2]) {
        let socket = |backend: &BackendInfo| {
            SocketAddr::new(backend.address.into(), u16::from_be_bytes(backend.port)).to_string()
        };
        let found: Vec<(IpAddr, Vec<String>)> = found
            .into_iter()
            .map(|frontend| (frontend.key.address.into(), frontend.backends.iter().map(socket).collect()))
            .collect();
        let of = |address: &str, backends: &[&str]| {
            (address.parse().unwrap(), backends.iter().map(ToString::to_string).collect())
        };
        assert_eq!(found, [of("10.96.0.1", expected[0]), of("fd00:96::1", expected[1])]);
    }

    #[test]
    fn listed_addresses_of_both_families_are_backends_once_each() {
        let (one, other) =
            (slice(&["198.51.100.20", "192.0.2.1"], 81), slice(&["198.51.100.20", "fd00::9"], 81));
        let third = slice(&["198.51.100.20"], 82);
        let v4 = ["192.0.2.1:81", "198.51.100.20:81", "198.51.100.20:82"];
        check(frontends(&service(&[]), &[&one, &other, &third]), [&v4, &["[fd00::9]:81"]]);
    }

    #[test]
    fn listed_addresses_count_only_where_no_selected_workload_is_known() {
        let candidates = [candidate(&["10.0.0.1"], Some(8080))];
        let listed = slice(&["198.51.100.20"], 81);
        for (selector, expected) in [
            (&[("id", "app1")][..], "10.0.0.1:8080"),
            (&[("id", "app2")], "198.51.100.20:81"),
            (&[], "198.51.100.20:81"),
        ] {
            check(frontends_among(&service(selector), &candidates, &[&listed]), [&[expected], &[]]);
        }
        let unnamed = [candidate(&["10.0.0.1"], None)];
        check(frontends_among(&service(&[("id", "app1")]), &unnamed, &[&listed]), [&[], &[]]);
    }

    #[test]
    fn each_family_of_a_service_gets_the_backends_of_that_family() {
        let candidates = [
            candidate(&["10.0.0.2", "fd00::2"], Some(8080)),
            candidate(&["10.0.0.1"], Some(8080)),
            candidate(&["10.0.0.1"], None),
        ];
        let found = frontends_among(&service(&[("id", "app1")]), &candidates, &[]);
        check(found, [&["10.0.0.1:8080", "10.0.0.2:8080"], &["[fd00::2]:8080"]]);
    }
}
