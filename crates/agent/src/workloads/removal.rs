//! The removal of workloads: all that end together are one change of the maps.

use super::admission::{self, find};
use super::interfaces;
use super::pending::Waiter;
use crate::problems::Problem;
use crate::queue::Reply;
use crate::reconciler::Reconciler;
use crate::state::{WorkloadRecord, WorkloadStage};
use api::{Cause, Failure};
use control::Change;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The failure, as status and log name it.
const REMOVAL: Problem = Problem::new(
    "a workload that ended cannot be removed",
    "its traffic is dropped, and the agent tries again twice a second until that succeeds",
);

/// Begins to remove a workload that a client names; the client gets its answer once the workload is removed.
pub(crate) fn remove(reconciler: &mut Reconciler, namespace: &str, name: &str, reply: Reply) {
    let Some(id) = find(reconciler, namespace, name) else {
        return reply.send(Err(admission::not_found(namespace, name)));
    };
    if reconciler.state.workloads.get(&id).is_some_and(|known| known.sandbox.is_some()) {
        let message =
            format!("{namespace}/{name} belongs to a container runtime; delete the pod or container");
        return reply.send(Err(Failure::new(Cause::Conflict, message)));
    }
    let lifecycle = &mut reconciler.lifecycle;
    if lifecycle.leaving.contains_key(&id) || lifecycle.removing.contains_key(&id) {
        // For the second of two clients that remove a workload, the workload is gone.
        return reply.send(Err(admission::not_found(namespace, name)));
    }
    leave(reconciler, id, Some(Waiter::new(reply, Ok(Value::Null))));
}

/// Begins to remove a workload, unless its removal has begun; the client gets its answer once the workload is removed.
pub(super) fn leave(reconciler: &mut Reconciler, id: u32, waiter: Option<Waiter>) {
    let lifecycle = &mut reconciler.lifecycle;
    if let Some(waiters) = lifecycle.removing.get_mut(&id) {
        return waiters.extend(waiter);
    }
    match lifecycle.creating.get_mut(&id) {
        Some(waiters) => waiters.push(waiter.unwrap_or_else(Waiter::nothing)),
        None => {
            lifecycle.leaving.entry(id).or_default().extend(waiter);
            // Requests that are in the queue already come first, so that all of them are one change.
            lifecycle.notifier.notify();
        }
    }
}

/// Removes the map entries of all workloads that leave, and then the workloads.
pub(super) fn begin(reconciler: &mut Reconciler) {
    let leaving = std::mem::take(&mut reconciler.lifecycle.leaving);
    if leaving.is_empty() {
        return;
    }
    let ids: Vec<u32> = leaving.keys().copied().collect();
    let mut refused = remove_entries(reconciler, &ids);
    let mut removed = Vec::new();
    for (id, waiters) in leaving {
        if let Some(error) = refused.remove(&id) {
            fail(reconciler, id, waiters, &error);
            continue;
        }
        let lifecycle = &mut reconciler.lifecycle;
        if let Some(present) = lifecycle.removing.get_mut(&id) {
            present.extend(waiters);
            continue;
        }
        // A workload that is gone already, such as one whose owner ends after the workload was removed.
        let Some(known) = reconciler.state.workloads.get(&id) else { continue };
        let ending = WorkloadRecord { stage: WorkloadStage::Ending, ..WorkloadRecord::clone(known) };
        removed.push(ending.clone());
        reconciler.state.workloads.insert(id, Arc::new(ending));
        lifecycle.removing.insert(id, waiters);
    }
    note(reconciler);
    if !removed.is_empty() {
        // A workload whose end cannot be recorded is removed nevertheless.
        reconciler.lifecycle.steps.push(Box::new(|_, background| background.remove(removed)));
    }
}

/// Forgets the workloads that were removed, and releases their addresses; returns their numbers.
pub(super) fn finish(reconciler: &mut Reconciler, results: Vec<(u32, anyhow::Result<()>)>) -> BTreeSet<u32> {
    if results.is_empty() {
        return BTreeSet::new();
    }
    let (mut waiting, mut removed) = (Vec::new(), BTreeSet::new());
    for (id, result) in results {
        let waiters = reconciler.lifecycle.removing.remove(&id).unwrap_or_default();
        match result {
            Ok(()) => {
                forget(reconciler, id);
                removed.insert(id);
                waiting.extend(waiters);
            }
            Err(error) => fail(reconciler, id, waiters, &error),
        }
    }
    note(reconciler);
    interfaces::note(reconciler);
    reconciler.lifecycle.steps.push(Box::new(|_, _| waiting.into_iter().for_each(Waiter::answer)));
    removed
}

fn forget(reconciler: &mut Reconciler, id: u32) {
    let lifecycle = &mut reconciler.lifecycle;
    lifecycle.owners.forget(id);
    lifecycle.failed.remove(&id);
    lifecycle.unwatched.remove(&id);
    lifecycle.bare.remove(&id);
    if let Some(gone) = reconciler.state.workloads.remove(&id) {
        reconciler.addresses.release_workload(&gone.wanted.addresses);
    }
}

/// Records a failed removal, which is retried, and answers the clients that wait for it.
fn fail(reconciler: &mut Reconciler, id: u32, waiters: Vec<Waiter>, error: &anyhow::Error) {
    let why = api::sentence(error.as_ref());
    for waiter in waiters {
        waiter.fail(&Failure::new(Cause::Internal, why.clone()));
    }
    reconciler.lifecycle.failed.insert(id, why);
}

/// Removes the map entries of workloads in one change; returns the workloads whose entries cannot be removed.
fn remove_entries(reconciler: &mut Reconciler, ids: &[u32]) -> BTreeMap<u32, anyhow::Error> {
    let together = reconciler.apply(ids.iter().map(|&id| Change::RemoveEndpoint(id)).collect());
    match (together, ids) {
        (Ok(()), _) => BTreeMap::new(),
        (Err(error), &[id]) => [(id, error)].into(),
        _ => {
            let mut alone = |id| reconciler.apply(vec![Change::RemoveEndpoint(id)]).err();
            ids.iter().filter_map(|&id| Some((id, alone(id)?))).collect()
        }
    }
}

fn note(reconciler: &mut Reconciler) {
    let failed = reconciler.lifecycle.failed.iter().map(|(id, why)| format!("number {id}: {why}"));
    reconciler.problems.note_all(REMOVAL, failed.collect());
}
