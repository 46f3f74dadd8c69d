//! The workloads of the node: their creation, their removal, and the events between.
//!
//! The agent's thread reserves numbers and addresses and changes map entries. Everything that waits for the kernel or the
//! disk is done by the threads of `background`, several workloads at a time.
//!
//! A creation: the record is saved, the workload is created with its programs attached, its map entries are written, the
//! record is saved again, the client gets its answer. Without map entries the programs drop every packet.
//!
//! A removal: the map entries are removed, the record is saved, the workload is removed, its addresses are free again.

mod admission;
mod attachments;
mod background;
mod creation;
mod interfaces;
mod lifecycle;
mod lost_sandboxes;
mod owners;
mod pending;
mod relabelling;
mod removal;
mod startup;
mod writer;

pub(crate) use admission::not_found;
pub(crate) use attachments::carry_out_attachment;
pub(crate) use creation::create;
pub(crate) use interfaces::check_interfaces;
pub(crate) use lifecycle::Lifecycle;
pub(crate) use lost_sandboxes::await_lost_sandboxes;
pub(crate) use relabelling::relabel;
pub(crate) use removal::remove;
pub(crate) use startup::{start, take_over};

use crate::reconciler::Reconciler;
use crate::source::ChangeSource;

/// Saves the state if something changed, on another thread. Called after each turn of the agent, when what it has changed
/// is published: a client that has its answer must find its workload.
pub(crate) fn save(reconciler: &mut Reconciler) {
    let lifecycle = &mut reconciler.lifecycle;
    if std::mem::take(&mut lifecycle.is_unsaved) || !lifecycle.steps.is_empty() {
        let steps = std::mem::take(&mut lifecycle.steps);
        let state = reconciler.record();
        reconciler.lifecycle.background.save(state, steps);
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
        if let Some(saved) = results.saved {
            reconciler.note_saved(saved);
        }
        creation::finish(reconciler, results.created);
        creation::give_up(reconciler, results.unsaved);
        let removed = removal::finish(reconciler, results.removed);
        attachments::unpark(reconciler, &removed);
        removal::begin(reconciler);
        creation::begin(reconciler);
    }

    /// Retries what failed.
    fn poll(&mut self, reconciler: &mut Reconciler) {
        startup::retry_orphans(reconciler);
        attachments::take_queued(reconciler);
        let Reconciler { lifecycle, state, problems, .. } = reconciler;
        let unwatched = std::mem::take(&mut lifecycle.unwatched);
        for workload in unwatched.iter().filter_map(|id| state.workloads.get(id)) {
            lifecycle.watch(workload, problems);
        }
        if !lifecycle.failed.is_empty() {
            for id in lifecycle.failed.keys() {
                lifecycle.leaving.entry(*id).or_default();
            }
            self.deliver(reconciler);
        }
    }
}
