//! Names of addresses and numbers, now and in the past: events are decoded only when a client reads them.

use control::{Change, Renamed, World};
use flow::{FlowService, FlowWorkload, RuleName};
use policy::book::RuleId;
use policy::rule::{Policy, PolicyId, Spec};
use rustix::time::{ClockId, clock_gettime};
use service::Service;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

/// How long after the removal of an object its name answers for new events: its last packets, and those of connections
/// that it had.
const RETENTION: u64 = 30_000_000_000;

/// How many former names a table keeps for the events in the agent's ring buffer that are older than [`RETENTION`].
const FORMER_NAMES: usize = 4096;

/// Names that the agent's thread updates and the threads that decode events read.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedNames(Arc<RwLock<NameTables>>);

/// The names at a time.
#[derive(Debug)]
pub(crate) struct NamesAt<'a> {
    names: RwLockReadGuard<'a, NameTables>,
    time: u64,
}

/// The clock of events, in nanoseconds: the monotonic clock as programs of the packet path read it.
pub(crate) fn now() -> u64 {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Address, port and IP protocol of a service.
type FrontendAddress = (IpAddr, u16, u8);

#[derive(Debug, Default)]
struct NameTables {
    workloads: NameTable<u32, IpAddr, FlowWorkload>,
    labels: NameTable<u32, u32, Vec<String>>,
    rules: NameTable<PolicyId, u32, NamedRule>,
    services: NameTable<(String, String), FrontendAddress, FlowService>,
}

#[derive(Debug, PartialEq)]
struct NamedRule {
    name: RuleName,
    /// The `log.value` of the spec that contains the rule.
    log: Option<String>,
}

/// Names by key, each with the time from which on the key has it, and the keys that each object has.
#[derive(Debug)]
struct NameTable<Object, Key, Name> {
    names: HashMap<Key, Entry<Name>>,
    keys: HashMap<Object, Vec<Key>>,
    /// The keys of former names, with the time at which the key lost the name; oldest first.
    former: VecDeque<(u64, Key)>,
    /// How many former names are kept beyond [`RETENTION`].
    kept: usize,
    /// When the latest of the names ended that are not kept any more. What an older event names is not known.
    forgotten: u64,
}

#[derive(Debug)]
struct Entry<Name> {
    /// Oldest first; at least one.
    names: Vec<Tenure<Name>>,
    /// How many objects have the key.
    holders: usize,
}

/// A name of a key for a time.
#[derive(Debug)]
struct Tenure<Name> {
    name: Name,
    since: u64,
    until: Option<u64>,
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

    /// Updates the names of these objects, which changed at this time of the clock of events ([`now`]).
    pub(crate) fn update(&self, world: &World, renamed: &Renamed, now: u64) {
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
        names.forget(now);
    }

    /// The names that an event of this time carries.
    pub(crate) fn at(&self, time: u64) -> NamesAt<'_> {
        NamesAt { names: self.0.read().unwrap_or_else(PoisonError::into_inner), time }
    }
}

