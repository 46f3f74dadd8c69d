//! Names of addresses and numbers, for the threads that decode events.

use control::{Change, Renamed, World};
use flow::{FlowService, FlowWorkload, RuleName};
use policy::book::RuleId;
use policy::rule::{Policy, PolicyId, Spec};
use service::Service;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// How long the name of a removed object is kept: events of its last packets may still be in the ring buffer.
const RETENTION: Duration = Duration::from_secs(30);

/// Names that the agent's thread updates and the threads that decode events read.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedNames(Arc<RwLock<NameTables>>);

/// Address, port and IP protocol of a service.
type FrontendAddress = (IpAddr, u16, u8);

#[derive(Debug, Default)]
struct NameTables {
    workloads: NameTable<u32, IpAddr, FlowWorkload>,
    labels: NameTable<u32, u32, Vec<String>>,
    rules: NameTable<PolicyId, u32, NamedRule>,
    services: NameTable<(String, String), FrontendAddress, FlowService>,
}

#[derive(Debug)]
struct NamedRule {
    name: RuleName,
    /// The `log.value` of the spec that contains the rule.
    log: Option<String>,
}

/// Names by key, and the keys that each object has. Keys that no object has any more are removed after [`RETENTION`].
#[derive(Debug)]
struct NameTable<Object, Key, Name> {
    names: HashMap<Key, Entry<Name>>,
    keys: HashMap<Object, Vec<Key>>,
    /// Keys to remove, with the time at which they lost their object; oldest first.
    unused: VecDeque<(Instant, Key)>,
}

#[derive(Debug)]
struct Entry<Name> {
    name: Name,
    /// How many objects have the key.
    holders: usize,
}

impl SharedNames {
    /// Names of the reserved identities and of the built-in rule for the local host.
    pub(crate) fn new(world: &World) -> Self {
        let mut names = NameTables::default();
        for (number, labels) in world.identities().iter() {
            names.labels.insert_permanent(number, texts(labels));
        }
        let local_host = RuleName { kind: "Node".into(), name: "local-host".into(), ..RuleName::default() };
        names.rules.insert_permanent(RuleId::LOCAL_HOST.0, NamedRule { name: local_host, log: None });
        Self(Arc::new(RwLock::new(names)))
    }

    /// Updates the names of these objects, and removes names that have been unused for [`RETENTION`].
    pub(crate) fn update(&self, world: &World, renamed: &Renamed, now: Instant) {
        let mut names = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for id in &renamed.workloads {
            names.update_workload(world, *id, now);
        }
        for policy in &renamed.policies {
            names.update_rules(world, policy, now);
        }
        for service in &renamed.services {
            names.update_service(world, service, now);
        }
        names.remove_unused(now);
    }

