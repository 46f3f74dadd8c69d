//! The objects of the API server as a source of changes, beside policy files.
//!
//! An object is like a file with one manifest: it is parsed, accepted and refused by the same code. What was last known is stored, and
//! is in force from the start while the API server is away. Pods and peers wait until every kind that decides about them was
//! listed once.

mod conditions;
mod endpoints;
mod identities;
mod inbox;
mod kinds;
mod names;
mod node_objects;
mod peer_slices;
mod peers;
mod pod_events;
mod pods;
mod recovery;
mod remote_pods;
mod stored;

pub(crate) use names::is_cluster_source;
pub(crate) use recovery::recover;
pub(crate) use stored::StoredCluster;

use crate::notifier::Notifier;
use crate::objects::{FileState, FileStates, ObjectId};
use crate::problems::{Problem, message};
use crate::reconciler::{Persistence, Reconciler};
use crate::source::ChangeSource;
use crate::workloads;
use conditions::{PolicyConditions, without_positions};
use endpoints::EndpointReports;
use identities::{AwaitedIdentities, assigned_number, identity_change};
use inbox::Inbox;
use kinds::ObjectRole;
pub use kinds::cluster_kinds;
use kubernetes::{
    ClusterEvent, ClusterWatches, Connection, ObservedObject, Report, ResourceName, ServerLoad,
};
use manifest::Object;
use names::source_of;
use node_objects::NodeObjects;
use peer_slices::PeerSlices;
use pod_events::{EventReason, EventSubject, PodEvents};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

/// How soon changes that failed are applied again.
const RETRY: Duration = Duration::from_secs(2);
/// How long stored objects may lag behind what is in force: changes in quick succession are one write.
const LAG: Duration = Duration::from_millis(500);

/// The failures, as status and log name them.
const API_SERVER: Problem = Problem::new(
    "the API server's objects are not up to date",
    "what was last known stays in force; the agent tries again until that succeeds",
);
const APPLY: Problem = Problem::new(
    "objects of the API server could not be applied",
    "what was in force stays; the agent tries again until that succeeds",
);
const UNREADABLE: Problem =
    Problem::new("objects of the API server cannot be read", "what was last known of them stays in force");
const COPIES: Problem = Problem::new(
    "the stored objects of the API server, which a start without it needs, are out of date",
    "free space on the disk or make it writable; the agent writes again until that succeeds",
);

/// The message of the event that a pod's identity did not come in time.
const IDENTITY_PENDING: &str = "the operator has not allocated an identity for the pod's labels yet; the pod has a number of its \
                                node until then, and policies apply to it";

/// The kind, by its index, and the name of an object.
type Key = (usize, ResourceName);

/// The objects of the API server.
#[derive(Debug)]
pub(crate) struct ClusterObjects {
    stored: StoredCluster,
    inbox: Inbox,
    /// Ends the watches when it is dropped.
    watches: ClusterWatches,
    endpoints: EndpointReports,
    slices: PeerSlices,
    conditions: PolicyConditions,
    nodes: NodeObjects,
    events: PodEvents,
    /// The pods that wait for their identities.
    awaited: AwaitedIdentities,
    /// When a condition is this node's turn.
    turn: Option<Instant>,
    is_first: bool,
    /// The last texts that are not in force yet; none for an object that is gone.
    pending: BTreeMap<Key, Option<String>>,
    /// Why the last texts of pods and peers cannot be read.
    unreadable: BTreeMap<Key, String>,
    /// The kinds that were listed once.
    complete: BTreeSet<usize>,
    /// Why kinds are not up to date, and why there is no client.
    troubles: BTreeMap<usize, String>,
    disconnected: Option<String>,
    retry: Option<Instant>,
    save: Option<Instant>,
}

impl ClusterObjects {
    /// Watches the API server. The agent knows the stored objects already.
    pub(crate) fn watch(
        (kubeconfig, node): (Option<std::path::PathBuf>, String),
        mut stored: StoredCluster,
        notifier: Notifier,
    ) -> io::Result<Self> {
        let inbox = Inbox::default();
        let events = inbox.clone();
        let deliver = move |event| {
            events.put(event);
            notifier.notify();
        };
        let nodes = NodeObjects::new(&node, stored.of_kind("Node"), stored.of_kind("CiliumNode"));
        let slices = stored.peer_slices();
        // What a recovery read is not on disk yet.
        let save = stored.is_unsaved().then(Instant::now);
        let watches = ClusterWatches::start(Connection { kubeconfig }, stored.requests(), deliver)?;
        Ok(Self {
            stored,
            inbox,
            watches,
            endpoints: EndpointReports::default(),
            slices,
            conditions: PolicyConditions::default(),
            nodes,
            events: PodEvents::new(&node),
            awaited: AwaitedIdentities::default(),
            turn: None,
            is_first: true,
            pending: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            complete: BTreeSet::new(),
            troubles: BTreeMap::new(),
            disconnected: None,
            retry: None,
            save,
        })
    }

