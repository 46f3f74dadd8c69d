//! Carries out the commands of clients on the agent's thread.

mod apply;

use crate::answer::{Answer, internal, value};
use crate::command::Command;
use crate::reconciler::Reconciler;
use crate::state::WorkloadRecord;
use crate::workloads::not_found;
use crate::{runtime_settings, views};
use api::view::EndpointSummary;
use api::{Cause, Failure};
use control::{Change, Endpoint};
use serde_json::Value;
use std::sync::Arc;

/// Carries out commands that can take effect together, and returns their answers in order. The changes have taken effect
/// when the answers are returned.
pub(crate) fn carry_out(reconciler: &mut Reconciler, commands: Vec<Command>) -> Vec<Answer> {
    let mut objects = Vec::new();
    let mut answers = Vec::new();
    for command in commands {
        match command {
            Command::Objects(command) => objects.push(command),
            Command::RemoveWorkload { .. } | Command::CreateWorkload(_) | Command::Attachment(_) => {
                answers
                    .push(Err(Failure::new(Cause::Internal, "workloads are created and removed elsewhere")));
            }
            Command::ConfigureWorkload { namespace, name, audit } => {
                answers.push(configure(reconciler, &namespace, &name, audit));
            }
            Command::ChangeSettings { monitor_aggregation } => {
                let settings = runtime_settings::change(reconciler, monitor_aggregation.as_deref());
                answers.push(settings.and_then(|settings| value(&settings)));
            }
            Command::Stop => answers.push(Ok(Value::Null)),
        }
    }
    // All are of one kind.
    if !objects.is_empty() {
        answers.extend(apply::carry_out(reconciler, objects));
    }
    answers
}

fn view(reconciler: &Reconciler, namespace: &str, name: &str) -> Option<EndpointSummary> {
    let id = reconciler.world().endpoint(namespace, name)?.id;
    let record = reconciler.state.workloads.get(&id)?;
    views::endpoint(&reconciler.world().snapshot(), record)
}

fn configure(reconciler: &mut Reconciler, namespace: &str, name: &str, audit: bool) -> Answer {
    let known = reconciler.world().endpoint(namespace, name).cloned();
    let endpoint = known.ok_or_else(|| not_found(namespace, name))?;
    let id = endpoint.id;
    let before = set_audit(reconciler, id, audit);
    let change = Change::Endpoint(Box::new(Endpoint { audit, ..endpoint }));
    let applied = reconciler.save().and_then(|()| reconciler.apply(vec![change]));
    if let Err(error) = applied {
        set_audit(reconciler, id, before);
        reconciler.save_soon();
        return Err(internal(error));
    }
    let now = view(reconciler, namespace, name);
    value(&now.ok_or_else(|| not_found(namespace, name))?)
}

/// Sets the audit mode of a workload in the state; returns the mode before.
fn set_audit(reconciler: &mut Reconciler, id: u32, audit: bool) -> bool {
    let workloads = &mut reconciler.state.workloads;
    let Some(before) = workloads.get(&id).map(|workload| WorkloadRecord::clone(workload)) else {
        return false;
    };
    workloads.insert(id, Arc::new(WorkloadRecord { audit, ..before.clone() }));
    before.audit
}