    fn read<R>(&self, read: impl FnOnce(&NameTables) -> R) -> R {
        read(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl NameTables {
    fn update_workload(&mut self, world: &World, id: u32, now: Instant) {
        let workload = world.workload(id);
        let addresses = workload.into_iter().flat_map(|workload| {
            let name = FlowWorkload { namespace: workload.namespace.clone(), name: workload.name.clone() };
            workload.addresses.iter().map(move |address| (*address, name.clone()))
        });
        self.workloads.replace(id, addresses.collect(), now);
        let identity = workload.and_then(|_| world.identity(id));
        let labels = identity.and_then(|number| Some((number, texts(world.identities().labels(number)?))));
        self.labels.replace(id, labels.into_iter().collect(), now);
    }

    fn update_rules(&mut self, world: &World, policy: &PolicyId, now: Instant) {
        let submitted = world.registry().policies.policy(policy);
        let rules = world.registry().book.rules_of(policy).map(|(id, place)| {
            let name = RuleName {
                kind: policy.kind.name().into(),
                namespace: policy.namespace.clone(),
                name: policy.name.clone(),
                place: place.to_string(),
            };
            let log = submitted.and_then(|submitted| log(submitted, place)).map(str::to_owned);
            (id.0, NamedRule { name, log })
        });
        self.rules.replace(policy.clone(), rules.collect(), now);
    }

    fn update_service(&mut self, world: &World, id: &(String, String), now: Instant) {
        let frontends = world.service(&id.0, &id.1).map(frontends).unwrap_or_default();
        let name = FlowService { namespace: id.0.clone(), name: id.1.clone() };
        let named = frontends.into_iter().map(|frontend| (frontend, name.clone()));
        self.services.replace(id.clone(), named.collect(), now);
    }

    fn remove_unused(&mut self, now: Instant) {
        self.workloads.remove_unused(now);
        self.labels.remove_unused(now);
        self.rules.remove_unused(now);
        self.services.remove_unused(now);
    }
}

impl<Object, Key, Name> Default for NameTable<Object, Key, Name> {
    fn default() -> Self {
        Self { names: HashMap::new(), keys: HashMap::new(), unused: VecDeque::new() }
    }
}

impl<Object: Eq + Hash, Key: Copy + Eq + Hash, Name> NameTable<Object, Key, Name> {
    fn name(&self, key: &Key) -> Option<&Name> {
        self.names.get(key).map(|entry| &entry.name)
    }

    /// Adds a name that is never removed.
    fn insert_permanent(&mut self, key: Key, name: Name) {
        self.names.insert(key, Entry { name, holders: 1 });
    }

    /// Replaces the keys of an object; without keys the object is removed.
    fn replace(&mut self, object: Object, named: Vec<(Key, Name)>, now: Instant) {
        let keys: Vec<Key> = named.iter().map(|(key, _)| *key).collect();
        for (key, name) in named {
            match self.names.get_mut(&key) {
                Some(entry) => (entry.name, entry.holders) = (name, entry.holders + 1),
                None => drop(self.names.insert(key, Entry { name, holders: 1 })),
            }
        }
        let before = if keys.is_empty() { self.keys.remove(&object) } else { self.keys.insert(object, keys) };
        for key in before.unwrap_or_default() {
            let Some(entry) = self.names.get_mut(&key) else { continue };
            entry.holders -= 1;
            if entry.holders == 0 {
                self.unused.push_back((now, key));
            }
        }
    }

    fn remove_unused(&mut self, now: Instant) {
        while let Some((since, key)) = self.unused.front().copied()
            && now.saturating_duration_since(since) >= RETENTION
        {
            self.unused.pop_front();
            // The key may have a new object since.
            if self.names.get(&key).is_some_and(|entry| entry.holders == 0) {
                self.names.remove(&key);
            }
        }
    }
}

/// The objects that changes remove. The world reports only objects that it still has.
pub(crate) fn removed(changes: &[Change]) -> Renamed {
    let mut removed = Renamed::default();
    for change in changes {
        match change {
            Change::RemoveEndpoint(id) => drop(removed.workloads.insert(*id)),
            Change::RemovePolicy(id) => drop(removed.policies.insert(id.clone())),
            Change::RemoveService { namespace, name } => {
                removed.services.insert((namespace.clone(), name.clone()));
            }
            _ => {}
        }
    }
    removed
}

fn frontends(service: &Service) -> Vec<FrontendAddress> {
    let ports =
        |address: IpAddr| service.ports.iter().map(move |port| (address, port.port, port.protocol.number()));
    service.addresses.iter().flat_map(|address| ports(*address)).collect()
}

/// The `log.value` of the spec of a policy that contains the rule at this place.
fn log<'a>(policy: &'a Policy, place: &str) -> Option<&'a str> {
    let mut specs = policy.specs.iter().filter(|spec| spec.log.is_some());
    let contains = |spec: &&Spec| spec.rules.iter().any(|rule| *rule.place == *place);
    specs.find(contains)?.log.as_deref()
}

/// The labels as text, each `source:key=value`.
pub(crate) fn texts(labels: &identity::Labels) -> Vec<String> {
    let labels = labels.iter().map(|(key, value)| identity::Label { key: key.clone(), value: value.into() });
    labels.map(|label| label.to_string()).collect()
}

impl flow::Names for SharedNames {
    fn workload(&self, address: IpAddr) -> Option<FlowWorkload> {
        self.read(|names| names.workloads.name(&address).cloned())
    }

