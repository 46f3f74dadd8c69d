//! Finds the workloads that lost their interface.

use crate::problems::{Problem, message};
use crate::reconciler::Reconciler;
use crate::state::{WorkloadRecord, WorkloadStage};
use crate::wiring::Wiring;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The failures, as status and log name them.
const INTERFACES: &str = "a workload has no interface";
const UNKNOWN: Problem =
    Problem::new("the interfaces of workloads cannot be read", "the agent tries again at the next change");

/// Records workloads whose interface another program deleted, renamed or moved. Checks the interfaces with these names;
/// none stands for all.
pub(crate) fn check_interfaces(reconciler: &mut Reconciler, names: Option<&BTreeSet<String>>) {
    let Reconciler { lifecycle, state, wiring, problems, .. } = reconciler;
    let is_changed = |workload: &&Arc<WorkloadRecord>| {
        workload.stage == WorkloadStage::Made && names.is_none_or(|names| names.contains(&workload.interface))
    };
    for workload in state.workloads.values().filter(is_changed) {
        match lost(wiring, workload) {
            // The runtime removed the sandbox without a DEL, and nothing is left that could use the addresses.
            Ok(Some(_)) if workload.sandbox.is_some() && !wiring.has_namespace(workload).unwrap_or(true) => {
                lifecycle.leaving.entry(workload.id).or_default();
                lifecycle.notifier.notify();
            }
            Ok(Some(text)) => drop(lifecycle.bare.insert(workload.id, text)),
            Ok(None) => drop(lifecycle.bare.remove(&workload.id)),
            Err(error) => return problems.note(UNKNOWN, Err(message(error))),
        }
    }
    problems.note(UNKNOWN, Ok::<(), String>(()));
    note(reconciler);
}

/// Lists the workloads without interface in the status.
pub(super) fn note(reconciler: &mut Reconciler) {
    let missing = reconciler.lifecycle.bare.values().cloned().collect();
    reconciler.problems.note_all(INTERFACES, missing);
}

fn lost(wiring: &mut Wiring, workload: &WorkloadRecord) -> anyhow::Result<Option<String>> {
    let is_lost = !wiring.has_interface(workload)?;
    let api::WorkloadSpec { namespace, name, .. } = &workload.wanted;
    Ok(is_lost.then(|| {
        format!(
            "{namespace}/{name} has lost its interface {}, and has no network; remove the workload, and start it again",
            workload.interface
        )
    }))
}
