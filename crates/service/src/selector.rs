//! The selector source: makes the EndpointSlices of services from the workloads that they select.
//!
//! On a node without an API server it does what the EndpointSlice controller does in a cluster. A change of one workload
//! concerns only the services that select its labels before or after; these are found by index.

use crate::candidate::{Candidate, selects};
use crate::service::{Service, ServiceName};
use crate::slice::EndpointSlice;
use identity::index::{LabelIndex, SelectorIndex};
use identity::{Labels, Operator, Selector, Source};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Services with selectors, and the workloads that they may select. Of a namespace without a selector it keeps nothing.
#[derive(Clone, Debug, Default)]
pub struct SelectorSource {
    namespaces: BTreeMap<String, NamespaceIndex>,
    workloads: BTreeMap<u32, Candidate>,
}

/// The services of one namespace, and an index of its workloads; a selector selects within its service's own.
#[derive(Clone, Debug, Default)]
struct NamespaceIndex {
    services: BTreeMap<Arc<str>, Selection>,
    by_selector: SelectorIndex<Arc<str>>,
    by_label: LabelIndex<u32>,
}

/// The workloads that a service selects.
#[derive(Clone, Debug)]
struct Selection {
    selector: BTreeMap<String, String>,
    workloads: BTreeSet<u32>,
}

impl SelectorSource {
    /// Adds a service, or follows a change of its selector. The workloads are all of the service's namespace; the first
    /// selector of a namespace looks at them.
    pub fn put_service(&mut self, service: &Service, workloads: impl IntoIterator<Item = (u32, Candidate)>) {
        let known = self.selection(&service.namespace, &service.name);
        if known.is_some_and(|known| known.selector == service.selector) {
            return;
        }
        self.remove_service(&service.full_name());
        if service.selector.is_empty() {
            return;
        }
        let selector = as_selector(&service.selector);
        let namespace = self.namespaces.entry(service.namespace.clone()).or_default();
        if namespace.services.is_empty() {
            for (number, workload) in workloads {
                namespace.by_label.insert(&as_labels(&workload.labels), number);
                self.workloads.insert(number, workload);
            }
        }
        let mut workloads = namespace.by_label.candidates(&selector).unwrap_or_default();
        workloads.retain(|number| selects(&service.selector, &self.workloads[number].labels));
        let name: Arc<str> = service.name.as_str().into();
        namespace.by_selector.insert(&selector, name.clone());
        let selection =
            Selection { selector: service.selector.clone(), workloads: workloads.into_iter().collect() };
        namespace.services.insert(name, selection);
    }

    /// Removes a service.
    pub fn remove_service(&mut self, service: &ServiceName) {
        let Some(namespace) = self.namespaces.get_mut(&service.namespace) else { return };
        let Some((name, before)) = namespace.services.remove_entry(&*service.name) else { return };
        namespace.by_selector.remove(&as_selector(&before.selector), &name);
        if namespace.services.is_empty() {
            self.namespaces.remove(&service.namespace);
            self.workloads.retain(|_, workload| workload.namespace != service.namespace);
        }
    }

    /// Adds a workload or follows its change, and returns the services whose slices are others.
    pub fn put_workload(&mut self, number: u32, workload: Candidate) -> BTreeSet<ServiceName> {
        let (mut changed, is_indexed) = match self.workloads.get(&number) {
            Some(before) if *before == workload => return BTreeSet::new(),
            Some(before) if before.namespace == workload.namespace && before.labels == workload.labels => {
                (BTreeSet::new(), true)
            }
            _ => (self.remove_workload(number), false),
        };
        let Some(namespace) = self.namespaces.get_mut(&workload.namespace) else { return changed };
        let labels = as_labels(&workload.labels);
        if !is_indexed {
            namespace.by_label.insert(&labels, number);
        }
        for name in namespace.selecting(&workload.labels, &labels) {
            changed.insert(ServiceName::new(&workload.namespace, &name));
            if let Some(selection) = namespace.services.get_mut(&name) {
                selection.workloads.insert(number);
            }
        }
        self.workloads.insert(number, workload);
        changed
    }

