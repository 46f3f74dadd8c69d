//! A cluster in memory: an API server whose events and answers are late or lost, agents, and one operator after another.

use identity::{Labels, filter};
use operator::{IdentityAllocation, IdentityWrite, ListedKind, NamespacedName};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

const GRACE: Duration = Duration::from_secs(60);
const NAMESPACES: [&str; 2] = ["x", "y"];

/// A generator of random numbers (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// What a watch reports.
#[derive(Clone)]
enum Event {
    Namespace(String, Option<BTreeMap<String, String>>),
    Pod(NamespacedName, Option<BTreeMap<String, String>>),
    Identity(u32, Option<Labels>),
    Endpoint(NamespacedName, Option<(u32, Labels)>),
}

pub(crate) struct Cluster {
    random: Random,
    now: u64,
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    pods: BTreeMap<NamespacedName, BTreeMap<String, String>>,
    endpoints: BTreeMap<NamespacedName, (u32, Labels)>,
    identities: BTreeMap<u32, Labels>,
    operator: IdentityAllocation,
    /// Events of each kind that the operator has not seen, in order.
    late: [VecDeque<Event>; 4],
    /// Writes on their way, and when they arrive.
    writes: Vec<(u64, IdentityWrite)>,
}

impl Cluster {
    pub(crate) fn new(seed: u64) -> Self {
        let mut cluster = Self {
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            now: 0,
            namespaces: NAMESPACES.iter().map(|name| ((*name).to_owned(), BTreeMap::new())).collect(),
            pods: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            identities: BTreeMap::new(),
            operator: IdentityAllocation::new("default", GRACE),
            late: Default::default(),
            writes: Vec::new(),
        };
        cluster.succeed();
        cluster
    }

    /// One second; `changes` says whether users and operators still do something.
    pub(crate) fn step(&mut self, changes: bool) {
        self.now += 1;
        if changes {
            self.change();
        }
        self.agents();
        for kind in 0..4 {
            // Late by up to some seconds; in order.
            while self.random.below(3) > 0 {
                let Some(event) = self.late[kind].pop_front() else { break };
                self.deliver(event);
            }
        }
        let writes = self.operator.settle(Duration::from_secs(self.now));
        for write in writes {
            // Some are lost.
            if self.random.below(8) > 0 {
                self.writes.push((self.now + self.random.below(4), write));
            }
        }
        let (due, later) = std::mem::take(&mut self.writes).into_iter().partition(|(at, _)| *at <= self.now);
        self.writes = later;
        let due: Vec<(u64, IdentityWrite)> = due;
        due.into_iter().for_each(|(_, write)| self.execute(write));
        self.check_numbers();
    }

    fn change(&mut self) {
        let name = |random: &mut Random| {
            (NAMESPACES[random.below(2) as usize].to_owned(), format!("pod-{}", random.below(6)))
        };
        match self.random.below(20) {
            0..=4 => {
                let pod = name(&mut self.random);
                let app = format!("app-{}", self.random.below(4));
                let own: BTreeMap<String, String> = [("app".to_owned(), app)].into();
                self.pods.insert(pod.clone(), own.clone());
                self.late[1].push_back(Event::Pod(pod, Some(own)));
            }
            5..=8 => {
                let pod = name(&mut self.random);
                self.pods.remove(&pod);
                self.late[1].push_back(Event::Pod(pod, None));
            }
            9 => {
                let namespace = name(&mut self.random).0;
                let team = format!("team-{}", self.random.below(2));
                let labels: BTreeMap<String, String> = [("team".to_owned(), team)].into();
                self.namespaces.insert(namespace.clone(), labels.clone());
                self.late[0].push_back(Event::Namespace(namespace, Some(labels)));
            }
            10 => {
                // An administrator deletes an identity.
                if let Some(number) = self.identities.keys().next().copied() {
                    self.remove_identity(number);
                }
            }
            11 => self.succeed(),
            _ => {}
        }
    }

    /// Another operator takes the lease, with what its lists show.
    fn succeed(&mut self) {
        let next = self.operator.next();
        self.operator = IdentityAllocation::new("default", GRACE);
        self.operator.continue_at(next);
        self.late = Default::default();
        for (number, labels) in &self.identities {
            self.operator.identity(*number, Some(labels.clone()));
        }
        for (pod, own) in &self.pods {
            self.operator.pod(pod.clone(), Some(own.clone()));
        }
        for (name, labels) in &self.namespaces {
            self.operator.namespace(name, Some(labels));
        }
        for (endpoint, identity) in &self.endpoints {
            self.operator.endpoint(endpoint.clone(), Some(identity.clone()));
        }
        for kind in [ListedKind::Namespaces, ListedKind::Pods, ListedKind::Identities, ListedKind::Endpoints]
        {
            self.operator.listed(kind);
        }
    }

