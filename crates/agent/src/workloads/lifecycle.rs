//! The workloads that are being created or removed, and those that something is wrong with.

use super::background::{Background, Step};
use super::owners::Owners;
use super::pending::{Creation, Parked, Waiter};
use crate::notifier::Notifier;
use crate::problems::{Problem, Problems};
use crate::queue::Reply;
use crate::state::{State, WorkloadRecord};
use crate::state_log::StateLog;
use crate::wiring::Wiring;
use loader::Attacher;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// The failure, as status and log name it.
const OWNERS: Problem = Problem::new(
    "the end of a workload's owner would not be noticed",
    "the agent tries again twice a second until that succeeds",
);

/// The workloads that are being created or removed, by number.
pub(crate) struct Lifecycle {
    pub(super) background: Arc<Background>,
    pub(super) owners: Arc<Owners>,
    pub(super) notifier: Notifier,
    /// Whether the state must be saved after this turn.
    pub(super) is_unsaved: bool,
    /// What follows once the state is saved.
    pub(super) steps: Vec<Step>,
    /// Creations whose record is not saved yet.
    pub(super) recording: Vec<Creation>,
    /// All creations, with the clients that want them removed.
    pub(super) creating: BTreeMap<u32, Vec<Waiter>>,
    /// Further clients that wait for a creation.
    pub(super) joined: BTreeMap<u32, Vec<Reply>>,
    /// Attachments that wait until another workload is removed.
    pub(super) parked: Vec<Parked>,
    /// Workloads to remove.
    pub(super) leaving: BTreeMap<u32, Vec<Waiter>>,
    /// Workloads whose map entries are removed.
    pub(super) removing: BTreeMap<u32, Vec<Waiter>>,
    /// Removals that failed and are retried.
    pub(super) failed: BTreeMap<u32, String>,
    /// Workloads whose owner cannot be watched at present.
    pub(super) unwatched: BTreeSet<u32>,
    /// Workloads without their interface.
    pub(super) bare: BTreeMap<u32, String>,
}

impl fmt::Debug for Lifecycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lifecycle")
            .field("creating", &self.creating)
            .field("leaving", &self.leaving)
            .field("removing", &self.removing)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

impl Lifecycle {
    /// Starts the threads; `notifier` is that of [`Workloads`].
    pub(crate) fn new(
        log: StateLog,
        wiring: &Wiring,
        attacher: Attacher,
        (notifier, problems): (Notifier, &Problems),
    ) -> anyhow::Result<Self> {
        Ok(Self {
            background: Background::start(log, wiring, attacher, (notifier.clone(), problems))?,
            owners: Owners::start(notifier.clone(), problems)?,
            notifier,
            is_unsaved: false,
            steps: Vec::new(),
            recording: Vec::new(),
            creating: BTreeMap::new(),
            joined: BTreeMap::new(),
            parked: Vec::new(),
            leaving: BTreeMap::new(),
            removing: BTreeMap::new(),
            failed: BTreeMap::new(),
            unwatched: BTreeSet::new(),
            bare: BTreeMap::new(),
        })
    }

    /// Has the state saved after this turn.
    pub(crate) fn save_soon(&mut self) {
        self.is_unsaved = true;
    }

    /// Saves the state and waits until it is on disk.
    pub(crate) fn save_now(&self, state: State) -> anyhow::Result<()> {
        self.background.save_now(state)
    }

    /// Watches the owner of a workload; retried while that fails.
    pub(super) fn watch(&mut self, workload: &WorkloadRecord, problems: &Problems) {
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
