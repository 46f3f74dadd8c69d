//! The services of a node: the selector source beside the table of frontends that its slices go to.

use crate::candidate::Candidate;
use crate::selector::SelectorSource;
use crate::service::{Service, ServiceName};
use crate::slice::EndpointSlice;
use crate::table::{ServiceTable, SliceList, Switch};
use std::collections::BTreeSet;

/// The services of the node, the source of selected slices, and the backend sets in force.
#[derive(Clone, Debug, Default)]
pub struct Services {
    table: ServiceTable,
    selectors: SelectorSource,
    backends: BackendSource,
    /// Services whose selected slices may be others.
    reselected: BTreeSet<ServiceName>,
}

/// Where the backends of a service with a selector come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackendSource {
    /// The workloads of this node that the selector selects; lists count where it selects none.
    #[default]
    Selector,
    /// Lists only: the EndpointSlices of a cluster contain the ready pods of all nodes.
    Lists,
}

impl Services {
    /// The services, the slices that are listed for them, and the frontends with their backends.
    pub fn table(&self) -> &ServiceTable {
        &self.table
    }

    /// Starts numbering backend sets above this number, which the maps may still hold.
    pub fn number_above(&mut self, number: u32) {
        self.table.number_above(number);
    }

    /// Takes the backends of services with selectors from another source; the lists of a cluster name this node.
    pub fn take_backends_from(&mut self, source: BackendSource, node: &str) {
        self.table.name_node((source == BackendSource::Lists).then(|| node.to_owned()));
        if source != self.backends {
            self.backends = source;
            self.reselected.extend(self.table.listing().services().map(Service::full_name));
        }
    }

    /// Puts a service in place of the one with its name, which is returned. The candidates are the workloads of its namespace
    /// on this node, by number.
    pub fn put_service(
        &mut self,
        service: Service,
        candidates: impl Iterator<Item = (u32, Candidate)>,
    ) -> Option<Service> {
        self.selectors.put_service(&service, candidates);
        self.reselected.insert(service.full_name());
        self.table.put_service(service)
    }

    /// Removes a service, which is returned.
    pub fn remove_service(&mut self, name: &ServiceName) -> Option<Service> {
        self.selectors.remove_service(name);
        self.reselected.insert(name.clone());
        self.table.remove_service(name)
    }

    /// Adds a workload of this node, in place of the one with its number.
    pub fn put_workload(&mut self, id: u32, workload: Candidate) {
        self.reselected.extend(self.selectors.put_workload(id, workload));
    }

    /// Removes a workload.
    pub fn remove_workload(&mut self, id: u32) {
        self.reselected.extend(self.selectors.remove_workload(id));
    }

    /// Puts a list of slices of a service in place of the one with its name, which is returned. A list without an address is
    /// removed.
    pub fn put_listed(
        &mut self,
        service: &ServiceName,
        list: String,
        slices: Vec<EndpointSlice>,
    ) -> Vec<EndpointSlice> {
        self.table.put_slices(service, SliceList::Listed(list), slices)
    }

    /// Switches the frontends whose backends changed since the last call.
    pub fn settle(&mut self) -> Vec<Switch> {
        for name in std::mem::take(&mut self.reselected) {
            let service = self.table.listing().service(&name);
            let service = service.filter(|_| self.backends == BackendSource::Selector);
            let slices = service.map(|service| self.selectors.slices(service)).unwrap_or_default();
            self.table.put_slices(&name, SliceList::Selected, slices);
        }
        self.table.settle()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{candidate, labels, service, slice, tcp};
    use std::net::IpAddr;

    /// The last bytes of the backends' addresses, of the one frontend that changed.
    #[track_caller]
    fn backends(services: &mut Services) -> Vec<u8> {
        services.settle();
        let frontends: Vec<_> = services.table().listing().frontends().collect();
        let [(_, backends)] = frontends[..] else { panic!("{frontends:?}") };
        backends.iter().map(|one| one.address.0[15]).collect()
    }

    #[test]
    fn in_a_cluster_pods_of_other_nodes_serve_beside_those_of_this_node() {
        let mut services = Services::default();
        services.take_backends_from(BackendSource::Lists, "a");
        let web = Service { selector: labels(&[("app", "web")]), ..service("x", "web", [tcp(80, 81)]) };
        services.put_service(web.clone(), [(1, candidate("x", &[("app", "web")], 1))].into_iter());
        services.put_workload(2, candidate("x", &[("app", "web")], 2));
        let pods = |last: &[u8]| slice(last.iter().map(|last| IpAddr::from([10, 0, 0, *last])), "", 81);
        services.put_listed(&web.full_name(), "web-1".into(), vec![pods(&[1, 9])]);
        assert_eq!(backends(&mut services), [1, 9]);
        services.take_backends_from(BackendSource::Selector, "a");
        assert_eq!(backends(&mut services), [1, 2]);
    }
}
