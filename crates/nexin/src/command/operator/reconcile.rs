//! The leader's work: events of watches into the core, and its writes to the API server.

use super::definitions::WRITER;
use super::health::OperatorHealth;
use super::leadership::Leadership;
use super::settings::OperatorSettings;
use crate::command::agent::block;
use ::operator::{IdentityAllocation, IdentityWrite, ListedKind, NodeBlocks, PodBlockAssignment};
use identity::{Labels, from_security_labels, object_labels, security_labels};
use kubernetes::{
    CiliumEndpoint, CiliumIdentity, CiliumNode, CiliumNodeSpec, Client, ClusterEvent, ClusterWatches,
    CustomKind, IpamSpec, KeptFields, KnownObjects, ObjectMetadata, ObjectRequest, ObservedObject,
    OwnerOfObject, Report, RequestError, WatchRequest, WatchedKind, exchange,
};
use manifest::{Object, PodCount};
use policy::rule::Cidr;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::JoinSet;

/// How often time alone may cause a write.
const TICK: Duration = Duration::from_secs(1);
/// How many writes wait for their answers at a time.
const IN_FLIGHT: usize = 16;

/// The watched kinds, in the order of their indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Namespaces,
    Pods,
    Identities,
    Endpoints,
    Nodes,
    CiliumNodes,
}

const KINDS: [Kind; 6] =
    [Kind::Namespaces, Kind::Pods, Kind::Identities, Kind::Endpoints, Kind::Nodes, Kind::CiliumNodes];

impl Kind {
    fn watched(self) -> WatchedKind {
        let core = |kind, plural, fields| kind_of("", "v1", (kind, plural), fields);
        let cilium = |kind, plural, fields| kind_of("cilium.io", "v2", (kind, plural), fields);
        let none = KeptFields::default();
        match self {
            Self::Namespaces => core("Namespace", "namespaces", none),
            Self::Pods => core(
                "Pod",
                "pods",
                KeptFields {
                    spec: &["containers", "hostNetwork", "serviceAccountName"],
                    status: &["phase"],
                    containers: true,
                    ..none
                },
            ),
            Self::Identities => cilium(
                CiliumIdentity::KIND,
                CiliumIdentity::PLURAL,
                KeptFields { whole: &["security-labels"], ..none },
            ),
            Self::Endpoints => cilium(
                CiliumEndpoint::KIND,
                CiliumEndpoint::PLURAL,
                KeptFields { status: &["identity"], ..none },
            ),
            Self::Nodes => core("Node", "nodes", KeptFields { spec: &["podCIDR", "podCIDRs"], ..none }),
            Self::CiliumNodes => {
                cilium(CiliumNode::KIND, CiliumNode::PLURAL, KeptFields { spec: &["ipam"], ..none })
            }
        }
    }
}

fn kind_of(
    group: &'static str,
    version: &'static str,
    (kind, plural): (&'static str, &'static str),
    fields: KeptFields,
) -> WatchedKind {
    let versions: &'static [&'static str] = if version == "v1" { &["v1"] } else { &["v2"] };
    WatchedKind { group, versions, kind, plural, field_selector: None, fields }
}

/// A node as the operator reads it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NodeText {
    metadata: ObjectMetadata,
    spec: NodeSpecText,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NodeSpecText {
    #[serde(rename = "podCIDRs")]
    pod_cidrs: Vec<String>,
}

/// What the leader knows.
struct Known {
    identities: IdentityAllocation,
    blocks: NodeBlocks,
    /// The UIDs of identities and nodes, by name.
    identity_uids: BTreeMap<u32, String>,
    node_uids: BTreeMap<String, String>,
}

