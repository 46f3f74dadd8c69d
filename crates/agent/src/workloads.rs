//! The workloads of the node: their creation, their removal, and the events between.
//!
//! The agent's thread reserves numbers and addresses and changes map entries. Everything that waits for the kernel or the
//! disk is done by the threads of [`Background`], several workloads at a time.
//!
//! A creation: the record is saved, the workload is created with its programs attached, its map entries are written, the
//! record is saved again, the client gets its answer. Without map entries the programs drop every packet.
//!
//! A removal: the map entries are removed, the record is saved, the workload is removed, its addresses are free again.

mod admission;
mod background;
mod creation;
mod interfaces;
mod owners;
mod removal;
mod startup;
mod writer;

pub(crate) use admission::not_found;
pub(crate) use creation::create;
pub(crate) use interfaces::check_interfaces;
pub(crate) use removal::remove;
pub(crate) use startup::{start, take_over};

use crate::paths::Paths;
use crate::problems::Problems;
use crate::queue::{Answer, Reply};
use crate::reconciler::Reconciler;
use crate::source::{ChangeSource, Notifier};
use crate::state::{State, WorkloadRecord};
use crate::wiring::Wiring;
use background::{Background, Step};
use creation::Creation;
use loader::Attacher;
use owners::Owners;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The failures, as status and log name them.
const REMOVAL: &str = "a workload that ended cannot be removed";
const OWNERS: &str = "the end of a workload's owner would not be noticed";

/// A client that waits for the removal of a workload.
#[derive(Debug)]
struct Waiter {
    reply: Reply,
    /// The answer once the workload is removed. The client of a failed creation gets its failure in any case.
    answer: Answer,
}

/// The workloads that are being created or removed, by number.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    background: Arc<Background>,
    owners: Arc<Owners>,
    notifier: Notifier,
    /// Creations whose record is not saved yet.
    recording: Vec<Creation>,
    /// All creations, with the clients that want them removed.
    creating: BTreeMap<u32, Vec<Waiter>>,
    /// Workloads to remove.
    leaving: BTreeMap<u32, Vec<Waiter>>,
    /// Workloads whose map entries are removed.
    removing: BTreeMap<u32, Vec<Waiter>>,
    /// Removals that failed and are retried.
    failed: BTreeMap<u32, String>,
    /// Workloads whose owner cannot be watched at present.
    unwatched: BTreeSet<u32>,
    /// Workloads without their interface.
    bare: BTreeMap<u32, String>,
}

impl Lifecycle {
    /// Starts the threads; `notifier` is that of [`Workloads`].
    pub(crate) fn new(
        paths: &Paths,
        wiring: &Wiring,
        attacher: Attacher,
        notifier: Notifier,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            background: Background::start(paths, wiring, attacher, notifier.clone())?,
            owners: Owners::start(notifier.clone())?,
            notifier,
            recording: Vec::new(),
            creating: BTreeMap::new(),
            leaving: BTreeMap::new(),
            removing: BTreeMap::new(),
            failed: BTreeMap::new(),
            unwatched: BTreeSet::new(),
            bare: BTreeMap::new(),
        })
    }

    /// Saves the state and waits until it is on disk.
    pub(crate) fn save_now(&self, state: State) -> anyhow::Result<()> {
        self.background.save_now(state)
    }

    /// Watches the owner of a workload; retried while that fails.
    fn watch(&mut self, workload: &WorkloadRecord, problems: &Problems) {
        let Some(owner) = workload.owner else { return };
        let watched = self.owners.watch(workload.id, owner);
        if watched.is_ok() {
            self.unwatched.remove(&workload.id);
        } else {
            self.unwatched.insert(workload.id);
        }
        if watched.is_err() || self.unwatched.is_empty() {
            problems.note(OWNERS, watched);
        }
    }
}

/// The workloads as a source of changes: ends of owners, and what the threads have done.
#[derive(Debug)]
pub(crate) struct Workloads;

impl ChangeSource for Workloads {
    fn deliver(&mut self, reconciler: &mut Reconciler) {
        let lifecycle = &mut reconciler.lifecycle;
        let results = lifecycle.background.take_results();
        for workload in lifecycle.owners.take_ended() {
            lifecycle.leaving.entry(workload).or_default();
        }
        let mut steps: Vec<Step> = Vec::new();
        if let Some(saved) = results.saved {
            reconciler.note_saved(saved);
        }
        creation::finish(reconciler, results.created, &mut steps);
        creation::give_up(reconciler, results.unsaved);
        removal::finish(reconciler, results.removed, &mut steps);
        removal::begin(reconciler, &mut steps);
        creation::begin(reconciler, &mut steps);
        if !steps.is_empty() {
            let state = reconciler.record();
            reconciler.lifecycle.background.save(state, steps);
        }
    }

    /// Retries what failed.
    fn poll(&mut self, reconciler: &mut Reconciler) {
        startup::retry_orphans(reconciler);
        let Reconciler { lifecycle, state, problems, .. } = reconciler;
        let unwatched = std::mem::take(&mut lifecycle.unwatched);
        for workload in state.workloads.iter().filter(|workload| unwatched.contains(&workload.id)) {
            lifecycle.watch(workload, problems);
        }
        if !lifecycle.failed.is_empty() {
            lifecycle.leaving.extend(lifecycle.failed.keys().map(|&id| (id, Vec::new())));
            self.deliver(reconciler);
        }
    }
}
