//! Allocates an identity for each set of security-relevant labels that pods have, and collects unused ones.
//!
//! The name of a CiliumIdentity is its number, so the API server itself refuses a second object with a number. A number
//! that was deleted comes back only after the whole range was used. An identity is deleted when for the whole grace time
//! no pod had its labels and no endpoint had its number.

use crate::NamespacedName;
use crate::open_writes::OpenWrites;
use abi::identity::{FIRST_ALLOCATED, LAST_ALLOCATED};
use foldhash::HashMap;
use identity::{Labels, Sequence, Source, filter, key};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// A write of an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityWrite {
    /// Create the object of this number; must fail if there is one.
    Create {
        /// Its number.
        number: u32,
        /// Its labels.
        labels: Arc<Labels>,
    },
    /// Delete the object of this number.
    Delete {
        /// Its number.
        number: u32,
    },
}

/// The kinds that must be listed completely before anything is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListedKind {
    /// Namespaces, whose labels belong to the identities of their pods.
    Namespaces,
    /// Pods of all nodes.
    Pods,
    /// CiliumIdentities.
    Identities,
    /// CiliumEndpoints, or CiliumEndpointSlices.
    Endpoints,
}

const KINDS: usize = 4;

/// The identities of a cluster, and what uses them.
#[derive(Clone, Debug)]
pub struct IdentityAllocation {
    cluster: Arc<str>,
    grace: Duration,
    listed: BTreeSet<ListedKind>,
    namespaces: BTreeMap<String, Labels>,
    pods: BTreeMap<NamespacedName, Pod>,
    /// How many pods have each set of labels.
    wanted: HashMap<Arc<Labels>, usize>,
    /// What each endpoint reports.
    endpoints: BTreeMap<NamespacedName, (u32, Arc<Labels>)>,
    /// The endpoints of each number.
    held: BTreeMap<u32, BTreeSet<NamespacedName>>,
    objects: BTreeMap<u32, Arc<Labels>>,
    /// The objects of each set of labels; more than one if another writer created some.
    numbers: HashMap<Arc<Labels>, BTreeSet<u32>>,
    sequence: Sequence,
    open: OpenWrites<u32, IdentityWrite>,
    /// Sets of labels that may need an identity.
    unsettled: BTreeSet<Arc<Labels>>,
    /// Objects that nothing uses, and since when.
    idle: BTreeMap<u32, Duration>,
    /// Objects whose use may have changed.
    touched: BTreeSet<u32>,
}

#[derive(Clone, Debug)]
struct Pod {
    own: BTreeMap<String, String>,
    /// Its security-relevant labels; none while its namespace is unknown.
    labels: Option<Arc<Labels>>,
}

impl IdentityAllocation {
    /// No object is known yet. `cluster` is the name of the cluster, which is a label of all pods.
    pub fn new(cluster: &str, grace: Duration) -> Self {
        Self {
            cluster: cluster.into(),
            grace,
            listed: BTreeSet::new(),
            namespaces: BTreeMap::new(),
            pods: BTreeMap::new(),
            wanted: HashMap::default(),
            endpoints: BTreeMap::new(),
            held: BTreeMap::new(),
            objects: BTreeMap::new(),
            numbers: HashMap::default(),
            sequence: Sequence::new(FIRST_ALLOCATED..=LAST_ALLOCATED),
            open: OpenWrites::default(),
            unsettled: BTreeSet::new(),
            idle: BTreeMap::new(),
            touched: BTreeSet::new(),
        }
    }

    /// The number that is tried first for new labels: to be kept for the next leader.
    pub fn next(&self) -> u32 {
        self.sequence.next()
    }

    /// Tries this number first, which [`Self::next`] returned to an earlier leader.
    pub fn continue_at(&mut self, next: u32) {
        self.sequence.continue_at(next);
    }

    /// The first list of the kind is complete.
    pub fn listed(&mut self, kind: ListedKind) {
        self.listed.insert(kind);
    }

