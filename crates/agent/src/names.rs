//! The names behind addresses and numbers, as of the last change of the world.

use control::{Renamed, World};
use flow::{RuleName, ServiceName, WorkloadName};
use policy::book::RuleId;
use policy::rule::{Policy, PolicyId, Spec};
use service::Service;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

/// Names that the threads who decode events share with the one who changes the world.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedNames(Arc<RwLock<Names>>);

#[derive(Debug, Default)]
struct Names {
    workloads: HashMap<IpAddr, (String, String)>,
    labels: HashMap<u32, Vec<String>>,
    rules: HashMap<u32, RuleName>,
    logs: HashMap<u32, String>,
    services: HashMap<(IpAddr, u16, u8), (String, String)>,
}

impl SharedNames {
    /// Names of what is there from the start: the reserved identities, and the rule that no policy holds.
    pub(crate) fn new(world: &World) -> Self {
        let mut names = Names::default();
        for (number, labels) in world.identities().iter() {
            names.labels.insert(number, texts(labels));
        }
        let local_host = RuleName { kind: "Node".into(), name: "local-host".into(), ..RuleName::default() };
        names.rules.insert(RuleId::LOCAL_HOST.0, local_host);
        Self(Arc::new(RwLock::new(names)))
    }

    /// Takes over what has other names now. Names of what is gone are kept while nobody else has taken their place, for
    /// events of the last moments.
    pub(crate) fn refresh(&self, world: &World, renamed: &Renamed) {
        let mut names = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for id in &renamed.endpoints {
            names.name_endpoint(world, *id);
        }
        for policy in &renamed.policies {
            names.name_rules(world, policy);
        }
        for (namespace, name) in &renamed.services {
            names.name_service(world.service(namespace, name));
        }
    }

    fn read<R>(&self, read: impl FnOnce(&Names) -> R) -> R {
        read(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Names {
    fn name_endpoint(&mut self, world: &World, id: u32) {
        let Some(endpoint) = world.endpoint_of(id) else { return };
        let name = (endpoint.workload.namespace.clone(), endpoint.workload.name.clone());
        self.workloads.extend(endpoint.workload.addresses.iter().map(|address| (*address, name.clone())));
        let labelled =
            world.identity(id).and_then(|number| Some((number, world.identities().labels(number)?)));
        self.labels.extend(labelled.map(|(number, labels)| (number, texts(labels))));
    }

    fn name_rules(&mut self, world: &World, policy: &PolicyId) {
        let submitted = world.enforcement().policies().policy(policy);
        for (id, place) in world.enforcement().book().rules_of(policy) {
            let name = RuleName {
                kind: policy.kind.name().into(),
                namespace: policy.namespace.clone(),
                name: policy.name.clone(),
                place: place.to_string(),
            };
            self.rules.insert(id.0, name);
            match submitted.and_then(|submitted| log(submitted, place)) {
                Some(log) => drop(self.logs.insert(id.0, log.to_owned())),
                None => drop(self.logs.remove(&id.0)),
            }
        }
    }

    fn name_service(&mut self, service: Option<&Service>) {
        if let Some(service) = service {
            let name = (service.namespace.clone(), service.name.clone());
            for address in &service.addresses {
                let places = service.ports.iter().map(|port| (*address, port.port, port.protocol.number()));
                self.services.extend(places.map(|place| (place, name.clone())));
            }
        }
    }
}

/// What a policy asks flows to carry that its rule at this place decided on.
fn log<'a>(policy: &'a Policy, place: &str) -> Option<&'a str> {
    let of_rule = |spec: &&Spec| spec.rules.iter().any(|rule| *rule.place == *place);
    policy.specs.iter().filter(|spec| spec.log.is_some()).find(of_rule)?.log.as_deref()
}

/// The labels as text, each `source:key=value`.
pub(crate) fn texts(labels: &identity::Labels) -> Vec<String> {
    let labels = labels.iter().map(|(key, value)| identity::Label { key: key.clone(), value: value.into() });
    labels.map(|label| label.to_string()).collect()
}

impl flow::Names for SharedNames {
    fn workload(&self, address: IpAddr) -> Option<WorkloadName> {
        self.read(|names| {
            let (namespace, name) = names.workloads.get(&address)?.clone();
            Some(WorkloadName { namespace, name })
        })
    }

    fn labels(&self, identity: u32) -> Vec<String> {
        self.read(|names| names.labels.get(&identity).cloned().unwrap_or_default())
    }

    fn rule(&self, number: u32) -> Option<RuleName> {
        self.read(|names| names.rules.get(&number).cloned())
    }

    fn log(&self, rule: u32) -> Option<String> {
        self.read(|names| names.logs.get(&rule).cloned())
    }

    fn service(&self, address: IpAddr, port: u16, protocol: u8) -> Option<ServiceName> {
        self.read(|names| {
            let (namespace, name) = names.services.get(&(address, port, protocol))?.clone();
            Some(ServiceName { namespace, name })
        })
    }
}
