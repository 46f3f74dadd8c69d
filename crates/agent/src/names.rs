//! The names behind addresses and numbers, as of the last change of the world.

use control::World;
use flow::{RuleName, ServiceName, Workload};
use policy::book::{RuleId, RuleOrigin};
use policy::rule::Spec;
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
    /// Takes over the names of the world. Names of what is gone are kept while nobody else has taken their place, for
    /// events of the last moments.
    pub(crate) fn refresh(&self, world: &World) {
        let mut names = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for endpoint in world.endpoints() {
            let name = (endpoint.namespace.clone(), endpoint.name.clone());
            names.workloads.extend(endpoint.addresses.iter().map(|address| (*address, name.clone())));
        }
        for (number, labels) in world.identities().iter() {
            names.labels.insert(number, texts(labels));
        }
        for (id, origin) in world.enforcement().book().rules() {
            let policy = &origin.policy;
            let name = RuleName {
                kind: policy.kind.name().into(),
                namespace: policy.namespace.clone(),
                name: policy.name.clone(),
                place: origin.place.to_string(),
            };
            names.rules.insert(id.0, name);
            match log(world, origin) {
                Some(log) => drop(names.logs.insert(id.0, log.to_owned())),
                None => drop(names.logs.remove(&id.0)),
            }
        }
        let local_host = RuleName { kind: "Node".into(), name: "local-host".into(), ..RuleName::default() };
        names.rules.insert(RuleId::LOCAL_HOST.0, local_host);
        for service in world.services() {
            for (address, port) in service
                .addresses
                .iter()
                .flat_map(|address| service.ports.iter().map(move |port| (*address, port)))
            {
                let name = (service.namespace.clone(), service.name.clone());
                names.services.insert((address, port.port, port.protocol.number()), name);
            }
        }
    }

    fn read<R>(&self, read: impl FnOnce(&Names) -> R) -> R {
        read(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a rule's policy asks flows to carry.
fn log<'a>(world: &'a World, origin: &RuleOrigin) -> Option<&'a str> {
    let policy = world.enforcement().policies().policy(&origin.policy)?;
    let of_rule = |spec: &&Spec| spec.rules.iter().any(|rule| rule.place == origin.place);
    policy.specs.iter().filter(|spec| spec.log.is_some()).find(of_rule)?.log.as_deref()
}

/// The labels as text, each `source:key=value`.
pub(crate) fn texts(labels: &identity::Labels) -> Vec<String> {
    let labels = labels.iter().map(|(key, value)| identity::Label { key: key.clone(), value: value.into() });
    labels.map(|label| label.to_string()).collect()
}

impl flow::Names for SharedNames {
    fn workload(&self, address: IpAddr) -> Option<Workload> {
        self.read(|names| {
            let (namespace, name) = names.workloads.get(&address)?.clone();
            Some(Workload { namespace, name })
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