    /// A namespace has these labels, or is gone.
    pub fn namespace(&mut self, name: &str, labels: Option<&BTreeMap<String, String>>) {
        let labels = labels.map(|labels| {
            let labels = labels.iter().map(|(key, value)| (&**key, &**value));
            let mut labels = Labels::of_namespace(name, labels);
            labels.insert(Source::K8s, key::CLUSTER, &*self.cluster);
            labels
        });
        if self.namespaces.get(name) == labels.as_ref() {
            return;
        }
        match labels {
            Some(labels) => drop(self.namespaces.insert(name.to_owned(), labels)),
            None => drop(self.namespaces.remove(name)),
        }
        let first = (name.to_owned(), String::new());
        let of_namespace = self.pods.range(first..).take_while(|((namespace, _), _)| namespace == name);
        let pods: Vec<NamespacedName> = of_namespace.map(|(pod, _)| pod.clone()).collect();
        for pod in pods {
            let own = self.pods.get(&pod).map(|pod| pod.own.clone());
            self.set_pod(pod, own);
        }
    }

    /// A pod that needs an identity has these labels of its own, or there is none of this name: it is gone, has ended, or
    /// uses the network of its node.
    pub fn pod(&mut self, pod: NamespacedName, own: Option<BTreeMap<String, String>>) {
        if self.pods.get(&pod).map(|pod| &pod.own) != own.as_ref() {
            self.set_pod(pod, own);
        }
    }

    fn set_pod(&mut self, pod: NamespacedName, own: Option<BTreeMap<String, String>>) {
        let new = own.map(|own| {
            let labels = self.namespaces.get(&pod.0).map(|namespace| {
                let own = own.iter().map(|(key, value)| (&**key, &**value));
                Arc::new(filter::relevant(namespace.with_own(own)))
            });
            Pod { own, labels }
        });
        if let Some(labels) = new.as_ref().and_then(|pod| pod.labels.clone()) {
            *self.wanted.entry(labels.clone()).or_default() += 1;
            self.touch_labels(&labels);
            self.unsettled.insert(labels);
        }
        let old = match new {
            Some(new) => self.pods.insert(pod, new),
            None => self.pods.remove(&pod),
        };
        let Some(labels) = old.and_then(|pod| pod.labels) else { return };
        if let Some(count) = self.wanted.get_mut(&labels) {
            *count -= 1;
            if *count == 0 {
                self.wanted.remove(&labels);
            }
        }
        self.touch_labels(&labels);
    }

    /// The CiliumIdentity of this number has these labels, or is gone.
    pub fn identity(&mut self, number: u32, labels: Option<Labels>) {
        let labels = labels.map(Arc::new);
        let is_done = match (self.open.find(&number), &labels) {
            (Some(IdentityWrite::Create { .. }), Some(_)) | (Some(IdentityWrite::Delete { .. }), None) => {
                true
            }
            // The object as it was before the deletion, or from before the creation.
            _ => false,
        };
        if is_done && let Some(IdentityWrite::Create { labels, .. }) = self.open.remove(&number) {
            self.unsettled.insert(labels);
        }
        let old = match &labels {
            Some(labels) => self.objects.insert(number, labels.clone()),
            None => self.objects.remove(&number),
        };
        if let Some(old) = old {
            let numbers = self.numbers.entry(old.clone()).or_default();
            numbers.remove(&number);
            if numbers.is_empty() {
                self.numbers.remove(&old);
            }
            self.touch_labels(&old);
            self.unsettled.insert(old);
        }
        if let Some(labels) = labels {
            self.sequence.continue_above(number);
            self.numbers.entry(labels.clone()).or_default().insert(number);
            self.touch_labels(&labels);
        }
        self.touched.insert(number);
    }

    /// An endpoint reports this identity, or is gone.
    pub fn endpoint(&mut self, endpoint: NamespacedName, identity: Option<(u32, Labels)>) {
        if let Some((number, labels)) = self.endpoints.remove(&endpoint) {
            if let Some(holders) = self.held.get_mut(&number) {
                holders.remove(&endpoint);
                if holders.is_empty() {
                    self.held.remove(&number);
                }
            }
            self.touched.insert(number);
            self.unsettled.insert(labels);
        }
        let Some((number, labels)) = identity else { return };
        self.held.entry(number).or_default().insert(endpoint.clone());
        self.touched.insert(number);
        self.endpoints.insert(endpoint, (number, Arc::new(labels)));
    }

    /// The API server refused to create an object: it has one of this number, which the watch will show.
    pub fn taken(&mut self, number: u32) {
        self.sequence.continue_above(number);
    }

