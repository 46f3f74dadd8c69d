//! The rows of a service: one for each of its addresses and ports, and one for each backend of those.

use crate::{Candidate, Service, ServicePort, TargetPort};
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

/// The frontends of a service, given the workloads that may serve.
pub fn frontends<'a>(
    service: &'a Service,
    candidates: &'a [Candidate<'a>],
) -> impl Iterator<Item = Frontend> + 'a {
    service.addresses.iter().flat_map(move |&address| {
        service.ports.iter().map(move |port| Frontend {
            key: ServiceKey {
                address: Address::from(address),
                port: port.port.to_be_bytes(),
                protocol: port.protocol.number(),
                padding: 0,
            },
            backends: backends(service, address, port, candidates),
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
    frontend: IpAddr,
    port: &ServicePort,
    candidates: &[Candidate<'_>],
) -> Vec<BackendInfo> {
    let mut backends: Vec<_> = candidates
        .iter()
        .filter(|candidate| service.selects(candidate))
        .filter_map(|candidate| {
            let port = target(port, candidate)?;
            let address =
                candidate.addresses.iter().find(|address| address.is_ipv4() == frontend.is_ipv4())?;
            Some(BackendInfo { address: Address::from(*address), port: port.to_be_bytes(), padding: [0; 2] })
        })
        .collect();
    backends.sort_by_key(|backend| (backend.address, backend.port));
    backends
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
    use crate::Protocol;
    use std::collections::BTreeMap;

    #[test]
    fn each_family_of_a_service_gets_the_backends_of_that_family() {
        let service = Service {
            namespace: "default".into(),
            name: "web".into(),
            labels: BTreeMap::new(),
            selector: BTreeMap::from([("id".into(), "app1".into())]),
            addresses: vec!["10.96.0.1".parse().unwrap(), "fd00:96::1".parse().unwrap()],
            headless: false,
            ports: vec![ServicePort {
                name: String::new(),
                protocol: Protocol::Tcp,
                port: 80,
                target: TargetPort::Name("http".into()),
            }],
        };
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
        let found: Vec<_> = frontends(&service, &candidates)
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