    /// Takes what the watches reported.
    fn take_events(&mut self, reconciler: &Reconciler) {
        for event in self.inbox.take() {
            match event {
                ClusterEvent::Report(kind, Report::Objects(objects)) => {
                    objects.into_iter().for_each(|object| self.take_object(kind, object));
                }
                ClusterEvent::Report(kind, Report::Complete) => {
                    self.complete.insert(kind);
                }
                ClusterEvent::Report(kind, Report::Trouble(Some(why))) => {
                    self.troubles.insert(kind, why);
                }
                ClusterEvent::Report(kind, Report::Trouble(None)) => {
                    self.troubles.remove(&kind);
                }
                ClusterEvent::Connection(why) => self.disconnected = why,
                ClusterEvent::Write(trouble) => tracing::warn!("{}: {}", trouble.path, trouble.why),
            }
        }
        reconciler.problems.note_all(API_SERVER, self.troubles());
    }

    /// Takes an object over that is to be applied. A Node object has the blocks of its CiliumNode.
    fn take_object(&mut self, kind: usize, ObservedObject { name, text }: ObservedObject) {
        let text = match self.stored.kind(kind) {
            "Node" => self.nodes.put_node(&name.name, text),
            "CiliumNode" => {
                let completed = self.nodes.put_cilium_node(&name.name, text.as_deref());
                let node = self.stored.index_of("Node").zip(completed);
                self.pending.extend(node.map(|(node, completed)| ((node, name.clone()), Some(completed))));
                text
            }
            _ => text,
        };
        self.pending.insert((kind, name), text);
    }

    /// The reasons, each once: what is wrong with the API server is wrong with most kinds. An answer of the server names the kind.
    fn troubles(&self) -> Vec<String> {
        let reasons: BTreeSet<&String> = self.troubles.values().chain(&self.disconnected).collect();
        reasons.into_iter().cloned().collect()
    }

    /// Whether every kind that decides about pods and peers was listed.
    fn is_decided(&self) -> bool {
        self.stored.of_role(ObjectRole::Manifest).all(|kind| self.complete.contains(&kind))
    }

    /// Takes the pending objects of a role.
    fn take_pending(&mut self, role: ObjectRole) -> BTreeMap<Key, Option<String>> {
        let kinds: BTreeSet<usize> = self.stored.of_role(role).collect();
        self.pending.extract_if(.., |(kind, _), _| kinds.contains(kind)).collect()
    }

    fn apply(&mut self, reconciler: &mut Reconciler) {
        let mut failures = Vec::new();
        for (key, text) in self.take_pending(ObjectRole::NodeBlocks) {
            self.keep(self.source(&key), text);
        }
        self.apply_manifests(reconciler, &mut failures);
        self.apply_identities(reconciler, &mut failures);
        if self.is_decided() {
            self.apply_peers(reconciler, &mut failures);
            self.apply_peer_slices(reconciler, &mut failures);
            self.apply_pods(reconciler, &mut failures);
            self.end_waits(reconciler);
        }
        reconciler.problems.note_all(UNREADABLE, self.unreadable.values().cloned().collect());
        self.retry = (!failures.is_empty()).then(|| Instant::now() + RETRY);
        reconciler.problems.note_all(APPLY, failures);
    }

