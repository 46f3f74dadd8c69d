//! Ports of the node that lead to a workload: each is a service with the addresses of the node and one backend.

use crate::change::{Endpoint, HostPort};
use crate::step::Step;
use crate::world::World;
use service::{EndpointPort, EndpointSlice, Service, ServiceName, ServicePort, ServicePortRef, TargetPort};
use std::collections::BTreeMap;
use std::iter;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Where only the node's own processes reach a port: no packet from or to others has these addresses.
const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// The one list of slices of such a service.
const LIST: &str = "";

impl World {
    /// Opens the ports of the node that lead to a workload, at the node's addresses as they are.
    pub(crate) fn open_host_ports(&mut self, endpoint: &Endpoint, step: &mut Step) {
        for port in &endpoint.host_ports {
            let service = service_of(endpoint, port, &self.node.addresses);
            let name = service.full_name();
            step.renamed.services.insert((name.namespace.clone(), name.name.clone()));
            if self.services.put_service(service, iter::empty()).is_none() {
                self.host_ports += 1;
            }
            let slices = vec![slice_of(endpoint, port)];
            self.services.put_listed(&name, LIST.to_owned(), slices);
        }
    }

    /// Closes the ports of the node that lead to a workload.
    pub(crate) fn close_host_ports(&mut self, endpoint: &Endpoint, step: &mut Step) {
        for port in &endpoint.host_ports {
            let ServiceName { namespace, name } = name_of(endpoint, port);
            step.renamed.services.insert((namespace, name));
            let name = name_of(endpoint, port);
            self.services.put_listed(&name, LIST.to_owned(), Vec::new());
            if self.services.remove_service(&name).is_some() {
                self.host_ports -= 1;
            }
        }
    }

    /// Opens the ports of all workloads at the node's new addresses.
    pub(crate) fn move_host_ports(&mut self, step: &mut Step) {
        if self.host_ports == 0 {
            return;
        }
        let with_ports = self.endpoints.values().filter(|endpoint| !endpoint.host_ports.is_empty());
        let endpoints: Vec<Arc<Endpoint>> = with_ports.cloned().collect();
        endpoints.iter().for_each(|endpoint| self.open_host_ports(endpoint, step));
    }
}

/// The name of a port. No service of a manifest has a slash in its name; two sandboxes of one pod have different numbers.
fn name_of(endpoint: &Endpoint, port: &HostPort) -> ServiceName {
    let at = port.address.map(|address| format!("{address}:")).unwrap_or_default();
    let protocol = abi::protocol::name(port.protocol.number()).unwrap_or_default();
    let name = format!("{}/{}/{at}{}/{protocol}", endpoint.workload.name, endpoint.id, port.port);
    ServiceName::new(&endpoint.workload.namespace, &name)
}

fn service_of(endpoint: &Endpoint, port: &HostPort, node: &[IpAddr]) -> Service {
    let ServiceName { namespace, name } = name_of(endpoint, port);
    let is_meant = |own: &&IpAddr| match port.address {
        Some(address) if address.is_unspecified() => address.is_ipv4() == own.is_ipv4(),
        Some(address) => address == **own,
        None => true,
    };
    Service {
        namespace,
        name,
        labels: BTreeMap::new(),
        selector: BTreeMap::new(),
        addresses: node.iter().chain(&LOOPBACK).filter(is_meant).copied().collect(),
        headless: false,
        external_name: None,
        keeps_clients: false,
        stays_on_node: false,
        ports: vec![ServicePort {
            name: String::new(),
            protocol: port.protocol,
            port: port.port,
            target: TargetPort::Number(port.container_port),
        }],
    }
}

fn slice_of(endpoint: &Endpoint, port: &HostPort) -> EndpointSlice {
    EndpointSlice {
        addresses: endpoint.workload.addresses.iter().copied().collect(),
        ports: vec![EndpointPort {
            service_port: ServicePortRef::Number(port.port),
            protocol: port.protocol,
            port: port.container_port,
        }],
        ..EndpointSlice::default()
    }
}
