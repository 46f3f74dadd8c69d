//! The table of frontends: services and slices in, numbered backend sets out.

use crate::frontend::frontends;
use crate::service::{Service, ServiceName};
use crate::slice::EndpointSlice;
use abi::row::Row;
use abi::service::{BackendInfo, BackendKey, ServiceInfo, ServiceKey, service_flag};
use identity::SharedMap;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The services of a node, their slices, and the backend set of each frontend.
///
/// A change of a service or of its slices marks the service; [`Self::settle`] looks at the marked services only.
#[derive(Clone, Debug, Default)]
pub struct ServiceTable {
    listing: ServiceListing,
    frontends_of: BTreeMap<ServiceName, BTreeSet<ServiceKey>>,
    /// The backends that each service has for a frontend. Of several services the first by name has the frontend.
    claims: BTreeMap<ServiceKey, BTreeMap<ServiceName, Claim>>,
    last_set: u32,
    /// The name by which slices show this node's own addresses; none where they are not of a cluster.
    node: Option<String>,
    changed: BTreeSet<ServiceName>,
}

/// The services, their slices and the backend set of each frontend, as they are; clones share them.
#[derive(Clone, Debug, Default)]
pub struct ServiceListing {
    services: SharedMap<ServiceName, Arc<Service>>,
    /// A list may be there before its service.
    slices: SharedMap<ServiceName, Arc<SliceLists>>,
    sets: SharedMap<ServiceKey, BackendSet>,
}

type SliceLists = BTreeMap<SliceList, Vec<EndpointSlice>>;

/// The name of one list of slices of a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SliceList {
    /// What the [`crate::SelectorSource`] makes. While the service selects a workload, its other lists do not count.
    Selected,
    /// What a manifest lists: Endpoints, whose name is empty here, or an EndpointSlice by its name.
    Listed(String),
}

/// What a service wants of one of its frontends.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Claim {
    backends: Arc<[BackendInfo]>,
    /// A union of the `service_flag` constants.
    flags: u32,
}

/// The backends of one frontend, under a number that stands for just these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendSet {
    number: u32,
    claim: Claim,
}

/// The backend set of a frontend before and after a change; none where there is no such frontend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switch {
    /// The frontend.
    pub frontend: ServiceKey,
    /// The set before.
    pub before: Option<BackendSet>,
    /// The set after.
    pub after: Option<BackendSet>,
}

impl ServiceTable {
    /// Starts numbering backend sets above this number, which the maps may still hold.
    pub fn number_above(&mut self, number: u32) {
        self.last_set = self.last_set.max(number);
    }

    /// Names this node as slices do.
    pub(crate) fn name_node(&mut self, node: Option<String>) {
        if self.node != node {
            self.node = node;
            self.changed.extend(self.listing.services().map(Service::full_name));
        }
    }

    /// Puts a service in place of the one with its name, which is returned.
    pub fn put_service(&mut self, service: Service) -> Option<Service> {
        self.changed.insert(service.full_name());
        self.listing.services.insert(service.full_name(), Arc::new(service)).map(Arc::unwrap_or_clone)
    }

    /// Removes a service, which is returned.
    pub fn remove_service(&mut self, name: &ServiceName) -> Option<Service> {
        let before = self.listing.services.remove(name)?;
        self.changed.insert(name.clone());
        Some(Arc::unwrap_or_clone(before))
    }

    /// Replaces the slices of the list with this name, and returns the ones before.
    ///
    /// Selected slices count even without an address, since they tell that a workload is selected; a manifest's list
    /// without an address is no list.
    pub fn put_slices(
        &mut self,
        service: &ServiceName,
        list: SliceList,
        slices: Vec<EndpointSlice>,
    ) -> Vec<EndpointSlice> {
        self.changed.insert(service.clone());
        let is_none = match &list {
            SliceList::Selected => slices.is_empty(),
            SliceList::Listed(_) => slices.iter().all(EndpointSlice::is_empty),
        };
        let mut lists = self.listing.slices.remove(service).unwrap_or_default();
        let known = Arc::make_mut(&mut lists);
        let before = if is_none { known.remove(&list) } else { known.insert(list, slices) };
        if !known.is_empty() {
            self.listing.slices.insert(service.clone(), lists);
        }
        before.unwrap_or_default()
    }

    /// The services, their slices and the frontends; a clone stays as they are now.
    pub fn listing(&self) -> &ServiceListing {
        &self.listing
    }

    /// All rows of all frontends.
    pub fn rows(&self) -> impl Iterator<Item = Row> {
        self.listing.sets.iter().flat_map(|(key, set)| set.rows(*key))
    }

