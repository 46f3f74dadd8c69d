//! Creates and removes workloads, adopts the workloads of an earlier run, and finds those that lost their interface.

use crate::addresses::Addresses;
use crate::families;
use crate::kernel::Kernel;
use crate::problems::message;
use crate::reconciler::Reconciler;
use crate::state::{WorkloadRecord, WorkloadStage};
use crate::wiring::Wiring;
use anyhow::Context;
use control::Change;
use std::collections::{BTreeMap, BTreeSet};

/// The failures, as status and log name them.
const REMOVAL: &str = "a workload that ended cannot be removed";
const INTERFACES: &str = "a workload has no interface";
const UNKNOWN: &str = "the interfaces of workloads cannot be read";
const ORPHANS: &str = "remains of an earlier agent";

/// Creates a workload that has its addresses already. It is recorded on disk first, so that after a crash the next agent
/// removes what exists of it.
pub(crate) fn create(reconciler: &mut Reconciler, wanted: api::WorkloadSpec) -> anyhow::Result<()> {
    let id = reconciler.wiring.free_number(reconciler.state.last_endpoint)?;
    let mut workload = reconciler.wiring.plan(id, wanted)?;
    reconciler.state.last_endpoint = id;
    reconciler.state.workloads.push(workload.clone());
    let saved = reconciler.save();
    let created = saved.and_then(|()| reconciler.wiring.create(&mut reconciler.kernel, &mut workload));
    workload.stage = if created.is_ok() { WorkloadStage::Made } else { WorkloadStage::Ending };
    if let Some(known) = reconciler.state.workloads.iter_mut().find(|known| known.id == id) {
        *known = workload;
    }
    if let Err(error) = created.and_then(|()| reconciler.save()) {
        for (_, failure) in remove(reconciler, &[id]) {
            tracing::error!(
                error = api::sentence(failure.as_ref()),
                "a workload that could not be created could not be removed completely"
            );
        }
        return Err(error);
    }
    Ok(())
}

/// Checks whether the node still has IPv6; without IPv6, new workloads get no IPv6 address.
pub(crate) fn check_families(reconciler: &mut Reconciler) -> anyhow::Result<()> {
    let before = reconciler.wiring.ipv6();
    reconciler.wiring.refresh()?;
    let now = reconciler.wiring.ipv6();
    if now != before {
        let note = families::lost(now);
        tracing::warn!("{note}");
        reconciler.notes.push(note);
        reconciler.addresses.leave_out_ipv6();
    }
    anyhow::ensure!(!reconciler.addresses.are_none(), "workloadAddresses has an IPv6 block alone, and {now}");
    Ok(())
}

/// Removes workloads by number; returns those that could not be removed, each with the error. [`check`] retries these.
pub(crate) fn remove(reconciler: &mut Reconciler, ids: &[u32]) -> BTreeMap<u32, anyhow::Error> {
    let failed = match (ids, remove_together(reconciler, ids)) {
        (_, Ok(())) => BTreeMap::new(),
        (&[id], Err(error)) => [(id, error)].into(),
        // One of them failed; removed one by one, each reports its own error.
        _ => ids.iter().filter_map(|&id| Some((id, remove_together(reconciler, &[id]).err()?))).collect(),
    };
    if reconciler.problems.has(INTERFACES) {
        // The workload without an interface may be gone now.
        check_interfaces(reconciler);
    }
    failed
}

fn remove_together(reconciler: &mut Reconciler, ids: &[u32]) -> anyhow::Result<()> {
    let workloads = &mut reconciler.state.workloads;
    workloads
        .iter_mut()
        .filter(|one| ids.contains(&one.id))
        .for_each(|one| one.stage = WorkloadStage::Ending);
    let leaving: Vec<WorkloadRecord> =
        workloads.iter().filter(|one| ids.contains(&one.id)).cloned().collect();
    anyhow::ensure!(leaving.len() == ids.len(), "there is no such workload");
    reconciler.save_or_note();
    reconciler.wiring.take_down(&mut reconciler.kernel, &leaving)?;
    reconciler.apply(leaving.iter().map(|one| Change::RemoveEndpoint(one.id)).collect())?;
    leaving.iter().try_for_each(|one| reconciler.wiring.forget(one))?;
    reconciler.state.workloads.retain(|one| !ids.contains(&one.id));
    for one in &leaving {
        reconciler.addresses.release_workload(&one.wanted.addresses);
    }
    reconciler.save_or_note();
    Ok(())
}

