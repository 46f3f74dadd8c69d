//! Attachments: workloads in the sandboxes of a container runtime, by container and interface.
//!
//! A runtime repeats what it is not sure of. A repeated ADD gets the first answer, a repeated DEL succeeds, and a sandbox of the
//! same pod is another attachment, so that the late DEL of the first one removes nothing of the second.

use super::admission;
use super::creation;
use super::pending::{Parked, Waiter};
use super::removal;
use crate::answer::{Answer, internal, value};
use crate::command::AttachmentCommand;
use crate::deletions::DeletionQueue;
use crate::host_ports;
use crate::problems::Problem;
use crate::queue::Reply;
use crate::reconciler::Reconciler;
use crate::state::{SandboxRecord, WorkloadRecord, WorkloadStage, boot};
use crate::step_times::StepTimes;
use crate::views;
use crate::wiring::Wiring;
use api::{AttachmentName, AttachmentSpec, Cause, Failure};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The failure, as status and log name it.
const QUEUE: Problem = Problem::new(
    "deletions that runtimes queued cannot be read",
    "the agent tries again twice a second until that succeeds",
);

/// Carries out a command about attachments; the client gets its answer when it has taken effect.
pub(crate) fn carry_out_attachment(reconciler: &mut Reconciler, command: AttachmentCommand, reply: Reply) {
    match command {
        AttachmentCommand::Attach { spec, mut times } => {
            times.end("turn");
            // A deletion that is older than this request comes first.
            take_queued(reconciler);
            attach(reconciler, *spec, (times, reply));
        }
        AttachmentCommand::Detach(name) => detach(reconciler, &name, reply),
        AttachmentCommand::Check { name, addresses } => {
            let Some(record) = made(reconciler, &name) else { return reply.send(Err(unknown(&name))) };
            let lost = addresses.into_iter().filter(|one| !record.wanted.addresses.contains(one));
            let found = lost.map(|one| format!("the attachment has no address {one}")).collect();
            reconciler.lifecycle.background.inspect(record, found, reply);
        }
        AttachmentCommand::Collect { network, valid } => {
            let names = collect(reconciler, &network, &valid.into_iter().collect());
            reply.send(value(&names));
        }
    }
}

/// Begins to remove attachments that runtimes deleted while no agent answered.
pub(super) fn take_queued(reconciler: &mut Reconciler) {
    let queue = DeletionQueue::beside(&reconciler.paths.socket());
    let taken = queue.waiting().and_then(|waiting| {
        for deletion in waiting {
            let ids = numbers(reconciler, &deletion.name);
            if ids.is_empty() {
                deletion.finish()?;
            }
            ids.into_iter().for_each(|id| removal::leave(reconciler, id, None));
        }
        Ok(())
    });
    reconciler.problems.note(QUEUE, taken);
}

/// Attaches what waited for the removal of these workloads.
pub(super) fn unpark(reconciler: &mut Reconciler, removed: &BTreeSet<u32>) {
    if removed.is_empty() {
        return;
    }
    // Their queued deletions are finished first: these must not remove an attachment that gets the same name now.
    take_queued(reconciler);
    let parked = std::mem::take(&mut reconciler.lifecycle.parked);
    let (due, others) = parked.into_iter().partition(|one: &Parked| removed.contains(&one.behind));
    reconciler.lifecycle.parked = others;
    for Parked { spec, mut times, reply, .. } in due {
        times.end("removal");
        attach(reconciler, spec, (times, reply));
    }
}

fn attach(reconciler: &mut Reconciler, spec: AttachmentSpec, (times, reply): (StepTimes, Reply)) {
    match existing(reconciler, &spec) {
        Existing::Made(answer) => reply.send(answer),
        // The client of an earlier request for the same attachment did not wait for its answer.
        Existing::Making(id) => {
            let joined = reconciler.lifecycle.joined.entry(id).or_default();
            joined.push(reply);
        }
        Existing::Leaving(id) => {
            removal::leave(reconciler, id, None);
            reconciler.lifecycle.parked.push(Parked { behind: id, spec, times, reply });
        }
        Existing::None => match reserve(reconciler, spec) {
            Ok(workload) => creation::record(reconciler, workload, (times, reply)),
            Err(failure) => reply.send(Err(failure)),
        },
    }
}

/// What exists of an attachment that is requested.
enum Existing {
    /// It is complete; this is the answer.
    Made(Answer),
    /// It is being made, with this number.
    Making(u32),
    /// What has its name must be removed first.
    Leaving(u32),
    /// Nothing.
    None,
}

fn existing(reconciler: &mut Reconciler, spec: &AttachmentSpec) -> Existing {
    let Some(id) = numbers(reconciler, &spec.name).into_iter().next_back() else {
        return holder(reconciler, spec).map_or(Existing::None, Existing::Leaving);
    };
    let Reconciler { lifecycle, state, wiring, kernel, .. } = &mut *reconciler;
    let Some(record) = state.workloads.get(&id) else { return Existing::None };
    let is_leaving = lifecycle.leaving.contains_key(&id)
        || lifecycle.removing.contains_key(&id)
        || lifecycle.creating.get(&id).is_some_and(|waiters| !waiters.is_empty());
    let is_same = spec.network_namespace.to_str() == Some(&record.network_namespace);
    match record.stage {
        _ if is_leaving || !is_same => Existing::Leaving(id),
        WorkloadStage::Making => Existing::Making(id),
        WorkloadStage::Made if is_intact(wiring, record) => {
            let summary = views::attachment(&kernel.world().snapshot(), record);
            Existing::Made(summary.ok_or_else(|| unknown(&spec.name)).and_then(|summary| value(&summary)))
        }
        WorkloadStage::Made | WorkloadStage::Ending => Existing::Leaving(id),
    }
}

