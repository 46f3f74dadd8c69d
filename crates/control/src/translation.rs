//! Service translation: the selector source beside the table of frontends that its slices go to.

use crate::change::{Endpoint, Workload};
use abi::row::Row;
use abi::service::{BackendInfo, ServiceKey};
use enforcement::RowChanges;
use service::{Candidate, EndpointSlice, SelectorSource, Service, ServiceName, ServiceTable, SliceList};
use std::collections::BTreeSet;

/// The services of the node, the source of selected slices, and the backend sets in force.
#[derive(Clone, Debug, Default)]
pub(crate) struct Translation {
    table: ServiceTable,
    selectors: SelectorSource,
    /// Services whose selected slices may be others.
    reselected: BTreeSet<ServiceName>,
}

impl Translation {
    /// Starts numbering backend sets above this number, which the maps may still hold.
    pub(crate) fn number_above(&mut self, number: u32) {
        self.table.number_above(number);
    }

    /// Puts a service in place of the one with its name, which is returned. The workloads are those of its namespace on
    /// this node.
    pub(crate) fn put_service<'a>(
        &mut self,
        service: Service,
        workloads: impl Iterator<Item = &'a Endpoint>,
    ) -> Option<Service> {
        let candidates = workloads.map(|endpoint| (endpoint.id, candidate(&endpoint.workload)));
        self.selectors.put_service(&service, candidates);
        self.reselected.insert(service.full_name());
        self.table.put_service(service)
    }

    /// Removes a service, which is returned.
    pub(crate) fn remove_service(&mut self, name: &ServiceName) -> Option<Service> {
        self.selectors.remove_service(name);
        self.reselected.insert(name.clone());
        self.table.remove_service(name)
    }

    /// Adds a workload of this node, or follows its change.
    pub(crate) fn put_workload(&mut self, endpoint: &Endpoint) {
        self.reselected.extend(self.selectors.put_workload(endpoint.id, candidate(&endpoint.workload)));
    }

    /// Removes a workload.
    pub(crate) fn remove_workload(&mut self, id: u32) {
        self.reselected.extend(self.selectors.remove_workload(id));
    }

    /// Puts a list of slices of a service in place of the one with its name, which is returned; without an address the
    /// list is gone.
    pub(crate) fn put_listed(
        &mut self,
        service: &ServiceName,
        list: &str,
        slices: Vec<EndpointSlice>,
    ) -> Vec<EndpointSlice> {
        self.table.put_slices(service, SliceList::Listed(list.to_owned()), slices)
    }

    /// The slices that are listed for a service.
    pub(crate) fn listed<'a>(
        &'a self,
        service: &ServiceName,
    ) -> impl Iterator<Item = &'a EndpointSlice> + use<'a> {
        self.table.listed(service)
    }

    /// The service with this name.
    pub(crate) fn service(&self, name: &ServiceName) -> Option<&Service> {
        self.table.service(name)
    }

    /// The services by namespace and name.
    pub(crate) fn services(&self) -> impl Iterator<Item = &Service> {
        self.table.services()
    }

    /// Switches the frontends that have other backends since the last time.
    pub(crate) fn settle(&mut self, rows: &mut RowChanges) {
        for name in std::mem::take(&mut self.reselected) {
            let service = self.table.service(&name);
            let slices = service.map(|service| self.selectors.slices(service)).unwrap_or_default();
            self.table.put_slices(&name, SliceList::Selected, slices);
        }
        for switch in self.table.settle() {
            rows.remove(switch.before.iter().flat_map(|set| set.rows(switch.frontend)));
            rows.put(switch.after.iter().flat_map(|set| set.rows(switch.frontend)));
        }
    }

    /// Each frontend and its backends.
    pub(crate) fn frontends(&self) -> impl Iterator<Item = (&ServiceKey, &[BackendInfo])> {
        self.table.frontends()
    }

    /// All rows of all frontends.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Row> {
        self.table.rows()
    }
}

fn candidate(workload: &Workload) -> Candidate {
    Candidate {
        namespace: workload.namespace.clone(),
        labels: workload.labels.clone(),
        addresses: workload.addresses.clone(),
        named_ports: workload.named_ports.clone(),
    }
}
