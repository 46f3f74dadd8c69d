//! Labels and named ports of pods that change after the pod was attached.

use crate::node_pods::{NodePod, NodePods, PodQuery};
use crate::reconciler::Reconciler;
use crate::state::{WorkloadRecord, WorkloadStage};
use crate::wiring::named_ports;
use control::{Change, Endpoint, Workload};
use std::sync::Arc;

/// Gives the workloads of a pod the labels and named ports that the API server shows. Called for each change of a pod.
///
/// A pod that is being attached gets them when the attachment ends.
pub(crate) fn relabel(reconciler: &mut Reconciler, pod: &NodePod) -> anyhow::Result<()> {
    let is_due = |known: &&Arc<WorkloadRecord>| {
        known.stage == WorkloadStage::Made && is_of(known, pod) && !is_described(known, pod)
    };
    let due: Vec<_> = reconciler.state.workloads.values().filter(is_due).cloned().collect();
    let ports = Arc::new(named_ports(&pod.named_ports)?);
    let mut changes = Vec::new();
    for record in &due {
        let Some(endpoint) = reconciler.world().endpoint_of(record.id) else { continue };
        let workload = Workload {
            labels: Arc::new(pod.labels.clone()),
            named_ports: Arc::clone(&ports),
            ..endpoint.workload.clone()
        };
        changes.push(Change::Endpoint(Box::new(Endpoint { workload, ..endpoint.clone() })));
    }
    if changes.is_empty() {
        return Ok(());
    }
    reconciler.apply(changes)?;
    for record in due {
        let mut record = WorkloadRecord::clone(&record);
        describe(&mut record, pod);
        reconciler.state.workloads.insert(record.id, Arc::new(record));
    }
    reconciler.save_soon();
    Ok(())
}

/// Takes labels and named ports of a new workload's pod over, which may have changed since the attachment began.
pub(super) fn refresh(pods: &NodePods, record: &mut WorkloadRecord, endpoint: &mut Endpoint) {
    let Some(sandbox) = &record.sandbox else { return };
    let api::WorkloadSpec { namespace, name, .. } = &record.wanted;
    let pod = pods.known(PodQuery { namespace, name, uid: sandbox.pod_uid.as_deref() });
    if let Some(pod) = pod.filter(|pod| !is_described(record, pod))
        && let Ok(ports) = named_ports(&pod.named_ports)
    {
        describe(record, &pod);
        endpoint.workload.labels = Arc::new(pod.labels.clone());
        endpoint.workload.named_ports = Arc::new(ports);
    }
}

/// Whether a workload is attached to a sandbox of this pod.
fn is_of(record: &WorkloadRecord, pod: &NodePod) -> bool {
    let is_pods = |uid: &Option<String>| uid.as_ref().is_none_or(|uid| *uid == pod.uid);
    record.sandbox.as_ref().is_some_and(|sandbox| is_pods(&sandbox.pod_uid))
        && (&record.wanted.namespace, &record.wanted.name) == (&pod.namespace, &pod.name)
}

fn is_described(record: &WorkloadRecord, pod: &NodePod) -> bool {
    record.wanted.labels == pod.labels && record.wanted.named_ports == pod.named_ports
}

/// Takes labels and named ports over from the pod.
fn describe(record: &mut WorkloadRecord, pod: &NodePod) {
    record.wanted.labels.clone_from(&pod.labels);
    record.wanted.named_ports.clone_from(&pod.named_ports);
}