    /// Removes a workload, and returns the services whose slices are others.
    pub fn remove_workload(&mut self, number: u32) -> BTreeSet<ServiceName> {
        let mut changed = BTreeSet::new();
        let Some(before) = self.workloads.remove(&number) else { return changed };
        let Some(namespace) = self.namespaces.get_mut(&before.namespace) else { return changed };
        let labels = as_labels(&before.labels);
        namespace.by_label.remove(&labels, number);
        for name in namespace.selecting(&before.labels, &labels) {
            changed.insert(ServiceName::new(&before.namespace, &name));
            if let Some(selection) = namespace.services.get_mut(&name) {
                selection.workloads.remove(&number);
            }
        }
        changed
    }

    /// The slices of the workloads that a service selects; none where no workload is selected.
    pub fn slices(&self, service: &Service) -> Vec<EndpointSlice> {
        let selected = self.selection(&service.namespace, &service.name).into_iter();
        let selected = selected.flat_map(|selection| &selection.workloads);
        service.slices(selected.map(|number| &self.workloads[number]))
    }

    fn selection(&self, namespace: &str, name: &str) -> Option<&Selection> {
        self.namespaces.get(namespace)?.services.get(name)
    }
}

impl NamespaceIndex {
    /// The services whose selectors select a workload's own labels, which are given in both forms.
    fn selecting(&self, own: &BTreeMap<String, String>, labels: &Labels) -> Vec<Arc<str>> {
        let is_selected = |name: &Arc<str>| {
            self.services.get(name).is_some_and(|selection| selects(&selection.selector, own))
        };
        self.by_selector.selecting(labels, is_selected).into_iter().cloned().collect()
    }
}

/// The selector as the index has it.
fn as_selector(selector: &BTreeMap<String, String>) -> Selector {
    selector.iter().fold(Selector::default(), |selector, (key, value)| {
        selector.with(Some(Source::K8s), key.as_str(), Operator::equals(value))
    })
}

