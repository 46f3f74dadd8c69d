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
    /// Services whose selected slices may be others.
    reselected: BTreeSet<ServiceName>,
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
            let slices = service.map(|service| self.selectors.slices(service)).unwrap_or_default();
            self.table.put_slices(&name, SliceList::Selected, slices);
        }
        self.table.settle()
    }
}