/// Removes workloads whose owner ended, and retries removals that failed.
pub(crate) fn check(reconciler: &mut Reconciler) {
    let is_over = |workload: &&WorkloadRecord| {
        workload.stage != WorkloadStage::Made || workload.owner.is_some_and(|owner| owner.has_ended())
    };
    let over = reconciler.state.workloads.iter().filter(is_over);
    let over: Vec<u32> = over.map(|workload| workload.id).collect();
    let failed = if over.is_empty() { BTreeMap::new() } else { remove(reconciler, &over) };
    let failed = failed.into_iter().map(|(id, error)| format!("number {id}: {}", message(error)));
    reconciler.problems.note_all(REMOVAL, failed.collect());
    if reconciler.problems.has(ORPHANS) {
        remove_orphans(reconciler);
    }
    check_interfaces(reconciler);
}

/// Records workloads whose interface another program deleted, renamed or moved.
pub(crate) fn check_interfaces(reconciler: &mut Reconciler) {
    let missing = match reconciler.wiring.missing(&reconciler.state.workloads) {
        Ok(missing) => missing.into_iter().map(|workload| {
            let api::WorkloadSpec { namespace, name, .. } = &workload.wanted;
            format!(
                "{namespace}/{name} has lost its interface {}, and has no network; remove the workload, and start it again",
                workload.interface
            )
        }),
        Err(error) => return reconciler.problems.note(UNKNOWN, Err(message(error))),
    };
    reconciler.problems.note_all(INTERFACES, missing.collect());
    reconciler.problems.note(UNKNOWN, Ok::<(), String>(()));
}

/// Removes remains of workloads that the state file does not name, and records those in which processes run.
pub(crate) fn remove_orphans(reconciler: &mut Reconciler) {
    let running = find_orphans(reconciler).unwrap_or_else(|error| vec![message(error)]);
    reconciler.problems.note_all(ORPHANS, running);
}

fn find_orphans(reconciler: &mut Reconciler) -> anyhow::Result<Vec<String>> {
    let known: BTreeSet<u32> = reconciler.state.workloads.iter().map(|workload| workload.id).collect();
    let mut running = Vec::new();
    for orphan in reconciler.wiring.orphans(&known)? {
        if orphan.processes == 0 {
            reconciler.wiring.clear(&mut reconciler.kernel, &orphan)?;
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

/// Adopts the workloads of an earlier run, with their programs. Those that were created only in part, and those without
/// their network namespace, are removed and their addresses released.
pub(crate) fn take_over(
    known: Vec<WorkloadRecord>,
    (wiring, kernel): (&mut Wiring, &mut Kernel),
    addresses: &mut Addresses,
    changes: &mut Vec<Change>,
) -> anyhow::Result<Vec<WorkloadRecord>> {
    let mut workloads = Vec::new();
    for mut workload in known {
        if workload.stage == WorkloadStage::Made {
            if let Some((change, interface)) = wiring.adopt(&workload)? {
                // Another program may have detached the programs.
                kernel.attach(interface)?;
                changes.push(change);
                workloads.push(workload);
                continue;
            }
            if wiring.has_namespace(&workload)? {
                // Its processes have no network any more; ending them is left to the workload's owner.
                workloads.push(workload);
                continue;
            }
        }
        let name = &workload.wanted.name;
        tracing::warn!(name, "a workload is incomplete or gone; its remains are removed");
        // Its map entries belong to no known endpoint: the first change removes them.
        let one = std::slice::from_ref(&workload);
        let removed = wiring.take_down(kernel, one).and_then(|()| wiring.forget(&workload));
        match removed.with_context(|| format!("workload {name} could not be removed")) {
            Ok(()) => addresses.release_workload(&workload.wanted.addresses),
            Err(error) => {
                tracing::error!(error = message(error), "the removal is retried");
                workload.stage = WorkloadStage::Ending;
                workloads.push(workload);
            }
        }
    }
    Ok(workloads)
}