/// Works until it is aborted.
pub(super) async fn run(
    client: Client,
    settings: Arc<OperatorSettings>,
    health: Arc<OperatorHealth>,
    (leadership, begin): (Arc<Leadership>, Instant),
) -> anyhow::Result<()> {
    let mut known = Known::new(&settings);
    match leadership.next_identity.load(Ordering::Relaxed) {
        0 => {}
        next => known.identities.continue_at(next),
    }
    let (send, mut events) = unbounded_channel();
    let request = |kind: &Kind| WatchRequest { kind: kind.watched(), known: KnownObjects::default() };
    let requests = KINDS.iter().map(request).collect();
    let _watches = ClusterWatches::start(settings.connection.clone(), requests, move |event| {
        // Without a receiver this operator ends.
        let _ = send.send(event);
    })?;
    let mut tick = tokio::time::interval(TICK);
    let mut writes: JoinSet<(Write, Result<(), RequestError>)> = JoinSet::new();
    let mut waiting: Vec<Write> = Vec::new();
    loop {
        tokio::select! {
            Some(event) = events.recv() => {
                known.take(event);
                while let Ok(event) = events.try_recv() {
                    known.take(event);
                }
            }
            Some(Ok((write, answer))) = writes.join_next() => known.answered(&write, answer, &health),
            _ = tick.tick() => {}
        }
        if !leadership.leads(begin) {
            waiting.clear();
            continue;
        }
        waiting.extend(known.settle(begin.elapsed()));
        while writes.len() < IN_FLIGHT
            && let Some(write) = waiting.pop()
        {
            health.writes.fetch_add(1, Ordering::Relaxed);
            let client = client.clone();
            writes.spawn(async move {
                let answer = write.send(&client).await;
                (write, answer)
            });
        }
        leadership.next_identity.store(known.identities.next(), Ordering::Relaxed);
        known.show(&health);
    }
}

/// A write with what it needs of the API server's objects.
#[derive(Clone, Debug)]
enum Write {
    Create { number: u32, labels: Arc<Labels> },
    Delete { number: u32, uid: String },
    Assign { assignment: PodBlockAssignment, uid: String },
}

impl Write {
    async fn send(&self, client: &Client) -> Result<(), RequestError> {
        match self {
            Self::Create { number, labels } => {
                let object = CiliumIdentity::new(*number, security_labels(labels), object_labels(labels));
                let object = serde_json::to_value(object).expect("an identity is JSON");
                exchange(client, &CiliumIdentity::collection(None), ObjectRequest::Create(&object)).await?;
            }
            Self::Delete { number, uid } => {
                let path = CiliumIdentity::path(None, &number.to_string());
                exchange(client, &path, ObjectRequest::Delete(uid)).await?;
            }
            Self::Assign { assignment: PodBlockAssignment { node, blocks }, uid } => {
                let owner = OwnerOfObject {
                    api_version: "v1".into(),
                    kind: "Node".into(),
                    name: node.clone(),
                    uid: uid.clone(),
                };
                let metadata = ObjectMetadata {
                    name: node.clone(),
                    owner_references: vec![owner],
                    ..ObjectMetadata::default()
                };
                let pod_cidrs = blocks.iter().map(Cidr::to_string).collect();
                let spec = CiliumNodeSpec { ipam: IpamSpec { pod_cidrs }, ..CiliumNodeSpec::default() };
                let object = serde_json::to_value(CiliumNode::new(metadata, spec)).expect("a node is JSON");
                let path = CiliumNode::path(None, node);
                exchange(client, &path, ObjectRequest::Apply(&object, WRITER)).await?;
            }
        }
        Ok(())
    }
}

impl Known {
    fn new(settings: &OperatorSettings) -> Self {
        Self {
            identities: IdentityAllocation::new(&settings.cluster_name, settings.grace),
            blocks: settings.blocks.clone(),
            identity_uids: BTreeMap::new(),
            node_uids: BTreeMap::new(),
        }
    }

    fn take(&mut self, event: ClusterEvent) {
        match event {
            ClusterEvent::Report(kind, Report::Objects(objects)) => {
                objects.into_iter().for_each(|object| self.object(KINDS[kind], object));
            }
            ClusterEvent::Report(kind, Report::Complete) => self.complete(KINDS[kind]),
            ClusterEvent::Report(kind, Report::Trouble(Some(why))) => {
                tracing::warn!("{:?} are not up to date: {why}", KINDS[kind]);
            }
            ClusterEvent::Connection(Some(why)) => tracing::warn!("no client of the API server: {why}"),
            ClusterEvent::Write(trouble) => tracing::warn!("{}: {}", trouble.path, trouble.why),
            ClusterEvent::Report(_, Report::Trouble(None)) | ClusterEvent::Connection(None) => {}
        }
    }