    /// Gives the frontends of the services that changed their backends. Where the backends are others than before, the
    /// frontend gets a new set under a new number.
    pub fn settle(&mut self) -> Vec<Switch> {
        let mut frontends = BTreeSet::new();
        for service in std::mem::take(&mut self.changed) {
            self.claim(service, &mut frontends);
        }
        frontends.into_iter().filter_map(|frontend| self.switch(frontend)).collect()
    }

    /// Notes what a service claims, and adds its frontends of before and after to those to look at.
    fn claim(&mut self, service: ServiceName, frontends: &mut BTreeSet<ServiceKey>) {
        let wanted = self.wanted(&service);
        let now: BTreeSet<ServiceKey> = wanted.keys().copied().collect();
        let before = self.frontends_of.remove(&service).unwrap_or_default();
        for gone in before.difference(&now) {
            if let Some(claims) = self.claims.get_mut(gone) {
                claims.remove(&service);
            }
        }
        for (frontend, claim) in wanted {
            self.claims.entry(frontend).or_default().insert(service.clone(), claim);
        }
        frontends.extend(before.iter().chain(&now));
        if !now.is_empty() {
            self.frontends_of.insert(service, now);
        }
    }

    /// The frontends of a service with their backends; of two with one key the first counts.
    fn wanted(&self, name: &ServiceName) -> BTreeMap<ServiceKey, Claim> {
        let mut wanted = BTreeMap::new();
        let Some(service) = self.listing.service(name) else { return wanted };
        let slices = self.listing.in_force(name);
        let flags = if service.keeps_clients { service_flag::ONE_BACKEND_OF_CLIENT } else { 0 };
        for frontend in frontends(service, &slices, self.node.as_deref()) {
            wanted.entry(frontend.key).or_insert(Claim { backends: frontend.backends.into(), flags });
        }
        wanted
    }

    /// Gives a frontend the backends of the first service that claims it.
    fn switch(&mut self, frontend: ServiceKey) -> Option<Switch> {
        let claims = self.claims.get(&frontend);
        let first = claims.and_then(|claims| claims.values().next()).cloned();
        if first.is_none() {
            self.claims.remove(&frontend);
        }
        if self.listing.sets.get(&frontend).map(|set| &set.claim) == first.as_ref() {
            return None;
        }
        let before = self.listing.sets.remove(&frontend);
        let after = first.map(|claim| {
            self.last_set += 1;
            BackendSet { number: self.last_set, claim }
        });
        if let Some(set) = after.clone() {
            self.listing.sets.insert(frontend, set);
        }
        Some(Switch { frontend, before, after })
    }
}

impl ServiceListing {
    /// The service with this name.
    pub fn service(&self, name: &ServiceName) -> Option<&Service> {
        self.services.get(name).map(|service| &**service)
    }

    /// The services by namespace and name.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.values().map(|service| &**service)
    }

    /// The slices of a service that manifests list.
    pub fn listed<'a>(&'a self, service: &ServiceName) -> impl Iterator<Item = &'a EndpointSlice> + use<'a> {
        let lists = self.slices.get(service).into_iter().flat_map(|lists| &**lists);
        lists.filter(|(list, _)| **list != SliceList::Selected).flat_map(|(_, slices)| slices)
    }

    /// Each frontend and its backends.
    pub fn frontends(&self) -> impl Iterator<Item = (&ServiceKey, &[BackendInfo])> {
        self.sets.iter().map(|(key, set)| (key, &*set.claim.backends))
    }

    /// The number of services.
    pub fn count(&self) -> usize {
        self.services.len()
    }

    /// The slices of a service that count: the selected ones, or else all that are listed.
    fn in_force(&self, service: &ServiceName) -> Vec<&EndpointSlice> {
        let selected = self.slices.get(service).and_then(|lists| lists.get(&SliceList::Selected));
        match selected {
            Some(slices) => slices.iter().collect(),
            None => self.listed(service).collect(),
        }
    }
}