/// Whether interface and network namespace of an attachment exist. The kernel removes the interfaces of a namespace some time
/// after the namespace's name is gone.
fn is_intact(wiring: &mut Wiring, record: &WorkloadRecord) -> bool {
    wiring.has_namespace(record).is_ok_and(|has| has) && wiring.has_interface(record).is_ok_and(|has| has)
}

/// The attachment behind another plugin that has one of these addresses: the plugin has given it to a new container, so that
/// the earlier one is gone.
fn holder(reconciler: &Reconciler, spec: &AttachmentSpec) -> Option<u32> {
    let holds = |known: &&Arc<WorkloadRecord>| {
        known.is_chained() && known.wanted.addresses.iter().any(|own| spec.addresses.contains(own))
    };
    let found = spec.chained.then(|| reconciler.state.workloads.values().find(holds));
    found.flatten().map(|known| known.id)
}

/// Reserves a number and addresses for an attachment.
fn reserve(reconciler: &mut Reconciler, spec: AttachmentSpec) -> Result<WorkloadRecord, Failure> {
    let path = spec.network_namespace.to_str().map(str::to_owned);
    let path = path.ok_or_else(|| {
        Failure::new(Cause::Invalid, "the path of the network namespace should be valid UTF-8")
    })?;
    let (namespace, name) = match &spec.pod {
        Some(pod) => (pod.namespace.clone(), pod.name.clone()),
        None => ("default".to_owned(), admission::name_of_container(&spec.name.container)),
    };
    let wanted = api::WorkloadSpec {
        namespace,
        name,
        labels: spec.labels,
        addresses: spec.addresses,
        named_ports: spec.named_ports,
        owner: None,
    };
    // A sandbox that leaves holds its ports until nothing is left of it.
    host_ports::check(&spec.host_ports, reconciler.state.workloads.values().map(|record| &**record))?;
    let wanted = admission::admit_attachment(reconciler, wanted, spec.chained)?;
    let sandbox = SandboxRecord {
        attachment: spec.name,
        network: spec.network,
        pod_uid: spec.pod.and_then(|pod| pod.uid),
        boot: boot().map_err(|error| internal(error.into()))?,
        is_chained: spec.chained,
        host_ports: spec.host_ports,
    };
    creation::reserve(reconciler, wanted, |workload| WorkloadRecord {
        network_namespace: path,
        group: None,
        sandbox: Some(sandbox),
        ..workload
    })
}

fn detach(reconciler: &mut Reconciler, name: &AttachmentName, reply: Reply) {
    // The runtime has given up an attachment that waits.
    let parked = std::mem::take(&mut reconciler.lifecycle.parked);
    let (over, others) = parked.into_iter().partition(|one: &Parked| one.spec.name == *name);
    reconciler.lifecycle.parked = others;
    for Parked { reply, .. } in over {
        reply.send(Err(Failure::new(Cause::Unavailable, "the container was deleted meanwhile")));
    }
    let mut ids = numbers(reconciler, name);
    let Some(last) = ids.pop() else { return reply.send(Ok(Value::Null)) };
    ids.into_iter().for_each(|id| removal::leave(reconciler, id, None));
    removal::leave(reconciler, last, Some(Waiter::new(reply, Ok(Value::Null))));
}

/// Begins to remove the attachments of a network that are not in the list of those that exist; returns their names.
fn collect(
    reconciler: &mut Reconciler,
    network: &str,
    valid: &BTreeSet<AttachmentName>,
) -> Vec<AttachmentName> {
    let is_over = |known: &&Arc<WorkloadRecord>| {
        let sandbox = known.sandbox.as_ref();
        // One that is being made may be younger than the list.
        known.stage == WorkloadStage::Made
            && sandbox.is_some_and(|own| own.network == network && !valid.contains(&own.attachment))
    };
    let over: Vec<_> = reconciler.state.workloads.values().filter(is_over).cloned().collect();
    over.iter().for_each(|known| removal::leave(reconciler, known.id, None));
    over.iter().filter_map(|known| Some(known.sandbox.as_ref()?.attachment.clone())).collect()
}

/// The numbers of the workloads with this attachment, oldest first: an earlier one may not be removed yet.
fn numbers(reconciler: &Reconciler, name: &AttachmentName) -> Vec<u32> {
    let has_it = |known: &&Arc<WorkloadRecord>| {
        known.sandbox.as_ref().is_some_and(|sandbox| sandbox.attachment == *name)
    };
    reconciler.state.workloads.values().filter(has_it).map(|known| known.id).collect()
}

/// The record of a complete attachment that stays.
fn made(reconciler: &Reconciler, name: &AttachmentName) -> Option<WorkloadRecord> {
    let id = numbers(reconciler, name).into_iter().next_back()?;
    let record = reconciler.state.workloads.get(&id)?;
    let is_there = record.stage == WorkloadStage::Made && !reconciler.lifecycle.leaving.contains_key(&id);
    is_there.then(|| WorkloadRecord::clone(record))
}

fn unknown(AttachmentName { container, interface }: &AttachmentName) -> Failure {
    Failure::new(
        Cause::NotFound,
        format!("container {container} has no attachment with interface {interface} on this node"),
    )
}