    fn complete(&mut self, kind: Kind) {
        match kind {
            Kind::Namespaces => self.identities.listed(ListedKind::Namespaces),
            Kind::Pods => self.identities.listed(ListedKind::Pods),
            Kind::Identities => self.identities.listed(ListedKind::Identities),
            Kind::Endpoints => self.identities.listed(ListedKind::Endpoints),
            Kind::Nodes => self.blocks.nodes_listed(),
            Kind::CiliumNodes => self.blocks.assigned_listed(),
        }
    }

    fn object(&mut self, kind: Kind, ObservedObject { name, text }: ObservedObject) {
        let text = text.as_deref();
        let (namespace, name) = (name.namespace.unwrap_or_default(), name.name);
        match kind {
            Kind::Namespaces => {
                let labels = text.and_then(namespace_labels);
                self.identities.namespace(&name, labels.as_ref());
            }
            Kind::Pods => self.identities.pod((namespace, name), text.and_then(pod_labels)),
            Kind::Identities => self.identity(&name, text),
            Kind::Endpoints => self.identities.endpoint((namespace, name), text.and_then(endpoint_identity)),
            Kind::Nodes => {
                let node = text.and_then(|text| serde_json::from_str::<NodeText>(text).ok());
                let own = node.as_ref().map(|node| blocks(&node.spec.pod_cidrs));
                match node.and_then(|node| node.metadata.uid) {
                    Some(uid) => drop(self.node_uids.insert(name.clone(), uid)),
                    None => drop(self.node_uids.remove(&name)),
                }
                self.blocks.node(&name, own);
            }
            Kind::CiliumNodes => {
                let node = text.and_then(|text| serde_json::from_str::<CiliumNode>(text).ok());
                self.blocks.assigned(&name, node.map(|node| blocks(&node.spec.ipam.pod_cidrs)));
            }
        }
    }

    fn identity(&mut self, name: &str, text: Option<&str>) {
        let Ok(number) = name.parse::<u32>() else {
            tracing::warn!("the CiliumIdentity {name} is ignored, because its name is no number");
            return;
        };
        let object = text.and_then(|text| serde_json::from_str::<CiliumIdentity>(text).ok());
        match object.as_ref().and_then(|object| object.metadata.uid.clone()) {
            Some(uid) => drop(self.identity_uids.insert(number, uid)),
            None => drop(self.identity_uids.remove(&number)),
        }
        let labels = object.map(|object| {
            let written = object.security_labels.iter().map(|(key, value)| (&**key, &**value));
            // An object that cannot be read keeps its number taken.
            from_security_labels(written).unwrap_or_default()
        });
        self.identities.identity(number, labels);
    }

    /// The writes that follow now.
    fn settle(&mut self, now: Duration) -> Vec<Write> {
        let mut writes = Vec::new();
        for write in self.identities.settle(now) {
            match write {
                IdentityWrite::Create { number, labels } => writes.push(Write::Create { number, labels }),
                IdentityWrite::Delete { number } => {
                    let uid = self.identity_uids.get(&number).cloned();
                    writes.extend(uid.map(|uid| Write::Delete { number, uid }));
                }
            }
        }
        for assignment in self.blocks.settle(now) {
            let uid = self.node_uids.get(&assignment.node).cloned();
            writes.extend(uid.map(|uid| Write::Assign { assignment, uid }));
        }
        writes
    }

    fn answered(&mut self, write: &Write, answer: Result<(), RequestError>, health: &OperatorHealth) {
        let Err(error) = answer else {
            match write {
                Write::Create { number, labels } => {
                    tracing::info!("ciliumidentity/{number} created: {labels}")
                }
                Write::Delete { number, .. } => tracing::info!("ciliumidentity/{number} deleted: unused"),
                Write::Assign { assignment, .. } => {
                    let blocks: Vec<String> = assignment.blocks.iter().map(Cidr::to_string).collect();
                    tracing::info!("ciliumnode/{} configured: {}", assignment.node, blocks.join(", "));
                }
            }
            return;
        };
        if let Write::Create { number, .. } = write
            && error.is_conflict()
        {
            self.identities.taken(*number);
            return;
        }
        health.failed_writes.fetch_add(1, Ordering::Relaxed);
        tracing::warn!("{error}");
    }

