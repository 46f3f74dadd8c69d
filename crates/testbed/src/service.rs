//! The backends of services in a state, from the manifests alone.

use crate::state::{TestState, TestWorkload};
use manifest::test::WorkloadName;
use manifest::{
    EndpointPort, EndpointSlice, Endpoints, Object, Service, ServicePort, ServicePortRef, TargetPort,
    TransportProtocol,
};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

impl TestState {
    /// The backends of the service with this address, port and protocol, and whether it keeps its clients; none where no
    /// service has the address. Where two services have it, the first by name counts.
    pub(crate) fn backends(
        &self,
        address: SocketAddr,
        protocol: TransportProtocol,
    ) -> Option<(BTreeSet<SocketAddr>, bool)> {
        let services = self.objects.values().filter_map(|object| match object {
            Object::Service(service) if service.addresses.contains(&address.ip()) => Some(service),
            _ => None,
        });
        let ports = services.flat_map(|service| service.ports.iter().map(move |port| (service, port)));
        let mut found = ports.filter(|(_, port)| (port.protocol, port.port) == (protocol, address.port()));
        let (service, port) = found.next()?;
        let backends = self.backends_of(service, port).into_iter();
        let backends = backends.filter(|backend| backend.is_ipv4() == address.is_ipv4()).collect();
        Some((backends, service.keeps_clients))
    }

    /// The addresses of the API servers: the listed addresses of their service.
    pub fn api_servers(&self) -> BTreeSet<IpAddr> {
        let own = self.endpoints_of("default", "kubernetes");
        own.flat_map(|list| list.addresses()).collect()
    }

    /// The Endpoints and EndpointSlices of a service.
    fn endpoints_of(&self, namespace: &str, service: &str) -> impl Iterator<Item = &Endpoints> {
        self.objects.values().filter_map(move |object| match object {
            Object::Endpoints(list) if list.namespace == namespace && list.service == service => Some(list),
            _ => None,
        })
    }

    /// The backends of a port of a service, of both families.
    fn backends_of(&self, service: &Service, port: &ServicePort) -> Vec<SocketAddr> {
        let selected: Vec<&TestWorkload> = self
            .workloads
            .iter()
            .filter(|(name, one)| selects(service, name, one))
            .map(|(_, one)| one)
            .collect();
        if selected.is_empty() {
            let own = self.endpoints_of(&service.namespace, &service.name);
            return own.flat_map(|list| &list.slices).flat_map(|slice| listed(slice, port)).collect();
        }
        let of_workload = |workload: &&TestWorkload| -> Vec<SocketAddr> {
            let number = match &port.target {
                TargetPort::Number(number) => Some(*number),
                TargetPort::Name(name) => {
                    let named =
                        |known: &&manifest::NamedPort| known.name == *name && known.protocol == port.protocol;
                    workload.named_ports.iter().find(named).map(|known| known.port)
                }
            };
            // The first address of each family is the workload's own.
            let of_family =
                |v4| workload.addresses.iter().find(move |address: &&IpAddr| address.is_ipv4() == v4);
            let own = [true, false].into_iter().filter_map(of_family);
            own.filter_map(|address| Some(SocketAddr::new(*address, number?))).collect()
        };
        selected.iter().flat_map(of_workload).collect()
    }
}

fn selects(service: &Service, name: &WorkloadName, workload: &TestWorkload) -> bool {
    !service.selector.is_empty()
        && service.namespace == name.namespace
        && service.selector.iter().all(|(key, value)| workload.labels.get(key) == Some(value))
}

/// The listed addresses with the ports whose name and protocol are the service port's; where no port has the name, with
/// the ports whose name is the service's target port.
fn listed(slice: &EndpointSlice, port: &ServicePort) -> Vec<SocketAddr> {
    let named = |name: &str| -> Vec<u16> {
        let is_named =
            |one: &EndpointPort| matches!(&one.service_port, ServicePortRef::Name(own) if own == name);
        let found = slice.ports.iter().filter(|one| is_named(one) && one.protocol == port.protocol);
        found.map(|one| one.port).collect()
    };
    let ports = match (named(&port.name), &port.target) {
        (none, TargetPort::Name(target)) if none.is_empty() => named(target),
        (found, _) => found,
    };
    let sockets = slice.addresses.iter();
    sockets.flat_map(|address| ports.iter().map(move |port| SocketAddr::new(*address, *port))).collect()
}
