//! Frontends: each address and port of a service, with the backends that its slices list.

use crate::candidate::Candidate;
use crate::service::{Service, ServicePort};
use crate::slice::EndpointSlice;
use abi::Address;
use abi::service::{BackendInfo, ServiceKey};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// One address and port of a service, with the backends that serve it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frontend {
    /// The key that the packet path looks up.
    pub key: ServiceKey,
    /// Where connections may go, in a stable order.
    pub backends: Vec<BackendInfo>,
}

/// The frontends of a service whose slices are these, on a node of this name; without a name all nodes count as the client's.
pub fn frontends<'a>(
    service: &'a Service,
    slices: &'a [&'a EndpointSlice],
    node: Option<&'a str>,
) -> impl Iterator<Item = Frontend> + 'a {
    let node = node.filter(|_| service.stays_on_node);
    service.addresses.iter().flat_map(move |&address| {
        service.ports.iter().map(move |port| Frontend {
            key: ServiceKey {
                address: Address::from(address),
                port: port.port.to_be_bytes(),
                protocol: port.protocol.number(),
                padding: 0,
            },
            backends: backends(address, port, slices, node),
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
    frontends(service, if selected.is_empty() { listed } else { &selected }, None).collect()
}

/// The backends of a port at an address of a service, of all nodes or of one: the addresses of the slices that have its family. As
/// in kube-proxy, without one that is ready the terminating ones serve.
fn backends(
    address: IpAddr,
    port: &ServicePort,
    slices: &[&EndpointSlice],
    node: Option<&str>,
) -> Vec<BackendInfo> {
    let of = |addresses: fn(&EndpointSlice) -> &BTreeSet<IpAddr>| {
        backends_among(
            addresses,
            |slice, own| {
                let is_near = node.is_none_or(|node| slice.nodes.get(own).is_some_and(|of| of == node));
                own.is_ipv4() == address.is_ipv4() && is_near
            },
            port,
            slices,
        )
    };
    let ready = of(|slice| &slice.addresses);
    if ready.is_empty() { of(|slice| &slice.terminating) } else { ready }
}

/// The backends of a port among some addresses of each slice.
fn backends_among(
    addresses: fn(&EndpointSlice) -> &BTreeSet<IpAddr>,
    counts: impl Fn(&EndpointSlice, &IpAddr) -> bool,
    port: &ServicePort,
    slices: &[&EndpointSlice],
) -> Vec<BackendInfo> {
    let of_slice = |slice: &&EndpointSlice| {
        let counting = addresses(slice).iter().filter(|own| counts(slice, own));
        let of_address = |own: &IpAddr| {
            let address = Address::from(*own);
            let backend = |port: u16| BackendInfo { address, port: port.to_be_bytes(), padding: [0; 2] };
            slice.serving(port).map(backend).collect::<Vec<_>>()
        };
        counting.flat_map(of_address).collect::<Vec<_>>()
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
        check(frontends(&service(&[]), &[&one, &other, &third], None), [&v4, &["[fd00::9]:81"]]);
    }

    #[test]
    fn terminating_addresses_serve_a_port_only_while_no_address_of_the_port_is_ready() {
        let terminating = |last: &str, port| {
            let EndpointSlice { addresses, ports, .. } = slice(&[last], port);
            EndpointSlice { terminating: addresses, ports, ..EndpointSlice::default() }
        };
        let (ending, ready) = (terminating("192.0.2.1", 81), slice(&["192.0.2.2"], 81));
        check(frontends(&service(&[]), &[&ending], None), [&["192.0.2.1:81"], &[]]);
        check(frontends(&service(&[]), &[&ending, &ready], None), [&["192.0.2.2:81"], &[]]);
        let other_family = slice(&["fd00::9"], 81);
        check(
            frontends(&service(&[]), &[&ending, &other_family], None),
            [&["192.0.2.1:81"], &["[fd00::9]:81"]],
        );
    }

    #[test]
    fn a_service_that_stays_on_the_node_has_the_backends_of_the_node() {
        let on = |node: &str, mut slice: EndpointSlice| {
            let all = slice.addresses.iter().chain(&slice.terminating);
            slice.nodes = all.map(|address| (*address, node.to_owned())).collect();
            slice
        };
        let (near, far) = (on("a", slice(&["192.0.2.1"], 81)), on("b", slice(&["192.0.2.2", "fd00::2"], 81)));
        let local = Service { stays_on_node: true, ..service(&[]) };
        let all = [&["192.0.2.1:81", "192.0.2.2:81"][..], &["[fd00::2]:81"]];
        check(frontends(&local, &[&near, &far], Some("a")), [&["192.0.2.1:81"], &[]]);
        check(frontends(&local, &[&near, &far], Some("c")), [&[], &[]]);
        check(frontends(&local, &[&near, &far], None), all);
        check(frontends(&service(&[]), &[&near, &far], Some("a")), all);
        let ended = EndpointSlice { terminating: near.addresses.clone(), addresses: BTreeSet::new(), ..near };
        check(frontends(&local, &[&ended, &far], Some("a")), [&["192.0.2.1:81"], &[]]);
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
