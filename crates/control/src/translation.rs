//! Services: their backends among the workloads, and the numbers of backend sets.

use crate::change::Endpoint;
use abi::row::Row;
use abi::service::{BackendInfo, ServiceInfo, ServiceKey};
use service::{Candidate, Frontend, Service, backend_rows, frontends};
use std::collections::BTreeMap;

/// The services of the node and the backend sets in force.
#[derive(Clone, Debug, Default)]
pub(crate) struct Translation {
    services: BTreeMap<(String, String), Service>,
    sets: BTreeMap<ServiceKey, BackendSet>,
    last_set: u32,
}

/// The backends of one frontend, under a number that stands for just this list.
#[derive(Clone, Debug)]
struct BackendSet {
    number: u32,
    backends: Vec<BackendInfo>,
}

impl Translation {
    /// Starts numbering backend sets above this number, which the maps may still hold.
    pub(crate) fn number_above(&mut self, number: u32) {
        self.last_set = self.last_set.max(number);
    }

    /// Puts a service in place of the one with its name.
    pub(crate) fn put(&mut self, service: Service) {
        self.services.insert((service.namespace.clone(), service.name.clone()), service);
    }

    /// Removes a service.
    pub(crate) fn remove(&mut self, namespace: String, name: String) {
        self.services.remove(&(namespace, name));
    }

    /// The services by namespace and name.
    pub(crate) fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.values()
    }

    /// Finds the backends of every service; a list that changed gets a new number.
    pub(crate) fn settle<'a>(&mut self, endpoints: impl Iterator<Item = &'a Endpoint>) {
        let candidates: Vec<Candidate<'_>> = endpoints.map(candidate).collect();
        let wanted: Vec<Frontend> =
            self.services.values().flat_map(|service| frontends(service, &candidates)).collect();
        let mut old = std::mem::take(&mut self.sets);
        for Frontend { key, backends } in wanted {
            let kept = old.remove(&key).filter(|set| set.backends == backends);
            let set = kept.unwrap_or_else(|| {
                self.last_set += 1;
                BackendSet { number: self.last_set, backends }
            });
            self.sets.insert(key, set);
        }
    }

    /// Each frontend and its backends.
    pub(crate) fn frontends(&self) -> impl Iterator<Item = (&ServiceKey, &[BackendInfo])> {
        self.sets.iter().map(|(key, set)| (key, set.backends.as_slice()))
    }

    /// All rows of all services.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Row> {
        self.sets.iter().flat_map(|(key, set)| {
            let count = u32::try_from(set.backends.len()).expect("a node has fewer backends than 2^32");
            let info = ServiceInfo { backends: set.number, count };
            backend_rows(set.number, &set.backends).chain([Row::Service(*key, info)])
        })
    }
}

fn candidate(endpoint: &Endpoint) -> Candidate<'_> {
    Candidate {
        namespace: &endpoint.namespace,
        labels: &endpoint.labels,
        addresses: &endpoint.addresses,
        named_ports: &endpoint.named_ports,
    }
}