    fn show(&self, health: &OperatorHealth) {
        let (identities, unused) = self.identities.count();
        let set =
            |gauge: &std::sync::atomic::AtomicU64, value: usize| gauge.store(value as u64, Ordering::Relaxed);
        set(&health.identities, identities);
        set(&health.unused_identities, unused);
        set(&health.label_sets_without_identity, self.identities.missing());
        set(&health.nodes_without_block, self.blocks.without_block());
    }
}

/// The labels of a namespace.
fn namespace_labels(text: &str) -> Option<BTreeMap<String, String>> {
    match object_of(text)? {
        Object::Namespace(namespace) => Some(namespace.labels),
        _ => None,
    }
}

/// The labels of a pod, as its agent reads them; none for a pod that needs no identity.
fn pod_labels(text: &str) -> Option<BTreeMap<String, String>> {
    match object_of(text)? {
        Object::Workload(pod) if !pod.host_network && pod.pods != PodCount::None => Some(pod.labels),
        _ => None,
    }
}

fn object_of(text: &str) -> Option<Object> {
    let manifest = manifest::parse("", text);
    if let Err(findings) = &manifest
        && let Some(finding) = findings.first()
    {
        tracing::warn!("an object of the API server cannot be read: {finding}");
    }
    manifest.ok()?.objects.into_iter().next()
}

/// The identity that an endpoint reports.
fn endpoint_identity(text: &str) -> Option<(u32, Labels)> {
    let endpoint: CiliumEndpoint = serde_json::from_str(text).ok()?;
    let identity = endpoint.status.identity?;
    let labels = identity.labels.iter().map(|label| label.split_once('=').unwrap_or((label, "")));
    Some((identity.id, from_security_labels(labels)?))
}

fn blocks(written: &[String]) -> Vec<Cidr> {
    written.iter().filter_map(|text| block(text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use delivery::access;

    #[test]
    fn the_role_lets_the_operator_watch_its_kinds_and_no_others() {
        let kinds = KINDS.iter().map(|kind| kind.watched());
        let mut kinds: Vec<_> = kinds.map(|kind| (kind.group, kind.plural)).collect();
        kinds.push(kubernetes::DEFINITIONS);
        kinds.sort_unstable();
        assert_eq!(access::watched(access::OPERATOR), kinds);
    }

    #[test]
    fn a_pod_has_the_labels_that_its_agent_reads() {
        let pod = |more: &str| {
            format!(
                r#"{{"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "p", "namespace": "x", "labels": {{"app": "web"}}}},
                "spec": {{"containers": [{{"name": "c"}}], "serviceAccountName": "reader"{more}}}, "status": {{"phase": "Running"}}}}"#
            )
        };
        let labels = pod_labels(&pod("")).unwrap();
        assert_eq!(labels["io.cilium.k8s.policy.serviceaccount"], "reader");
        assert_eq!(pod_labels(&pod(r#", "hostNetwork": true"#)), None);
        assert_eq!(pod_labels(&pod("").replace("Running", "Succeeded")), None);
        assert_eq!(pod_labels("{}"), None);
    }

    #[test]
    fn an_endpoint_reports_its_identity() {
        let text = r#"{"apiVersion": "cilium.io/v2", "kind": "CiliumEndpoint", "metadata": {"name": "p", "namespace": "x"},
            "status": {"identity": {"id": 300, "labels": ["k8s:app=web", "k8s:empty="]}}}"#;
        let (number, labels) = endpoint_identity(text).unwrap();
        assert_eq!((number, labels.to_string().as_str()), (300, "k8s:app=web,k8s:empty"));
        assert_eq!(endpoint_identity(&text.replace("identity", "other")), None);
    }
}
