//! The creation of workloads.

use super::admission;
use super::pending::{Creation, Waiter};
use super::relabelling;
use crate::answer::{internal, value};
use crate::queue::Reply;
use crate::reconciler::Reconciler;
use crate::state::{WorkloadRecord, WorkloadStage};
use crate::step_times::StepTimes;
use crate::views;
use api::{Cause, Failure};
use control::{Change, Endpoint};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Begins to create a workload; the client gets its answer once the workload is complete and saved, or once everything that
/// was made of it is removed.
pub(crate) fn create(reconciler: &mut Reconciler, wanted: api::WorkloadSpec, reply: Reply) {
    let reserved = admission::admit(reconciler, wanted)
        .and_then(|wanted| reserve(reconciler, wanted, |workload| workload));
    match reserved {
        Ok(workload) => record(reconciler, workload, (StepTimes::begin(), reply)),
        Err(failure) => reply.send(Err(failure)),
    }
}

/// Begins to create a workload whose number and addresses are reserved.
pub(super) fn record(
    reconciler: &mut Reconciler,
    workload: WorkloadRecord,
    (times, reply): (StepTimes, Reply),
) {
    let lifecycle = &mut reconciler.lifecycle;
    lifecycle.creating.insert(workload.id, Vec::new());
    lifecycle.recording.push(Creation { workload, times, replies: vec![reply] });
    // Requests that are in the queue already come first, so that all of them are recorded together.
    lifecycle.notifier.notify();
}

/// Reserves a number for an admitted workload, whose addresses are released if that fails.
pub(super) fn reserve(
    reconciler: &mut Reconciler,
    wanted: api::WorkloadSpec,
    complete: impl FnOnce(WorkloadRecord) -> WorkloadRecord,
) -> Result<WorkloadRecord, Failure> {
    let addresses = wanted.addresses.clone();
    let reserved = reconciler.wiring.free_number(reconciler.state.last_endpoint).and_then(|id| {
        let workload = complete(reconciler.wiring.plan(id, wanted)?);
        reconciler.state.last_endpoint = id;
        reconciler.state.workloads.insert(id, Arc::new(workload.clone()));
        Ok(workload)
    });
    reserved.map_err(|error| {
        reconciler.addresses.release_workload(&addresses);
        internal(error)
    })
}

/// Records the new workloads. They are recorded on disk first, so that after a crash the next agent removes what exists of
/// them.
pub(super) fn begin(reconciler: &mut Reconciler) {
    let lifecycle = &mut reconciler.lifecycle;
    for mut creation in std::mem::take(&mut lifecycle.recording) {
        lifecycle.steps.push(Box::new(|saved, background| match saved {
            Ok(()) => {
                creation.times.end("record");
                background.create(creation);
            }
            Err(why) => background.put(|results| results.unsaved.push((creation, why.clone()))),
        }));
    }
}

/// Removes what exists of workloads that could not be recorded; their clients get the reason.
pub(super) fn give_up(reconciler: &mut Reconciler, unsaved: Vec<(Creation, String)>) {
    for (creation, why) in unsaved {
        abandon(reconciler, creation, Failure::new(Cause::Internal, why));
    }
}

/// Writes the map entries of workloads that were created otherwise, and records them as complete.
pub(super) fn finish(reconciler: &mut Reconciler, created: Vec<(Creation, anyhow::Result<Endpoint>)>) {
    let mut ready = Vec::new();
    for (mut creation, endpoint) in created {
        match endpoint {
            Ok(mut endpoint) => {
                relabelling::refresh(&reconciler.pods, &mut creation.workload, &mut endpoint);
                ready.push((creation, endpoint));
            }
            Err(error) => abandon(reconciler, creation, internal(error)),
        }
    }
    let mut refused = put(reconciler, ready.iter().map(|(_, endpoint)| endpoint));
    for (mut creation, endpoint) in ready {
        if let Some(error) = refused.remove(&endpoint.id) {
            abandon(reconciler, creation, internal(error));
            continue;
        }
        creation.times.end("entries");
        creation.workload.stage = WorkloadStage::Made;
        complete(reconciler, &creation.workload);
        let world = reconciler.world().snapshot();
        let answer = match &creation.workload.sandbox {
            None => value(&views::endpoint(&world, &creation.workload)),
            Some(_) => value(&views::attachment(&world, &creation.workload)),
        };
        let joined = reconciler.lifecycle.joined.remove(&creation.workload.id);
        creation.replies.extend(joined.unwrap_or_default());
        reconciler.lifecycle.steps.push(Box::new(move |saved, background| match saved {
            Ok(()) => {
                creation.times.end("save");
                creation.replies.into_iter().for_each(|reply| reply.send(answer.clone()));
                log(&creation.workload, &creation.times);
            }
            Err(why) => background.put(|results| results.unsaved.push((creation, why.clone()))),
        }));
    }
}

/// Logs an attachment that is complete.
fn log(workload: &WorkloadRecord, times: &StepTimes) {
    let Some(sandbox) = &workload.sandbox else { return };
    let api::WorkloadSpec { namespace, name, .. } = &workload.wanted;
    let container = &sandbox.attachment.container;
    tracing::info!(
        "pod {namespace}/{name} is attached as {}, container {container}, in {times}",
        workload.interface
    );
}

/// Records a workload as complete, and watches its owner.
fn complete(reconciler: &mut Reconciler, workload: &WorkloadRecord) {
    let Reconciler { lifecycle, state, problems, .. } = reconciler;
    state.workloads.insert(workload.id, Arc::new(workload.clone()));
    lifecycle.watch(workload, problems);
    if let Some(waiters) = lifecycle.creating.remove(&workload.id)
        && !waiters.is_empty()
    {
        lifecycle.leaving.entry(workload.id).or_default().extend(waiters);
    }
}

/// Removes what exists of a workload that could not be created; then its client gets the reason.
fn abandon(reconciler: &mut Reconciler, Creation { workload, replies, .. }: Creation, failure: Failure) {
    let lifecycle = &mut reconciler.lifecycle;
    let waiters = lifecycle.creating.remove(&workload.id).unwrap_or_default();
    let joined = lifecycle.joined.remove(&workload.id).unwrap_or_default();
    let leaving = lifecycle.leaving.entry(workload.id).or_default();
    leaving.extend(waiters);
    let replies = replies.into_iter().chain(joined);
    leaving.extend(replies.map(|reply| Waiter::new(reply, Err(failure.clone()))));
}

/// Writes the map entries of endpoints in one change; returns the endpoints that are refused.
fn put<'a>(
    reconciler: &mut Reconciler,
    endpoints: impl Iterator<Item = &'a Endpoint> + Clone,
) -> BTreeMap<u32, anyhow::Error> {
    let change = |endpoint: &Endpoint| Change::Endpoint(Box::new(endpoint.clone()));
    let mut refused = BTreeMap::new();
    let changes: Vec<Change> = endpoints.clone().map(change).collect();
    if changes.is_empty() {
        return refused;
    }
    if reconciler.apply(changes).is_err() {
        for endpoint in endpoints.clone() {
            let applied = reconciler.apply(vec![change(endpoint)]);
            refused.extend(applied.err().map(|error| (endpoint.id, error)));
        }
    }
    let world = reconciler.world();
    for endpoint in endpoints {
        if !refused.contains_key(&endpoint.id) && world.endpoint_row(endpoint).is_none() {
            let error = anyhow::anyhow!(
                "no identity is left for these labels: all {} are in use; remove workloads, or give this one labels \
                 that other workloads have",
                world.identities().allocated().count()
            );
            refused.insert(endpoint.id, error);
        }
    }
    refused
}
