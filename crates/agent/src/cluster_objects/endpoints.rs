//! The CiliumEndpoints of this node's pods: what to write so that the API server has one for each pod, and no other of this node.

use super::peers::node_address;
use crate::node_pods::PodQuery;
use crate::reconciler::Reconciler;
use crate::state::{WorkloadRecord, WorkloadStage};
use identity::key;
use kubernetes::{
    AddressPair, CiliumEndpoint, CustomKind, EndpointIdentityStatus, EndpointNetworking, EndpointStatus,
    ExternalIdentifiers, NamedPortStatus, ObjectMetadata, ObjectWrite, OwnerOfObject, ResourceName,
    WriteAction,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// What was written, and what the API server has.
#[derive(Debug, Default)]
pub(crate) struct EndpointReports {
    /// The pods whose endpoints were written, by number.
    written: BTreeMap<u32, ReportedPod>,
    /// The endpoints of this node that the watch shows: their UIDs, and whether their removal was written.
    shown: BTreeMap<ResourceName, ShownEndpoint>,
}

/// What an endpoint was written from.
#[derive(Debug)]
struct ReportedPod {
    record: Arc<WorkloadRecord>,
    identity: u32,
    name: ResourceName,
}

#[derive(Debug)]
struct ShownEndpoint {
    uid: String,
    is_ending: bool,
}

impl EndpointReports {
    /// Takes a CiliumEndpoint over that the watch shows, or that is gone.
    pub(crate) fn observe(
        &mut self,
        name: &ResourceName,
        text: Option<&str>,
        is_here: impl Fn(IpAddr) -> bool,
    ) {
        let endpoint = text.and_then(|text| serde_json::from_str::<CiliumEndpoint>(text).ok());
        let of_here = endpoint.filter(|endpoint| {
            let node = endpoint.status.networking.as_ref().and_then(node_address);
            node.is_some_and(&is_here)
        });
        match of_here.and_then(|endpoint| endpoint.metadata.uid) {
            Some(uid) => {
                let is_ending = self.shown.get(name).is_some_and(|known| known.uid == uid && known.is_ending);
                self.shown.insert(name.clone(), ShownEndpoint { uid, is_ending });
            }
            None if self.shown.remove(name).is_some() => {
                // Another writer removed or took it: if its pod exists, the endpoint is written again.
                self.written.retain(|_, known| known.name != *name);
            }
            None => {}
        }
    }

    /// The writes that are due. `own_addresses` is called if there are some.
    pub(crate) fn writes(
        &mut self,
        reconciler: &Reconciler,
        own_addresses: impl FnOnce() -> Vec<IpAddr>,
    ) -> Vec<ObjectWrite> {
        let workloads = &reconciler.state.workloads;
        let mut writes = self.withdrawals(reconciler);
        let identity = |record: &WorkloadRecord| reconciler.world().identity(record.id);
        let due: Vec<(Arc<WorkloadRecord>, u32)> = workloads
            .values()
            .filter(|record| record.stage == WorkloadStage::Made && has_pod(reconciler, record))
            .filter_map(|record| Some((Arc::clone(record), identity(record)?)))
            .filter(|(record, identity)| {
                let known = self.written.get(&record.id);
                known.is_none_or(|known| !Arc::ptr_eq(&known.record, record) || known.identity != *identity)
            })
            .collect();
        writes.extend(self.removals(reconciler));
        if due.is_empty() {
            return writes;
        }
        // Without an address of the node, other nodes would not know where the pod is.
        let Some(node) = own_addresses().first().copied() else { return writes };
        for (record, identity) in due {
            let endpoint = endpoint(reconciler, &record, identity, node);
            let name = name_of(&record);
            let path = CiliumEndpoint::path(name.namespace.as_deref(), &name.name);
            let text = serde_json::to_string(&endpoint).expect("an endpoint has only text keys");
            writes.push(ObjectWrite { path, action: WriteAction::Apply(text) });
            self.written.insert(record.id, ReportedPod { record, identity, name });
        }
        writes
    }

    /// Gives up the writes of endpoints whose pods are not here any more: where their namespace is gone, no write succeeds.
    fn withdrawals(&mut self, reconciler: &Reconciler) -> Vec<ObjectWrite> {
        let workloads = &reconciler.state.workloads;
        let gone: Vec<ReportedPod> =
            self.written.extract_if(.., |id, _| workloads.get(id).is_none()).map(|(_, pod)| pod).collect();
        let path = |name: &ResourceName| CiliumEndpoint::path(name.namespace.as_deref(), &name.name);
        let withdraw =
            |pod: ReportedPod| ObjectWrite { path: path(&pod.name), action: WriteAction::Withdraw };
        // A later sandbox of the same pod has the same endpoint.
        let is_over = |gone: &ReportedPod| self.written.values().all(|other| other.name != gone.name);
        gone.into_iter().filter(is_over).map(withdraw).collect()
    }

    /// Removes endpoints of this node whose pods are not here any more.
    fn removals(&mut self, reconciler: &Reconciler) -> Vec<ObjectWrite> {
        if self.shown.values().all(|shown| shown.is_ending) {
            return Vec::new();
        }
        let here: BTreeSet<ResourceName> =
            reconciler.state.workloads.values().map(|record| name_of(record)).collect();
        let ended = self.shown.iter_mut().filter(|(name, shown)| !shown.is_ending && !here.contains(name));
        ended
            .map(|(name, shown)| {
                shown.is_ending = true;
                let path = CiliumEndpoint::path(name.namespace.as_deref(), &name.name);
                ObjectWrite { path, action: WriteAction::Delete(shown.uid.clone()) }
            })
            .collect()
    }
}

/// Whether the API server has the pod of a workload. A workload ends some time after its pod; an endpoint that is written meanwhile has no
/// owner, and the API server deletes it again.
fn has_pod(reconciler: &Reconciler, record: &WorkloadRecord) -> bool {
    let Some(sandbox) = &record.sandbox else { return false };
    let api::WorkloadSpec { namespace, name, .. } = &record.wanted;
    reconciler.pods.known(PodQuery { namespace, name, uid: sandbox.pod_uid.as_deref() }).is_some()
}

fn name_of(record: &WorkloadRecord) -> ResourceName {
    ResourceName { namespace: Some(record.wanted.namespace.clone()), name: record.wanted.name.clone() }
}

fn endpoint(reconciler: &Reconciler, record: &WorkloadRecord, identity: u32, node: IpAddr) -> CiliumEndpoint {
    let api::WorkloadSpec { namespace, name, addresses, named_ports, labels, .. } = &record.wanted;
    let labels_of_identity = reconciler.world().identities().labels(identity);
    let labels_of_identity = labels_of_identity.iter().flat_map(|labels| labels.iter());
    let address = |is_v4: bool| {
        let found = addresses.iter().find(|address| address.is_ipv4() == is_v4);
        found.map(ToString::to_string).unwrap_or_default()
    };
    let account = labels.get(key::SERVICE_ACCOUNT).cloned().unwrap_or_else(|| key::DEFAULT.to_owned());
    let container = record.sandbox.as_ref().map(|sandbox| sandbox.attachment.container.clone());
    let status = EndpointStatus {
        id: record.id,
        identity: Some(EndpointIdentityStatus {
            id: identity,
            labels: labels_of_identity
                .map(|(label, value)| format!("{}:{}={value}", label.source, label.name))
                .collect(),
        }),
        networking: Some(EndpointNetworking {
            addressing: vec![AddressPair { ipv4: address(true), ipv6: address(false) }],
            node: node.to_string(),
        }),
        named_ports: named_ports.iter().filter_map(|(name, port)| named_port(name, port)).collect(),
        external_identifiers: Some(ExternalIdentifiers {
            container_id: container.unwrap_or_default(),
            k8s_namespace: namespace.clone(),
            k8s_pod_name: name.clone(),
            pod_name: format!("{namespace}/{name}"),
            ..ExternalIdentifiers::default()
        }),
        service_account: account,
        state: "ready".into(),
    };
    CiliumEndpoint::new(metadata(record), status)
}

/// The pod owns its endpoint: the API server deletes the endpoint with the pod, also if this node is gone.
fn metadata(record: &WorkloadRecord) -> ObjectMetadata {
    let pod = record.sandbox.as_ref().and_then(|sandbox| sandbox.pod_uid.clone()).map(|uid| OwnerOfObject {
        api_version: "v1".into(),
        kind: "Pod".into(),
        name: record.wanted.name.clone(),
        uid,
    });
    let mut labels = record.wanted.labels.clone();
    labels.remove(key::SERVICE_ACCOUNT);
    ObjectMetadata {
        name: record.wanted.name.clone(),
        namespace: Some(record.wanted.namespace.clone()),
        labels,
        owner_references: pod.into_iter().collect(),
        ..ObjectMetadata::default()
    }
}

/// A named port, which is written as `80/TCP`.
fn named_port(name: &str, port: &str) -> Option<NamedPortStatus> {
    let (port, protocol) = port.split_once('/')?;
    Some(NamedPortStatus { name: name.to_owned(), port: port.parse().ok()?, protocol: protocol.to_owned() })
}