    /// The writes that follow from what is known now.
    pub fn settle(&mut self, now: Duration) -> Vec<IdentityWrite> {
        if self.listed.len() < KINDS {
            return Vec::new();
        }
        self.reopen(now);
        let mut writes = Vec::new();
        for labels in std::mem::take(&mut self.unsettled) {
            writes.extend(self.creation(labels, now));
        }
        self.mark_idle(now);
        writes.extend(self.deletions(now));
        writes
    }

    /// Gives up the writes whose effect was not seen. What they were for is settled anew.
    fn reopen(&mut self, now: Duration) {
        for (number, write) in self.open.take_overdue(now) {
            match write {
                IdentityWrite::Create { labels, .. } => drop(self.unsettled.insert(labels)),
                IdentityWrite::Delete { .. } => drop(self.touched.insert(number)),
            }
        }
    }

    fn creation(&mut self, labels: Arc<Labels>, now: Duration) -> Option<IdentityWrite> {
        let is_requested = || {
            self.open
                .iter()
                .any(|(_, write)| matches!(write, IdentityWrite::Create { labels: of, .. } if *of == labels))
        };
        if !self.wanted.contains_key(&labels) || self.numbers.contains_key(&labels) || is_requested() {
            return None;
        }
        let reported = self.reported(&labels);
        let taken = |number: u32| {
            self.objects.contains_key(&number)
                || self.held.contains_key(&number)
                || self.open.find(&number).is_some()
        };
        let Some(number) = reported.or_else(|| self.sequence.take(taken)) else {
            // Every number is taken. The labels are settled when one is free again.
            self.unsettled.insert(labels);
            return None;
        };
        let write = IdentityWrite::Create { number, labels };
        self.open.insert(number, write.clone(), now);
        Some(write)
    }

    /// The number that endpoints with these labels report although it has no object: the object was deleted by hand.
    fn reported(&self, labels: &Arc<Labels>) -> Option<u32> {
        let is_free = |number: &u32| {
            self.sequence.contains(*number)
                && !self.objects.contains_key(number)
                && self.open.find(number).is_none()
        };
        let mut reports = self.held.iter().filter(|(number, _)| is_free(number));
        let all_have = |holders: &BTreeSet<NamespacedName>| {
            holders.iter().all(|endpoint| self.endpoints.get(endpoint).is_some_and(|(_, of)| of == labels))
        };
        reports.find(|(_, holders)| all_have(holders)).map(|(number, _)| *number)
    }

    /// Notes since when each touched object is unused.
    fn mark_idle(&mut self, now: Duration) {
        for number in std::mem::take(&mut self.touched) {
            match self.is_used(number) {
                Some(false) => drop(self.idle.entry(number).or_insert(now)),
                Some(true) | None => drop(self.idle.remove(&number)),
            }
        }
    }

    /// Whether something uses the object of this number, if there is one. Of several objects with the same labels pods
    /// use the first.
    fn is_used(&self, number: u32) -> Option<bool> {
        let labels = self.objects.get(&number)?;
        let is_first = self.numbers.get(labels).and_then(BTreeSet::first) == Some(&number);
        Some(self.held.contains_key(&number) || (is_first && self.wanted.contains_key(labels)))
    }

    fn deletions(&mut self, now: Duration) -> Vec<IdentityWrite> {
        let is_due = |since: Duration| now.saturating_sub(since) >= self.grace;
        let due =
            self.idle.iter().filter(|(number, since)| is_due(**since) && self.open.find(number).is_none());
        let due: Vec<u32> = due.map(|(number, _)| *number).collect();
        due.into_iter()
            .map(|number| {
                let write = IdentityWrite::Delete { number };
                self.open.insert(number, write.clone(), now);
                write
            })
            .collect()
    }

    fn touch_labels(&mut self, labels: &Arc<Labels>) {
        self.touched.extend(self.numbers.get(labels).into_iter().flatten());
    }

    /// Whether an object has these labels, and which number it has.
    pub fn number(&self, labels: &Labels) -> Option<u32> {
        self.numbers.get(labels).and_then(BTreeSet::first).copied()
    }

    /// How many identities there are, and how many of them nothing uses.
    pub fn count(&self) -> (usize, usize) {
        (self.objects.len(), self.idle.len())
    }

    /// The sets of labels of pods that have no identity yet.
    pub fn missing(&self) -> usize {
        let known: HashSet<&Arc<Labels>> = self.numbers.keys().collect();
        self.wanted.keys().filter(|labels| !known.contains(labels)).count()
    }
}