impl NameTables {
    fn update_workload(&mut self, world: &World, id: u32, now: u64) {
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

    fn update_rules(&mut self, world: &World, policy: &PolicyId, now: u64) {
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

    fn update_service(&mut self, world: &World, id: &(String, String), now: u64) {
        let frontends = world.service(&id.0, &id.1).map(frontends).unwrap_or_default();
        let name = FlowService { namespace: id.0.clone(), name: id.1.clone() };
        let named = frontends.into_iter().map(|frontend| (frontend, name.clone()));
        self.services.replace(id.clone(), named.collect(), now);
    }

    fn forget(&mut self, now: u64) {
        self.workloads.forget(now);
        self.labels.forget(now);
        self.rules.forget(now);
        self.services.forget(now);
    }
}

impl<Object, Key, Name> Default for NameTable<Object, Key, Name> {
    fn default() -> Self {
        let (names, keys, former) = (HashMap::new(), HashMap::new(), VecDeque::new());
        Self { names, keys, former, kept: FORMER_NAMES, forgotten: 0 }
    }
}

impl<Object: Eq + Hash, Key: Copy + Eq + Hash, Name: PartialEq> NameTable<Object, Key, Name> {
    /// The name that an event of this time carries.
    fn name(&self, key: &Key, time: u64) -> Option<&Name> {
        let tenures = &self.names.get(key)?.names;
        let tenure = tenures.iter().rfind(|tenure| tenure.since <= time)?;
        tenure.until.is_none_or(|until| time < until + RETENTION).then_some(&tenure.name)
    }

    /// Adds a name that is never removed.
    fn insert_permanent(&mut self, key: Key, name: Name) {
        let names = vec![Tenure { name, since: 0, until: None }];
        self.names.insert(key, Entry { names, holders: 1 });
    }

    /// Replaces the keys of an object; without keys the object is removed.
    fn replace(&mut self, object: Object, named: Vec<(Key, Name)>, now: u64) {
        let keys: Vec<Key> = named.iter().map(|(key, _)| *key).collect();
        for (key, name) in named {
            self.hold(key, name, now);
        }
        let before = if keys.is_empty() { self.keys.remove(&object) } else { self.keys.insert(object, keys) };
        for key in before.unwrap_or_default() {
            let Some(entry) = self.names.get_mut(&key) else { continue };
            entry.holders -= 1;
            if entry.holders == 0 {
                entry.end(now);
                self.former.push_back((now, key));
            }
        }
    }

    fn hold(&mut self, key: Key, name: Name, now: u64) {
        let Some(entry) = self.names.get_mut(&key) else {
            // Events that are older than this change are the new object's too: no other object is known to have had the key.
            let names = vec![Tenure { name, since: self.forgotten, until: None }];
            self.names.insert(key, Entry { names, holders: 1 });
            return;
        };
        entry.holders += 1;
        let latest = entry.names.last_mut().expect("an entry has a name");
        if latest.until.is_some() || latest.name != name {
            if entry.end(now) {
                self.former.push_back((now, key));
            }
            entry.names.push(Tenure { name, since: now, until: None });
        }
    }

    /// Removes former names that are not kept any more.
    fn forget(&mut self, now: u64) {
        while self.former.len() > self.kept
            && let Some((until, key)) = self.former.front().copied()
            && now.saturating_sub(until) >= RETENTION
        {
            self.former.pop_front();
            self.forgotten = until;
            let Some(entry) = self.names.get_mut(&key) else { continue };
            entry.names.retain(|tenure| tenure.until.is_none_or(|end| end > until));
            if entry.names.is_empty() {
                self.names.remove(&key);
            }
        }
    }
}

impl<Name> Entry<Name> {
    /// Ends the latest name; false where it had ended.
    fn end(&mut self, now: u64) -> bool {
        let latest = self.names.last_mut().expect("an entry has a name");
        let is_held = latest.until.is_none();
        latest.until.get_or_insert(now);
        is_held
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

impl flow::Names for NamesAt<'_> {
    fn workload(&self, address: IpAddr) -> Option<FlowWorkload> {
        self.names.workloads.name(&address, self.time).cloned()
    }

    fn labels(&self, identity: u32) -> Vec<String> {
        self.names.labels.name(&identity, self.time).cloned().unwrap_or_default()
    }

    fn rule(&self, number: u32) -> Option<RuleName> {
        self.names.rules.name(&number, self.time).map(|rule| rule.name.clone())
    }

    fn log(&self, rule: u32) -> Option<String> {
        self.names.rules.name(&rule, self.time)?.log.clone()
    }

    fn service(&self, address: IpAddr, port: u16, protocol: u8) -> Option<FlowService> {
        self.names.services.name(&(address, port, protocol), self.time).cloned()
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
        let (mut world, start) = (World::new(), 1000);
        let names = SharedNames::new(&world);
        let writes = world.apply([change]);
        names.update(&world, &writes.renamed, start);
        assert_eq!(
            names.at(start).workload(address),
            Some(FlowWorkload { namespace: "shop".into(), name: "web".into() })
        );
        let identity = world.workload_at(address).and_then(|id| world.identity(id)).unwrap();
        let labels = names.at(start).labels(identity);
        assert!(labels.contains(&"k8s:app=web".to_owned()), "{labels:?}");
        let writes = world.apply([removal]);
        names.update(&world, &writes.renamed, start);
        names.update(&world, &Renamed::default(), start + RETENTION);
        let after = names.at(start + RETENTION);
        assert_eq!((after.workload(address), after.labels(identity).len()), (None, 0));
    }

    /// A table that keeps no former names beyond the retention time.
    fn table() -> NameTable<u32, u32, &'static str> {
        NameTable { kept: 0, ..NameTable::default() }
    }

    #[test]
    fn the_name_of_a_removed_object_is_kept_for_a_while_and_then_removed() {
        let mut table = table();
        let start = 1000;
        table.replace(1, vec![(10, "a"), (11, "a")], start);
        table.replace(2, vec![(11, "b")], start);
        table.replace(1, Vec::new(), start);
        let soon = start + RETENTION / 2;
        table.forget(soon);
        assert_eq!((table.name(&10, soon), table.name(&11, soon)), (Some(&"a"), Some(&"b")));
        let late = start + RETENTION;
        table.forget(late);
        assert_eq!((table.name(&10, late), table.name(&11, late)), (None, Some(&"b")));
        assert_eq!((table.names.len(), table.keys.len(), table.former.len()), (1, 1, 0));
        assert_eq!(table.names[&11].names.len(), 1);
    }

    #[test]
    fn an_event_has_the_names_of_its_time() {
        let mut table = NameTable::<u32, u32, &str>::default();
        table.replace(1, vec![(10, "a")], 100);
        table.replace(1, Vec::new(), 200);
        table.replace(2, vec![(10, "b")], 300);
        table.replace(2, vec![(10, "c")], 400);
        table.replace(2, Vec::new(), 500);
        table.forget(500 + 10 * RETENTION);
        let expected =
            [(50, Some(&"a")), (250, Some(&"a")), (300, Some(&"b")), (399, Some(&"b")), (500, Some(&"c"))];
        for (time, name) in expected {
            assert_eq!(table.name(&10, time), name, "{time}");
        }
        assert_eq!(table.name(&10, 500 + RETENTION), None);
    }

    #[test]
    fn a_name_that_is_not_known_any_more_is_not_replaced_by_the_next_one() {
        let mut table = table();
        table.replace(1, vec![(10, "a")], 100);
        table.replace(1, Vec::new(), 200);
        let later = 200 + RETENTION;
        table.forget(later);
        table.replace(2, vec![(10, "b")], later);
        assert_eq!((table.name(&10, 199), table.name(&10, later)), (None, Some(&"b")));
    }

    #[test]
    fn a_key_that_gets_a_new_object_is_not_removed() {
        let mut table = table();
        let start = 1000;
        table.replace(1, vec![(10, "a")], start);
        table.replace(1, Vec::new(), start);
        table.replace(2, vec![(10, "b")], start + RETENTION / 2);
        table.forget(start + 2 * RETENTION);
        assert_eq!(table.name(&10, start + 2 * RETENTION), Some(&"b"));
        table.insert_permanent(1, "reserved");
        table.forget(start + 4 * RETENTION);
        assert_eq!(table.name(&1, start + 4 * RETENTION), Some(&"reserved"));
    }

    #[test]
    fn replacing_an_objects_keys_with_the_same_keys_retires_none() {
        let mut table = NameTable::<u32, u32, &str>::default();
        for _ in 0..2 {
            table.replace(1, vec![(10, "a")], 100);
        }
        assert_eq!((table.name(&10, 100), table.former.len()), (Some(&"a"), 0));
        table.replace(1, vec![(10, "b")], 200);
        assert_eq!((table.name(&10, 199), table.name(&10, 200)), (Some(&"a"), Some(&"b")));
    }
}