    /// Agents report an endpoint for each pod whose labels have an identity, and remove the others some time later.
    fn agents(&mut self) {
        for (pod, own) in self.pods.clone() {
            let labels = self.labels_of(&pod.0, &own);
            let known = self.endpoints.get(&pod).filter(|(number, of)| {
                *of == labels && self.identities.get(number).is_some_and(|object| *object == labels)
            });
            let number = self.identities.iter().find(|(_, of)| **of == labels).map(|(number, _)| *number);
            if let (None, Some(number)) = (known, number)
                && self.random.below(2) == 0
            {
                self.endpoints.insert(pod.clone(), (number, labels.clone()));
                self.late[3].push_back(Event::Endpoint(pod, Some((number, labels))));
            }
        }
        let gone: Vec<_> =
            self.endpoints.keys().filter(|pod| !self.pods.contains_key(*pod)).cloned().collect();
        for pod in gone {
            if self.random.below(4) == 0 {
                self.endpoints.remove(&pod);
                self.late[3].push_back(Event::Endpoint(pod, None));
            }
        }
    }

    fn labels_of(&self, namespace: &str, own: &BTreeMap<String, String>) -> Labels {
        fn texts(labels: &BTreeMap<String, String>) -> impl Iterator<Item = (&str, &str)> {
            labels.iter().map(|(key, value)| (&**key, &**value))
        }
        filter::relevant(Labels::of_workload(namespace, texts(&self.namespaces[namespace]), texts(own)))
    }

    fn deliver(&mut self, event: Event) {
        match event {
            Event::Namespace(name, labels) => self.operator.namespace(&name, labels.as_ref()),
            Event::Pod(pod, own) => self.operator.pod(pod, own),
            Event::Identity(number, labels) => self.operator.identity(number, labels),
            Event::Endpoint(endpoint, identity) => self.operator.endpoint(endpoint, identity),
        }
    }

    fn execute(&mut self, write: IdentityWrite) {
        match write {
            IdentityWrite::Create { number, .. } if self.identities.contains_key(&number) => {
                self.operator.taken(number);
            }
            IdentityWrite::Create { number, labels } => {
                self.identities.insert(number, (*labels).clone());
                self.late[2].push_back(Event::Identity(number, Some((*labels).clone())));
            }
            IdentityWrite::Delete { number } => self.remove_identity(number),
        }
    }

    fn remove_identity(&mut self, number: u32) {
        if self.identities.remove(&number).is_some() {
            self.late[2].push_back(Event::Identity(number, None));
        }
    }

    /// No number stands for other labels than an endpoint reports for it.
    fn check_numbers(&self) {
        let mut meanings: BTreeMap<u32, BTreeSet<&Labels>> = BTreeMap::new();
        for (number, labels) in
            self.identities.iter().chain(self.endpoints.values().map(|(one, of)| (one, of)))
        {
            meanings.entry(*number).or_default().insert(labels);
        }
        let double = meanings.iter().find(|(_, labels)| labels.len() > 1);
        assert!(double.is_none(), "at {}: {double:?}", self.now);
    }

    /// Every pod's labels have an identity, its endpoint has one of them, and there is no other.
    pub(crate) fn check_settled(&self) {
        let wanted: BTreeSet<Labels> =
            self.pods.iter().map(|(pod, own)| self.labels_of(&pod.0, own)).collect();
        let given: BTreeSet<Labels> = self.identities.values().cloned().collect();
        assert_eq!(wanted, given);
        for (pod, (number, labels)) in &self.endpoints {
            assert_eq!(self.identities.get(number), Some(labels), "{pod:?}");
        }
        let used: BTreeSet<u32> = self.endpoints.values().map(|(number, _)| *number).collect();
        // Of two objects with the same labels the first one stays for further pods.
        let is_first = |number: &u32, labels: &Labels| self.operator.number(labels) == Some(*number);
        let unused =
            self.identities.iter().filter(|(number, of)| !used.contains(number) && !is_first(number, of));
        assert_eq!(unused.count(), 0);
        assert_eq!(self.operator.missing(), 0);
    }
}