    fn labels(&self, identity: u32) -> Vec<String> {
        self.read(|names| names.labels.name(&identity).cloned().unwrap_or_default())
    }

    fn rule(&self, number: u32) -> Option<RuleName> {
        self.read(|names| names.rules.name(&number).map(|rule| rule.name.clone()))
    }

    fn log(&self, rule: u32) -> Option<String> {
        self.read(|names| names.rules.name(&rule)?.log.clone())
    }

    fn service(&self, address: IpAddr, port: u16, protocol: u8) -> Option<FlowService> {
        self.read(|names| names.services.name(&(address, port, protocol)).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use control::{RemoteWorkload, Workload};
    use flow::Names as _;

    #[test]
    fn a_workload_of_another_node_has_its_name_and_its_labels() {
        let address = "10.0.9.1".parse().unwrap();
        let workload = Workload {
            namespace: "shop".into(),
            name: "web".into(),
            labels: Arc::new([("app".to_owned(), "web".to_owned())].into()),
            addresses: vec![address],
            ..Workload::default()
        };
        let change = Change::RemoteWorkload(Box::new(RemoteWorkload { node: "other".into(), workload }));
        let removal = Change::RemoveRemoteWorkload { namespace: "shop".into(), name: "web".into() };
        let (mut world, start) = (World::new(), Instant::now());
        let names = SharedNames::new(&world);
        let writes = world.apply([change]);
        names.update(&world, &writes.renamed, start);
        assert_eq!(
            names.workload(address),
            Some(FlowWorkload { namespace: "shop".into(), name: "web".into() })
        );
        let identity = world.workload_at(address).and_then(|id| world.identity(id)).unwrap();
        assert!(names.labels(identity).contains(&"k8s:app=web".to_owned()), "{:?}", names.labels(identity));
        let writes = world.apply([removal]);
        names.update(&world, &writes.renamed, start);
        names.update(&world, &Renamed::default(), start + RETENTION);
        assert_eq!((names.workload(address), names.labels(identity).len()), (None, 0));
    }

    #[test]
    fn the_name_of_a_removed_object_is_kept_for_a_while_and_then_removed() {
        let mut table = NameTable::<u32, u32, &str>::default();
        let start = Instant::now();
        table.replace(1, vec![(10, "a"), (11, "a")], start);
        table.replace(2, vec![(11, "b")], start);
        table.replace(1, Vec::new(), start);
        table.remove_unused(start + RETENTION / 2);
        assert_eq!((table.name(&10), table.name(&11)), (Some(&"a"), Some(&"b")));
        table.remove_unused(start + RETENTION);
        assert_eq!((table.name(&10), table.name(&11)), (None, Some(&"b")));
        assert_eq!((table.names.len(), table.keys.len(), table.unused.len()), (1, 1, 0));
    }

    #[test]
    fn a_key_that_gets_a_new_object_is_not_removed() {
        let mut table = NameTable::<u32, u32, &str>::default();
        let start = Instant::now();
        table.replace(1, vec![(10, "a")], start);
        table.replace(1, Vec::new(), start);
        table.replace(2, vec![(10, "b")], start + RETENTION / 2);
        table.remove_unused(start + 2 * RETENTION);
        assert_eq!(table.name(&10), Some(&"b"));
        table.insert_permanent(1, "reserved");
        table.remove_unused(start + 4 * RETENTION);
        assert_eq!(table.name(&1), Some(&"reserved"));
    }

    #[test]
    fn replacing_an_objects_keys_with_the_same_keys_retires_none() {
        let mut table = NameTable::<u32, u32, &str>::default();
        let start = Instant::now();
        for name in ["a", "b"] {
            table.replace(1, vec![(10, name)], start);
        }
        assert_eq!((table.name(&10), table.unused.len()), (Some(&"b"), 0));
    }
}