    /// Applies manifests together; if that fails, one by one, so that one of them does not keep the others from being in force.
    fn apply_manifests(&mut self, reconciler: &mut Reconciler, failures: &mut Vec<String>) {
        let manifests = self.take_pending(ObjectRole::Manifest);
        if manifests.is_empty() {
            return;
        }
        let state = |(key, text): (&Key, &Option<String>)| {
            let source = self.source(key);
            let state = match text {
                Some(text) => FileState::parse(&source, text),
                None => FileState::Deleted,
            };
            (source, state)
        };
        let states: FileStates = manifests.iter().map(state).collect();
        let is_one = states.len() == 1;
        let mut validity: BTreeMap<String, Result<(), String>> =
            states.iter().map(|(source, state)| (source.clone(), validity(source, state))).collect();
        let mut applied = apply_states(reconciler, states.clone());
        let mut failed = BTreeMap::new();
        if let (false, Err(_)) = (is_one, &applied) {
            applied = Ok(());
            for (source, state) in states {
                if let Err(why) = apply_states(reconciler, [(source.clone(), state)].into()) {
                    failed.insert(source, why);
                }
            }
        }
        if let Err(why) = applied {
            failed.extend(manifests.keys().map(|key| (self.source(key), why.clone())));
        }
        for (key, text) in manifests {
            let source = self.source(&key);
            let validity = validity.remove(&source).unwrap_or(Ok(()));
            let of = (self.stored.kind(key.0), &key.1);
            self.conditions.observe(of, text.as_deref(), validity, SystemTime::now());
            match failed.get(&source) {
                Some(why) => {
                    failures.push(format!("{source}: {why}"));
                    self.pending.insert(key, text);
                }
                // The last valid text stays stored while a text is refused.
                None if text.is_none() || reconciler.objects.is_in_force(&source) => self.keep(source, text),
                None => {}
            }
        }
    }

    /// Takes the numbers over that the cluster assigns to labels: together, so that numbers that are exchanged do so at once.
    fn apply_identities(&mut self, reconciler: &mut Reconciler, failures: &mut Vec<String>) {
        let identities = self.take_pending(ObjectRole::Identity);
        if identities.is_empty() {
            return;
        }
        let (mut changes, mut assigned) = (Vec::with_capacity(identities.len()), BTreeSet::new());
        for (key, text) in &identities {
            self.unreadable.remove(key);
            match identity_change(&key.1, text.as_deref()) {
                Ok(change) => {
                    assigned.extend(assigned_number(&change));
                    changes.push(change);
                }
                Err(why) => {
                    let source = self.source(key);
                    self.unreadable.insert(key.clone(), format!("{source}: {why}"));
                }
            }
        }
        self.awaited.came();
        match reconciler.apply(changes) {
            Ok(()) => {
                reconciler.save_soon();
                self.slices.put_identities(&assigned);
                for (key, text) in identities {
                    self.keep(self.source(&key), text);
                }
            }
            Err(error) => {
                failures.push(format!("identities: {}", message(error)));
                self.pending.extend(identities);
            }
        }
    }

    /// Lets attachments go on whose identity came, or did not come in time.
    fn end_waits(&mut self, reconciler: &Reconciler) {
        let ended = self.awaited.settle(reconciler.world(), Instant::now());
        let late = ended.late.iter().map(|(name, _)| name);
        for name in ended.assigned.iter().chain(late) {
            reconciler.pods.end_wait(name.namespace.as_deref().unwrap_or_default(), &name.name);
        }
        if !reconciler.world().has_assigned_identities() {
            // No operator ever allocated an identity here: pods do not lack one.
            return;
        }
        for (name, uid) in ended.late {
            self.note_event(EventSubject { name, uid }, EventReason::IdentityPending, IDENTITY_PENDING);
        }
    }

    fn note_event(&mut self, subject: EventSubject, reason: EventReason, message: &str) {
        let write = self.events.note(subject, reason, message, (Instant::now(), SystemTime::now()));
        write.into_iter().for_each(|write| self.watches.write(write));
    }

    fn apply_pods(&mut self, reconciler: &mut Reconciler, failures: &mut Vec<String>) {
        for (key, text) in self.take_pending(ObjectRole::NodePod) {
            let source = self.source(&key);
            self.unreadable.remove(&key);
            let pod = text.as_deref().map(|text| pods::read_pod(&source, text)).transpose();
            match pod {
                Ok(Some(Some(pod))) => {
                    let relabelled = workloads::relabel(reconciler, &pod);
                    let until = self.awaited.put(&pod, reconciler.world(), Instant::now());
                    reconciler.pods.put_unassigned(pod, until);
                    if let Err(error) = relabelled {
                        failures.push(format!("{source}: {}", message(error)));
                        self.pending.insert(key, text);
                        continue;
                    }
                }
                Ok(_) => {
                    self.awaited.remove(&key.1);
                    self.events.forget(&key.1);
                    reconciler.pods.remove(key.1.namespace.as_deref().unwrap_or_default(), &key.1.name);
                }
                Err(why) => {
                    self.unreadable.insert(key, why);
                }
            }
            self.keep(source, text);
        }
    }

