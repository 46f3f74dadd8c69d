//! Services: their backends, selected or listed, and the numbers of backend sets.

use crate::change::Endpoint;
use crate::writes::Draft;
use abi::row::Row;
use abi::service::{BackendInfo, ServiceInfo, ServiceKey};
use service::{Candidate, EndpointSlice, Frontend, Service, backend_rows, frontends};
use std::collections::{BTreeMap, BTreeSet};

/// The services of the node and the backend sets in force.
#[derive(Clone, Debug, Default)]
pub(crate) struct Translation {
    services: BTreeMap<(String, String), Service>,
    /// The lists of addresses of each service by the name of the list; a list may be there before its service.
    listed: BTreeMap<(String, String), BTreeMap<String, Vec<EndpointSlice>>>,
    /// The addresses and ports of each namespace's services.
    frontends_of: BTreeMap<String, BTreeSet<ServiceKey>>,
    /// The backends that each namespace has for an address and port; one that two claim is the first one's.
    claims: BTreeMap<ServiceKey, BTreeMap<String, Vec<BackendInfo>>>,
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

    /// Puts a service in place of the one with its name, which is returned.
    pub(crate) fn put(&mut self, service: Service) -> Option<Service> {
        self.services.insert((service.namespace.clone(), service.name.clone()), service)
    }

    /// Removes a service.
    pub(crate) fn remove(&mut self, namespace: &str, name: &str) -> Option<Service> {
        self.services.remove(&(namespace.to_owned(), name.to_owned()))
    }

    /// Puts a list of addresses of a service in place of the one with its name, which is returned; a list without
    /// addresses is none.
    pub(crate) fn list(
        &mut self,
        id: &(String, String),
        list: &str,
        slices: Vec<EndpointSlice>,
    ) -> Vec<EndpointSlice> {
        let lists = self.listed.entry(id.clone()).or_default();
        let before = match slices.iter().all(|slice| slice.addresses.is_empty()) {
            true => lists.remove(list),
            false => lists.insert(list.to_owned(), slices),
        };
        if lists.is_empty() {
            self.listed.remove(id);
        }
        before.unwrap_or_default()
    }

    /// What is listed for a service.
    pub(crate) fn listed<'a>(
        &'a self,
        namespace: &str,
        name: &str,
    ) -> impl Iterator<Item = &'a EndpointSlice> + use<'a> {
        let lists = self.listed.get(&(namespace.to_owned(), name.to_owned()));
        lists.into_iter().flat_map(BTreeMap::values).flatten()
    }

    /// The service with this name.
    pub(crate) fn service(&self, namespace: &str, name: &str) -> Option<&Service> {
        self.services.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// The services by namespace and name.
    pub(crate) fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.values()
    }

    /// Finds the backends of the services of one namespace among its workloads; a list that changed gets a new number.
    pub(crate) fn settle<'a>(
        &mut self,
        namespace: &str,
        endpoints: impl Iterator<Item = &'a Endpoint>,
        draft: &mut Draft,
    ) {
        let services = self.services.range((namespace.to_owned(), String::new())..);
        let mut services = services.take_while(|((within, _), _)| within == namespace).peekable();
        if services.peek().is_none() && !self.frontends_of.contains_key(namespace) {
            return;
        }
        let candidates: Vec<Candidate<'_>> = endpoints.map(candidate).collect();
        let of_service = |service: &Service| -> Vec<Frontend> {
            let listed: Vec<&EndpointSlice> = self.listed(&service.namespace, &service.name).collect();
            frontends(service, &candidates, &listed).collect()
        };
        let mut wanted = BTreeMap::new();
        for Frontend { key, backends } in services.flat_map(|(_, service)| of_service(service)) {
            wanted.entry(key).or_insert(backends);
        }
        let now: BTreeSet<ServiceKey> = wanted.keys().copied().collect();
        let before = self.frontends_of.remove(namespace).unwrap_or_default();
        for key in before.union(&now) {
            self.claim(*key, namespace, wanted.remove(key));
            self.settle_frontend(*key, draft);
        }
        if !now.is_empty() {
            self.frontends_of.insert(namespace.to_owned(), now);
        }
    }

    /// Notes the backends that a namespace has for a frontend, or that it has no such frontend.
    fn claim(&mut self, key: ServiceKey, namespace: &str, backends: Option<Vec<BackendInfo>>) {
        let claims = self.claims.entry(key).or_default();
        match backends {
            Some(backends) => _ = claims.insert(namespace.to_owned(), backends),
            None => _ = claims.remove(namespace),
        }
        if claims.is_empty() {
            self.claims.remove(&key);
        }
    }

    /// Gives a frontend the backends of the first namespace that claims it, under a new number where they are others.
    fn settle_frontend(&mut self, key: ServiceKey, draft: &mut Draft) {
        let first = self.claims.get(&key).and_then(|claims| claims.values().next());
        let kept = self.sets.get(&key).map(|set| &set.backends);
        if first == kept {
            return;
        }
        let backends = first.cloned();
        if let Some(set) = self.sets.remove(&key) {
            draft.drop(set.rows(&key));
        }
        if let Some(backends) = backends {
            self.last_set += 1;
            let set = BackendSet { number: self.last_set, backends };
            draft.put(set.rows(&key));
            self.sets.insert(key, set);
        }
    }

    /// Each frontend and its backends.
    pub(crate) fn frontends(&self) -> impl Iterator<Item = (&ServiceKey, &[BackendInfo])> {
        self.sets.iter().map(|(key, set)| (key, set.backends.as_slice()))
    }

    /// All rows of all services.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Row> {
        self.sets.iter().flat_map(|(key, set)| set.rows(key))
    }
}

impl BackendSet {
    fn rows(&self, key: &ServiceKey) -> impl Iterator<Item = Row> {
        let count = u32::try_from(self.backends.len()).expect("a node has fewer backends than 2^32");
        let info = ServiceInfo { backends: self.number, count };
        backend_rows(self.number, &self.backends).chain([Row::Service(*key, info)])
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
