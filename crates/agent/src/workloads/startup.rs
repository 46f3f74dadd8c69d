//! Adopts the workloads of an earlier run, and removes remains of workloads.

use super::{attachments, interfaces};
use crate::addresses::Addresses;
use crate::kernel::Kernel;
use crate::problems::message;
use crate::reconciler::Reconciler;
use crate::state;
use crate::state::{WorkloadRecord, WorkloadStage};
use crate::wiring::Wiring;
use anyhow::Context;
use control::Change;
use identity::SharedMap;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The failure, as status and log name it.
const ORPHANS: &str = "remains of an earlier agent";

/// The records of workloads, by number.
type Workloads = SharedMap<u32, Arc<WorkloadRecord>>;

/// Adopts the workloads of an earlier run, with their programs. Those that were created only in part, and those without
/// their network namespace, are removed and their addresses released.
pub(crate) fn take_over(
    known: Workloads,
    (wiring, kernel): (&mut Wiring, &Kernel),
    addresses: &mut Addresses,
    changes: &mut Vec<Change>,
) -> anyhow::Result<Workloads> {
    let attacher = kernel.attacher();
    let boot = state::boot().context("the identifier of this boot cannot be read")?;
    let mut workloads = known.clone();
    for (&id, workload) in &known {
        let is_earlier = workload.sandbox.as_ref().is_some_and(|sandbox| sandbox.boot != boot);
        if workload.stage == WorkloadStage::Made && !is_earlier {
            if let Some((change, interface)) = wiring.adopt(workload)? {
                // Another program may have detached the programs.
                attacher.attach(interface)?;
                changes.push(change);
                continue;
            }
            if wiring.has_namespace(workload)? {
                // Its processes have no network any more; ending them is left to the workload's owner.
                continue;
            }
        }
        let name = &workload.wanted.name;
        tracing::warn!(name, "a workload is incomplete or gone; its remains are removed");
        // Its map entries belong to no known endpoint: the first change removes them.
        let mut removed = wiring.remove(&attacher, std::slice::from_ref(&**workload)).into_iter();
        let removed = removed.try_for_each(|(_, removed)| removed);
        match removed.with_context(|| format!("workload {name} could not be removed")) {
            Ok(()) => {
                addresses.release_workload(&workload.wanted.addresses);
                workloads.remove(&id);
            }
            Err(error) => {
                tracing::error!(error = message(error), "the removal is retried");
                let ending =
                    WorkloadRecord { stage: WorkloadStage::Ending, ..WorkloadRecord::clone(workload) };
                workloads.insert(id, Arc::new(ending));
            }
        }
    }
    Ok(workloads)
}

/// Watches the owners of adopted workloads, and removes what an earlier agent has left. Owners that ended while no agent
/// ran are reported right after.
pub(crate) fn start(reconciler: &mut Reconciler) {
    remove_orphans(reconciler);
    let Reconciler { lifecycle, state, problems, .. } = reconciler;
    for workload in state.workloads.values() {
        if workload.stage == WorkloadStage::Made {
            lifecycle.watch(workload, problems);
        } else {
            lifecycle.leaving.entry(workload.id).or_default();
        }
    }
    lifecycle.notifier.notify();
    // Before the first client: a sandbox that a runtime deleted meanwhile must not be found again.
    attachments::take_queued(reconciler);
    interfaces::check_interfaces(reconciler, None);
}

/// Tries again to remove remains in which processes ran.
pub(super) fn retry_orphans(reconciler: &mut Reconciler) {
    if reconciler.problems.has(ORPHANS) {
        remove_orphans(reconciler);
    }
}

/// Removes remains of workloads that the state does not name, and records those in which processes run.
fn remove_orphans(reconciler: &mut Reconciler) {
    let running = find_orphans(reconciler).unwrap_or_else(|error| vec![message(error)]);
    reconciler.problems.note_all(ORPHANS, running);
}

fn find_orphans(reconciler: &mut Reconciler) -> anyhow::Result<Vec<String>> {
    let known: BTreeSet<u32> = reconciler.state.workloads.keys().copied().collect();
    let attacher = reconciler.kernel.attacher();
    let mut running = Vec::new();
    for orphan in reconciler.wiring.orphans(&known)? {
        if orphan.processes == 0 {
            reconciler.wiring.clear(&attacher, &orphan)?;
            tracing::warn!("{orphan} is not in the state file and no process runs in it: removed");
        } else {
            running.push(format!(
                "{orphan} is not in {}, and processes run in it; its traffic is dropped; end the processes (`ip netns \
                 pids {}`), and the agent removes it",
                reconciler.paths.state().display(),
                orphan.namespace
            ));
        }
    }
    Ok(running)
}