    /// Writes the conditions of policies that are this node's turn.
    fn report_conditions(&mut self, reconciler: &Reconciler) {
        self.turn = None;
        if self.conditions.are_done() {
            return;
        }
        let world = reconciler.world().snapshot();
        let nodes: Vec<String> = world.remote_nodes().map(|node| node.name.clone()).collect();
        let (writes, turn) = self.conditions.writes(&reconciler.config.name_of_node(), &nodes);
        self.turn = turn;
        writes.into_iter().for_each(|write| self.watches.write(write));
    }

    /// Stores the text of an object soon.
    fn keep(&mut self, source: String, text: Option<String>) {
        self.stored.keep(source, text);
        self.save.get_or_insert_with(|| Instant::now() + LAG);
    }

    fn source(&self, (kind, name): &Key) -> String {
        source_of(self.stored.kind(*kind), name)
    }
}

/// The addresses of this node: first those by which other nodes know it.
fn own_addresses(reconciler: &Reconciler) -> Vec<IpAddr> {
    let world = reconciler.world().snapshot();
    let name = ObjectId::Node(reconciler.config.name_of_node());
    let known = match reconciler.objects.object(&name) {
        Some(Object::Node(node)) => node.internal_addresses.clone(),
        _ => Vec::new(),
    };
    known.into_iter().chain(world.node().addresses.iter().copied()).collect()
}

/// Whether an object is valid, or why not.
fn validity(source: &str, state: &FileState) -> Result<(), String> {
    match state {
        FileState::Invalid(messages) => Err(without_positions(source, messages)),
        _ => Ok(()),
    }
}

/// Applies the states of objects together; all or none.
fn apply_states(reconciler: &mut Reconciler, states: FileStates) -> Result<(), String> {
    let before = reconciler.objects.problems();
    let update = reconciler.objects.update(states);
    reconciler.apply_objects(update, Persistence::Retried).map_err(message)?;
    let problems = reconciler.objects.problems();
    problems.iter().filter(|problem| !before.contains(problem)).for_each(|problem| {
        tracing::error!("{problem}");
    });
    Ok(())
}

impl ChangeSource for ClusterObjects {
    fn deliver(&mut self, reconciler: &mut Reconciler) {
        if std::mem::take(&mut self.is_first) {
            reconciler.pods.follow();
            self.stored.pods().for_each(|pod| reconciler.pods.put(pod));
            // What is stored is valid. What differs at the API server is listed before a condition is written.
            let now = SystemTime::now();
            for (kind, name, text) in self.stored.manifests() {
                self.conditions.observe((kind, &name), Some(text), Ok(()), now);
            }
        }
        self.take_events(reconciler);
        self.apply(reconciler);
        if self.save.is_some_and(|due| due <= Instant::now()) {
            let saved = self.stored.save();
            self.save = saved.is_err().then(|| Instant::now() + RETRY);
            reconciler.problems.note(COPIES, saved);
        }
    }

    /// Reports attachments that failed.
    fn poll(&mut self, reconciler: &mut Reconciler) {
        for (pod, why) in reconciler.pods.take_failures() {
            let Some(uid) = pod.uid else { continue };
            let name = ResourceName { namespace: Some(pod.namespace), name: pod.name };
            self.note_event(EventSubject { name, uid }, EventReason::FailedAttachment, &why);
        }
    }

    /// Other nodes learn the pods of this node from their CiliumEndpoints.
    fn report(&mut self, reconciler: &Reconciler) {
        if !self.is_decided() {
            return;
        }
        self.report_conditions(reconciler);
        if self.stored.index_of("CiliumNode").is_some_and(|kind| self.complete.contains(&kind)) {
            self.nodes.write().into_iter().for_each(|write| self.watches.write(write));
        }
        for write in self.endpoints.writes(reconciler, || own_addresses(reconciler)) {
            self.watches.write(write);
        }
    }

    fn server_load(&self) -> Option<ServerLoad> {
        Some(self.watches.load())
    }

    /// Pods wait until each kind that decides about them was listed once. A kind that cannot be listed is named with the reason.
    fn unready(&self) -> Vec<String> {
        let missing = self.stored.of_role(ObjectRole::Manifest).filter(|kind| !self.complete.contains(kind));
        let describe = |kind: usize| {
            let name = self.stored.kind(kind);
            match self.troubles.get(&kind).or(self.disconnected.as_ref()) {
                Some(why) => format!("the API server's {name} objects were not listed yet: {why}"),
                None => format!("the API server's {name} objects were not listed yet"),
            }
        };
        missing.map(describe).collect()
    }

    fn due(&self) -> Option<Instant> {
        [self.retry, self.save, self.turn, self.awaited.due()].into_iter().flatten().min()
    }
}