impl BackendSet {
    /// The rows of the set, and the row by which a frontend refers to it.
    pub fn rows(&self, frontend: ServiceKey) -> impl Iterator<Item = Row> {
        let Claim { backends: list, flags } = &self.claim;
        let (backends, number) = (self.number, self.number);
        let count = u32::try_from(list.len()).expect("a frontend has fewer backends than 2^32");
        let backend =
            move |(index, backend): (u32, &_)| Row::Backend(BackendKey { backends: number, index }, *backend);
        (0..)
            .zip(list.iter())
            .map(backend)
            .chain([Row::Service(frontend, ServiceInfo { backends, count, flags: *flags })])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{self, tcp};
    use std::net::IpAddr;

    fn service(name: &str, port: u16) -> Service {
        fixtures::service("x", name, [tcp(port, port)])
    }

    fn slice(last: &[u8]) -> Vec<EndpointSlice> {
        let addresses = last.iter().map(|last| IpAddr::from([198, 51, 100, *last]));
        vec![fixtures::slice(addresses, "", 81)]
    }

    /// The last bytes of the backends' addresses in each set that the changes switch a frontend to.
    #[track_caller]
    fn check(table: &mut ServiceTable, expected: &[Option<&[u8]>]) {
        let backends =
            |set: BackendSet| set.claim.backends.iter().map(|one| one.address.0[15]).collect::<Vec<u8>>();
        let found: Vec<_> = table.settle().into_iter().map(|switch| switch.after.map(backends)).collect();
        let expected: Vec<_> = expected.iter().map(|set| set.map(<[u8]>::to_vec)).collect();
        assert_eq!(found, expected);
        assert_eq!(table.settle(), [], "nothing changed since");
    }

    fn listed(name: &str) -> SliceList {
        SliceList::Listed(name.into())
    }

    #[test]
    fn selected_slices_count_before_listed_ones_even_without_an_address() {
        let (mut table, web) = (ServiceTable::default(), ServiceName::new("x", "web"));
        table.put_service(service("web", 80));
        check(&mut table, &[Some(&[])]);
        table.put_slices(&web, listed("a"), slice(&[1]));
        table.put_slices(&web, listed("b"), slice(&[2, 1]));
        check(&mut table, &[Some(&[1, 2])]);
        table.put_slices(&web, SliceList::Selected, slice(&[7]));
        check(&mut table, &[Some(&[7])]);
        table.put_slices(&web, SliceList::Selected, slice(&[]));
        check(&mut table, &[Some(&[])]);
        assert_eq!(table.listing().listed(&web).count(), 2);
        assert_eq!(table.put_slices(&web, listed("b"), slice(&[])), slice(&[2, 1]));
        check(&mut table, &[]);
        table.put_slices(&web, SliceList::Selected, vec![]);
        check(&mut table, &[Some(&[1])]);
        table.remove_service(&web);
        check(&mut table, &[None]);
    }

    #[test]
    fn of_two_services_with_one_frontend_the_first_has_it() {
        let mut table = ServiceTable::default();
        for (name, last) in [("b", 2), ("a", 1)] {
            table.put_service(service(name, 80));
            table.put_slices(&ServiceName::new("x", name), listed(""), slice(&[last]));
            check(&mut table, &[Some(&[last])]);
        }
        table.put_slices(&ServiceName::new("x", "b"), listed(""), slice(&[3]));
        check(&mut table, &[]);
        table.put_service(service("a", 81));
        check(&mut table, &[Some(&[3]), Some(&[1])]);
        table.remove_service(&ServiceName::new("x", "b"));
        check(&mut table, &[None]);
    }

    #[test]
    fn a_changed_set_takes_a_new_number() {
        let (mut table, web) = (ServiceTable::default(), ServiceName::new("x", "web"));
        table.number_above(7);
        table.put_service(service("web", 80));
        let first = table.settle().remove(0).after.unwrap();
        table.put_slices(&web, listed(""), slice(&[1]));
        let [Switch { frontend, before, after }] = table.settle().try_into().unwrap();
        assert_eq!((first.number, before), (8, Some(first)));
        let rows: Vec<Row> = after.unwrap().rows(frontend).collect();
        let [Row::Backend(BackendKey { backends: 9, index: 0 }, _), service] = rows[..] else {
            panic!("{rows:?}")
        };
        assert_eq!(service, Row::Service(frontend, ServiceInfo { backends: 9, count: 1, flags: 0 }));
        assert_eq!(table.rows().collect::<Vec<_>>(), rows);
    }

    #[test]
    fn a_service_that_keeps_its_clients_gets_another_set_with_a_flag() {
        let (mut table, web) = (ServiceTable::default(), service("web", 80));
        table.put_service(web.clone());
        check(&mut table, &[Some(&[])]);
        table.put_service(Service { keeps_clients: true, ..web });
        check(&mut table, &[Some(&[])]);
        let flags = table.rows().filter_map(|row| match row {
            Row::Service(_, info) => Some(info.flags),
            _ => None,
        });
        assert_eq!(flags.collect::<Vec<_>>(), [service_flag::ONE_BACKEND_OF_CLIENT]);
    }
}
