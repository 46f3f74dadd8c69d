//! The rows of a service: one for each of its addresses and ports, and one for each backend of those.

use crate::{Candidate, EndpointSlice, Service, ServicePort, TargetPort};
use abi::Address;
use abi::row::Row;
use abi::service::{BackendInfo, BackendKey, ServiceKey};
use std::net::IpAddr;

/// One address and port of a service, with the backends that serve it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frontend {
    /// What the packet path looks up.
    pub key: ServiceKey,
    /// Where connections may go, in a stable order.
    pub backends: Vec<BackendInfo>,
}

/// The frontends of a service, given the workloads that may serve and the addresses that are listed for it.
///
/// The workloads that the service selects are its backends; where none is known, the listed addresses are.
pub fn frontends<'a>(
    service: &'a Service,
    candidates: &'a [Candidate<'a>],
    listed: &'a [&'a EndpointSlice],
) -> impl Iterator<Item = Frontend> + 'a {
    service.addresses.iter().flat_map(move |&address| {
        service.ports.iter().map(move |port| Frontend {
            key: ServiceKey {
                address: Address::from(address),
                port: port.port.to_be_bytes(),
                protocol: port.protocol.number(),
                padding: 0,
            },
            backends: backends(service, (address, port), candidates, listed),
        })
    })
}

/// The rows of a backend set under its number.
pub fn backend_rows(number: u32, backends: &[BackendInfo]) -> impl Iterator<Item = Row> + '_ {
    (0..)
        .zip(backends)
        .map(move |(slot, &backend)| Row::Backend(BackendKey { backends: number, slot }, backend))
}

fn backends(
    service: &Service,
    (frontend, port): (IpAddr, &ServicePort),
    candidates: &[Candidate<'_>],
    listed: &[&EndpointSlice],
) -> Vec<BackendInfo> {
    let is_of_family = |address: &&IpAddr| address.is_ipv4() == frontend.is_ipv4();
    let mut selected = candidates.iter().filter(|candidate| service.selects(candidate)).peekable();
    let mut backends: Vec<_> = if selected.peek().is_some() {
        let backend = |candidate: &Candidate<'_>| {
            let port = target(port, candidate)?;
            Some(backend(*candidate.addresses.iter().find(is_of_family)?, port))
        };
        selected.filter_map(backend).collect()
    } else {
        let of_slice = |slice: &&EndpointSlice| {
            let addresses = slice.addresses.iter().filter(is_of_family).copied();
            addresses
                .flat_map(|address| slice.serving(port).map(move |port| backend(address, port)))
                .collect::<Vec<_>>()
        };
        listed.iter().flat_map(of_slice).collect()
    };
    backends.sort_by_key(|backend| (backend.address, backend.port));
    // Endpoints and the slices that mirror them list the same.
    backends.dedup();
    backends
}

fn backend(address: IpAddr, port: u16) -> BackendInfo {
    BackendInfo { address: Address::from(address), port: port.to_be_bytes(), padding: [0; 2] }
}

fn target(port: &ServicePort, candidate: &Candidate<'_>) -> Option<u16> {
    match &port.target {
        TargetPort::Number(number) => Some(*number),
        TargetPort::Name(name) => candidate.named_ports.get(&(name.clone(), port.protocol.number())).copied(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EndpointPort, Protocol};
    use std::collections::BTreeMap;
    use std::net::SocketAddr;

    fn service(selector: &[(&str, &str)]) -> Service {
        Service {
            namespace: "default".into(),
            name: "web".into(),
            labels: BTreeMap::new(),
            selector: selector.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
            addresses: vec!["10.96.0.1".parse().unwrap(), "fd00:96::1".parse().unwrap()],
            headless: false,
            external_name: None,
            ports: vec![ServicePort {
                name: String::new(),
                protocol: Protocol::Tcp,
                port: 80,
                target: TargetPort::Name("http".into()),
            }],
        }
    }

    fn slice(addresses: &[&str], port: u16) -> EndpointSlice {
        EndpointSlice {
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            ports: vec![EndpointPort { name: String::new(), protocol: Protocol::Tcp, port }],
        }
    }

    /// Each frontend's address with its backends as sockets.
    fn found(service: &Service, candidates: &[Candidate<'_>], listed: &[&EndpointSlice]) -> Vec<Vec<String>> {
        let socket = |backend: &BackendInfo| {
            SocketAddr::new(backend.address.into(), u16::from_be_bytes(backend.port)).to_string()
        };
        let frontends = frontends(service, candidates, listed);
        frontends.map(|frontend| frontend.backends.iter().map(socket).collect()).collect()
    }

    #[test]
    fn listed_addresses_of_both_families_are_backends_once_each() {
        let (one, other) =
            (slice(&["198.51.100.20", "192.0.2.1"], 81), slice(&["198.51.100.20", "fd00::9"], 81));
        let third = slice(&["198.51.100.20"], 82);
        let v4 = ["192.0.2.1:81", "198.51.100.20:81", "198.51.100.20:82"].map(String::from).to_vec();
        let expected = [v4, vec!["[fd00::9]:81".to_owned()]];
        assert_eq!(found(&service(&[]), &[], &[&one, &other, &third]), expected);
    }

    #[test]
    fn listed_addresses_count_only_where_no_selected_workload_is_known() {
        let labels = BTreeMap::from([("id".to_string(), "app1".to_string())]);
        let (named, addresses) =
            (BTreeMap::from([(("http".to_string(), 6), 8080)]), ["10.0.0.1".parse().unwrap()]);
        let candidate =
            Candidate { namespace: "default", labels: &labels, addresses: &addresses, named_ports: &named };
        let listed = slice(&["198.51.100.20"], 81);
        let check = |selector: &[(&str, &str)], expected: &[&str]| {
            let found = found(&service(selector), &[candidate], &[&listed]);
            assert_eq!(found, [expected.to_vec(), vec![]], "{selector:?}");
        };
        check(&[("id", "app1")], &["10.0.0.1:8080"]);
        check(&[("id", "app2")], &["198.51.100.20:81"]);
        check(&[], &["198.51.100.20:81"]);
    }

    #[test]
    fn each_family_of_a_service_gets_the_backends_of_that_family() {
        let service = service(&[("id", "app1")]);
        let labels = BTreeMap::from([("id".to_string(), "app1".to_string())]);
        let named = BTreeMap::from([(("http".to_string(), 6), 8080)]);
        let unnamed = BTreeMap::new();
        let dual = ["10.0.0.2".parse().unwrap(), "fd00::2".parse().unwrap()];
        let single = ["10.0.0.1".parse().unwrap()];
        let candidate = |addresses, named_ports| Candidate {
            namespace: "default",
            labels: &labels,
            addresses,
            named_ports,
        };
        let candidates =
            [candidate(&dual, &named), candidate(&single, &named), candidate(&single[..], &unnamed)];
        let found: Vec<_> = frontends(&service, &candidates, &[])
            .map(|frontend| {
                let ips: Vec<IpAddr> = frontend.backends.iter().map(|b| b.address.into()).collect();
                assert!(frontend.backends.iter().all(|backend| backend.port == 8080u16.to_be_bytes()));
                (IpAddr::from(frontend.key.address).to_string(), ips)
            })
            .collect();
        assert_eq!(found[0], ("10.96.0.1".to_string(), vec![single[0], dual[0]]));
        assert_eq!(found[1], ("fd00:96::1".to_string(), vec![dual[1]]));
    }
}