/// A workload's own labels as the index has them.
fn as_labels(own: &BTreeMap<String, String>) -> Labels {
    let mut labels = Labels::default();
    own.iter().for_each(|(key, value)| labels.insert(Source::K8s, key.as_str(), value));
    labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{self, candidate as workload, labels, tcp};
    use std::net::IpAddr;

    fn service(name: &str, selector: &[(&str, &str)]) -> Service {
        Service { selector: labels(selector), ..fixtures::service("x", name, [tcp(80, 80)]) }
    }

    /// The workloads of a namespace.
    fn within<'a>(
        namespace: &'a str,
        workloads: &'a BTreeMap<u32, Candidate>,
    ) -> impl Iterator<Item = (u32, Candidate)> + 'a {
        let within = workloads.iter().filter(move |(_, workload)| workload.namespace == namespace);
        within.map(|(number, workload)| (*number, workload.clone()))
    }

    fn names(changed: &BTreeSet<ServiceName>) -> Vec<&str> {
        changed.iter().map(|service| service.name.as_str()).collect()
    }

    /// The last bytes of the addresses in the selected slices of a service.
    fn behind(source: &SelectorSource, service: &Service) -> Vec<u8> {
        let slices = source.slices(service);
        let addresses = slices.iter().flat_map(|slice| &slice.addresses);
        let last = addresses.map(|address| match address {
            IpAddr::V4(address) => address.octets()[3],
            IpAddr::V6(_) => panic!("{address}"),
        });
        last.collect()
    }

    #[test]
    fn a_workload_concerns_only_services_that_select_it_before_or_after() {
        let services = [
            service("db", &[("app", "db")]),
            service("plain", &[]),
            service("prod", &[("env", "prod")]),
            service("web", &[("app", "web"), ("env", "prod")]),
        ];
        let mut source = SelectorSource::default();
        services.iter().for_each(|service| source.put_service(service, []));
        let steps: [(Candidate, &[&str]); 6] = [
            (workload("x", &[("app", "web")], 1), &[]),
            (workload("x", &[("app", "web"), ("env", "prod")], 1), &["prod", "web"]),
            (workload("x", &[("app", "web"), ("env", "prod")], 1), &[]),
            (workload("x", &[("app", "web"), ("env", "prod")], 2), &["prod", "web"]),
            (workload("x", &[("app", "db"), ("env", "prod")], 2), &["db", "prod", "web"]),
            (workload("y", &[("app", "db"), ("env", "prod")], 2), &["db", "prod"]),
        ];
        for (workload, expected) in steps {
            assert_eq!(names(&source.put_workload(1, workload.clone())), expected, "{workload:?}");
        }
        assert_eq!(source.remove_workload(1), BTreeSet::new(), "namespace y has no service");
        assert_eq!(source.remove_workload(1), BTreeSet::new());
    }

    #[test]
    fn one_change_among_many_concerns_one_service() {
        let mut source = SelectorSource::default();
        for number in 0..1000 {
            source.put_service(&service(&format!("s{number}"), &[("app", &format!("a{number}"))]), []);
        }
        let one = |number: u32, last| workload("x", &[("app", &format!("a{}", number % 1000))], last);
        for number in 0..5000 {
            assert_eq!(source.put_workload(number, one(number, 1)).len(), 1);
        }
        assert_eq!(names(&source.put_workload(4321, one(4321, 2))), ["s321"]);
        assert_eq!(names(&source.put_workload(4321, one(4322, 2))), ["s321", "s322"]);
        assert_eq!(names(&source.remove_workload(4321)), ["s322"]);
    }

    #[test]
    fn a_service_finds_the_workloads_that_came_before_it() {
        let mut source = SelectorSource::default();
        let web = [("app", "web"), ("env", "prod")];
        let workloads = BTreeMap::from([
            (1, workload("x", &web, 1)),
            (2, workload("x", &web[..1], 2)),
            (3, workload("y", &web, 3)),
        ]);
        for (number, workload) in &workloads {
            assert_eq!(source.put_workload(*number, workload.clone()), BTreeSet::new());
        }
        assert!(source.workloads.is_empty(), "without a selector nothing is kept");
        for (selector, expected) in [
            (&web[..], &[1][..]),
            (&web[..1], &[1, 2]),
            (&[], &[]),
            (&[("app", "db")], &[]),
            (&web[1..], &[1]),
        ] {
            let service = service("web", selector);
            source.put_service(&service, within("x", &workloads));
            assert_eq!(behind(&source, &service), expected, "{selector:?}");
        }
        let service = service("web", &web);
        source.put_service(&service, within("x", &workloads));
        source.remove_service(&service.full_name());
        assert_eq!(source.slices(&service), []);
        assert!(source.namespaces.is_empty() && source.workloads.is_empty());
        assert_eq!(source.put_workload(1, workload("x", &web, 4)), BTreeSet::new());
    }

    /// A number below the bound, from a linear congruential generator.
    fn below(state: &mut u64, bound: u64) -> u64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) % bound
    }

    fn random_labels(state: &mut u64) -> Vec<(&'static str, &'static str)> {
        let all =
            [("app", "a"), ("app", "b"), ("env", "a"), ("env", "b"), ("io.kubernetes.pod.namespace", "x")];
        all.into_iter().filter(|_| below(state, 3) == 0).collect()
    }

    #[test]
    fn slices_are_the_same_as_from_a_search_through_all_workloads() {
        let (mut source, state) = (SelectorSource::default(), &mut 1);
        let mut services = BTreeMap::<ServiceName, Service>::new();
        let mut workloads = BTreeMap::<u32, Candidate>::new();
        let mut known = BTreeMap::<ServiceName, Vec<EndpointSlice>>::new();
        for _ in 0..5000 {
            let namespace = ["x", "y"][below(state, 2) as usize];
            let number = below(state, 12) as u32;
            let mut changed = BTreeSet::new();
            match below(state, 6) {
                0 => {
                    workloads.remove(&number);
                    changed = source.remove_workload(number);
                }
                1..4 => {
                    let workload = workload(namespace, &random_labels(state), below(state, 4) as u8);
                    workloads.insert(number, workload.clone());
                    changed = source.put_workload(number, workload);
                }
                4 => {
                    let name = ServiceName::new(namespace, &format!("s{}", number % 5));
                    source.remove_service(&name);
                    services.remove(&name);
                    known.remove(&name);
                }
                _ => {
                    let labels = random_labels(state);
                    let service = service(&format!("s{}", number % 5), &labels);
                    let service = Service { namespace: namespace.into(), ..service };
                    source.put_service(&service, within(namespace, &workloads));
                    changed.insert(service.full_name());
                    services.insert(service.full_name(), service);
                }
            }
            for (name, service) in &services {
                let selected = workloads.values().filter(|workload| service.selects(workload));
                let slices = service.slices(selected);
                assert_eq!(source.slices(service), slices, "{service:?}");
                let before = known.insert(name.clone(), slices.clone());
                assert!(changed.contains(name) || before == Some(slices), "{name:?} not in {changed:?}");
            }
        }
    }
}
