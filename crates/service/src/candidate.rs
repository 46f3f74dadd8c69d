//! A workload that services may select, and the EndpointSlices of a service from the workloads that it selects.

use crate::service::{Service, ServicePort, TargetPort};
use crate::slice::{EndpointPort, EndpointSlice, ServicePortRef};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// A workload that services may select: of this node or of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its namespace.
    pub namespace: String,
    /// Its own labels.
    pub labels: Arc<BTreeMap<String, String>>,
    /// Its addresses; the first of each family counts.
    pub addresses: Vec<IpAddr>,
    /// Its ports by name and protocol number.
    pub named_ports: Arc<BTreeMap<(String, u8), u16>>,
}

impl Service {
    /// Whether this service selects the workload.
    pub fn selects(&self, candidate: &Candidate) -> bool {
        candidate.namespace == self.namespace && selects(&self.selector, &candidate.labels)
    }

    /// The slices of the workloads that this service selects: one for all that serve the same ports. None where no
    /// workload is given.
    ///
    /// A workload without a port of the wanted name is in a slice that lacks this port.
    pub fn slices<'a>(&self, selected: impl IntoIterator<Item = &'a Candidate>) -> Vec<EndpointSlice> {
        let mut slices = BTreeMap::<Vec<EndpointPort>, BTreeSet<IpAddr>>::new();
        for candidate in selected {
            slices.entry(self.ports_at(candidate)).or_default().extend(candidate.own_addresses());
        }
        let slice = |(ports, addresses)| EndpointSlice { addresses, ports, ..EndpointSlice::default() };
        slices.into_iter().map(slice).collect()
    }

    /// The ports at which a workload serves. Of two ports of the service with one number the first counts.
    fn ports_at(&self, candidate: &Candidate) -> Vec<EndpointPort> {
        let is_first = |(at, port): &(usize, &ServicePort)| {
            let mut earlier = self.ports[..*at].iter();
            !earlier.any(|other| (other.protocol, other.port) == (port.protocol, port.port))
        };
        let first = self.ports.iter().enumerate().filter(is_first);
        let resolved = first.filter_map(|(_, port)| {
            let service_port = ServicePortRef::Number(port.port);
            Some(EndpointPort { service_port, protocol: port.protocol, port: candidate.port(port)? })
        });
        resolved.collect()
    }
}

impl Candidate {
    /// The first address of each family.
    fn own_addresses(&self) -> impl Iterator<Item = IpAddr> {
        let of_family = |is_v4| self.addresses.iter().find(move |address| address.is_ipv4() == is_v4);
        [true, false].into_iter().filter_map(of_family).copied()
    }

    /// The number of the port to which a port of a service leads.
    fn port(&self, port: &ServicePort) -> Option<u16> {
        match &port.target {
            TargetPort::Number(number) => Some(*number),
            TargetPort::Name(name) => self.named_ports.get(&(name.clone(), port.protocol.number())).copied(),
        }
    }
}

/// Whether the labels have all that the selector asks for; the empty selector selects nothing.
pub(crate) fn selects(selector: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    !selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{self, http, labels, service, tcp, tcp_to};

    fn web(ports: impl IntoIterator<Item = ServicePort>) -> Service {
        Service { selector: labels(&[("id", "app1")]), ..service("default", "web", ports) }
    }

    fn candidate(namespace: &str, labels: &[(&str, &str)], http_port: Option<u16>, last: u8) -> Candidate {
        let other = IpAddr::from([10, 0, 1, last]);
        let v6 = IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(last)]);
        let mut candidate = fixtures::candidate(namespace, labels, last);
        candidate.addresses.extend([other, v6]);
        Candidate { named_ports: http(http_port), ..candidate }
    }

    #[test]
    fn a_service_selects_by_labels_within_its_namespace() {
        for (namespace, labels, expected) in [
            ("default", &[("id", "app1"), ("x", "y")][..], true),
            ("default", &[("id", "app2")], false),
            ("other", &[("id", "app1")], false),
        ] {
            let candidate = candidate(namespace, labels, None, 1);
            assert_eq!(web([]).selects(&candidate), expected, "{candidate:?}");
        }
        let all = Service { selector: BTreeMap::new(), ..web([]) };
        assert!(!all.selects(&candidate("default", &[], None, 1)), "no selector selects nothing");
    }

    #[test]
    fn workloads_that_serve_the_same_ports_share_a_slice() {
        let service = web([tcp_to(80, "http"), tcp(81, 9090), tcp(80, 1)]);
        let of = |http, last| candidate("default", &[("id", "app1")], http, last);
        let slices = service.slices(&[of(Some(8080), 1), of(Some(8080), 2), of(Some(8081), 3), of(None, 4)]);
        let found = slices.iter().map(|slice| {
            let ports: Vec<u16> = slice.ports.iter().map(|port| port.port).collect();
            let addresses: Vec<String> = slice.addresses.iter().map(ToString::to_string).collect();
            (ports, addresses.join(" "))
        });
        let expected = [
            (vec![8080, 9090], "10.0.0.1 10.0.0.2 fd00::1 fd00::2".to_owned()),
            (vec![8081, 9090], "10.0.0.3 fd00::3".to_owned()),
            (vec![9090], "10.0.0.4 fd00::4".to_owned()),
        ];
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }
}
