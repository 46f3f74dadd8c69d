//! Pods and the controllers that create them: the fields that policies depend on.
//!
//! Their schema is large and policies depend on little of it, so unknown fields are ignored here, unlike in policies.

use super::service::PROTOCOLS;
use crate::header::{Header, group};
use crate::item::{Fields, Item, Nulls};
use crate::object::{NamedPort, OwnerReference, Ownership, PodCount, WorkloadObject};
use crate::{address, label, name};
use identity::key;
use service::TransportProtocol;
use std::collections::BTreeMap;
use std::mem;
use std::net::IpAddr;

type Text = BTreeMap<String, String>;

/// The used fields of a pod's `spec`.
#[derive(Debug, Default)]
struct Pod {
    named_ports: Vec<NamedPort>,
    host_network: bool,
    node: Option<String>,
    account: Option<String>,
}

/// The used fields of a pod's `status`.
#[derive(Debug, Default)]
struct Status {
    addresses: Vec<IpAddr>,
    /// The addresses of its node.
    node_addresses: Vec<IpAddr>,
    /// Whether its containers have terminated for good, so that it has no address any more.
    is_over: bool,
}

impl Status {
    /// Separates the addresses of the pod from the addresses of its node. A pod of the host network has the latter.
    fn settle(&mut self, pod: &Pod) {
        if pod.host_network {
            let shared = mem::take(&mut self.addresses);
            let new = shared.into_iter().filter(|address| !self.node_addresses.contains(address));
            let new: Vec<_> = new.collect();
            self.node_addresses.extend(new);
        } else if pod.node.is_none() {
            // Without a node name the owner of the address is unknown.
            self.node_addresses.clear();
        }
    }
}

/// Reads the fields beside the header of a pod or a controller.
pub(crate) fn workload(mut fields: Fields<'_>, header: Header<'_>) -> Option<WorkloadObject> {
    let (spec, status) = (fields.require("spec"), fields.take("status"));
    fields.finish();
    let mut spec = spec?.fields(Nulls::Absent)?;
    let mut status =
        status.filter(|_| header.kind == "Pod").map(|item| self::status(&item)).unwrap_or_default();
    let (pods, labels, pod) = match header.kind {
        "Pod" => {
            let pods = if status.is_over { PodCount::None } else { PodCount::One };
            (
                Some(pods),
                own_labels(header.labels.clone(), header.labels_given.as_ref()),
                self::pod(&mut spec),
            )
        }
        "CronJob" => {
            let (pods, labels, pod) = cron_job(&mut spec)?;
            (pods, labels, pod)
        }
        "Job" => {
            let (pods, mut labels, pod) = job(&mut spec);
            // The job controller labels its pods with the job's name.
            for (key, value) in
                ["job-name", "batch.kubernetes.io/job-name"].into_iter().zip([&header.name; 2])
            {
                value.iter().for_each(|name| drop(labels.insert(key.to_owned(), (*name).clone())));
            }
            (pods, labels, pod)
        }
        kind => {
            let replicas = spec.take("replicas");
            let (labels, pod) = template(&mut spec, kind);
            // Without `replicas` another controller scales it; a DaemonSet has a pod on each node.
            let pods = replicas
                .filter(|_| kind != "DaemonSet")
                .map_or(Some(PodCount::Several), |item| number(&item));
            (pods, labels, pod)
        }
    };
    status.settle(&pod);
    let ownership = ownership(&header);
    let mut labels = labels;
    if let Some(account) = pod.account.filter(|account| !matches!(account.as_str(), "" | key::DEFAULT)) {
        labels.insert(key::SERVICE_ACCOUNT.to_owned(), account);
    }
    Some(WorkloadObject {
        namespace: header.namespace,
        name: header.name?,
        labels,
        pods: pods?,
        named_ports: pod.named_ports,
        addresses: status.addresses,
        host_network: pod.host_network,
        node: pod.node,
        node_addresses: status.node_addresses,
        ownership,
    })
}

fn number(item: &Item<'_>) -> Option<PodCount> {
    item.integer(0..=i64::from(u32::MAX)).map(PodCount::of)
}

/// Reads the `spec` of a job: it has `parallelism` pods at a time, but no more than `completions`.
fn job(spec: &mut Fields<'_>) -> (Option<PodCount>, Text, Pod) {
    let (parallelism, completions) = (spec.take("parallelism"), spec.take("completions"));
    let suspended = spec.take("suspend").and_then(|item| item.boolean());
    let (labels, pod) = template(spec, "Job");
    let limit = |item: Option<Item<'_>>, absent| {
        item.map_or(Some(absent), |item| item.integer::<u32>(0..=i64::from(u32::MAX)))
    };
    let (parallelism, completions) = (limit(parallelism, 1), limit(completions, u32::MAX));
    let pods = parallelism.zip(completions).map(|(one, other)| PodCount::of(one.min(other)));
    (pods.map(|pods| if suspended == Some(true) { PodCount::None } else { pods }), labels, pod)
}

/// Reads the `spec` of a CronJob. Unless the policy forbids it, two runs may overlap.
fn cron_job(spec: &mut Fields<'_>) -> Option<(Option<PodCount>, Text, Pod)> {
    let (policy, suspended) = (spec.take("concurrencyPolicy"), spec.take("suspend"));
    let overlaps = policy.is_none_or(|item| !matches!(item.text(), Some("Forbid" | "Replace")));
    let mut fields = spec.require("jobTemplate")?.fields(Nulls::Absent)?;
    let mut inner = fields.require("spec")?.fields(Nulls::Absent)?;
    let (pods, labels, pod) = job(&mut inner);
    let pods = pods.map(|pods| match pods {
        _ if suspended.and_then(|item| item.boolean()) == Some(true) => PodCount::None,
        PodCount::One if overlaps => PodCount::Several,
        pods => pods,
    });
    Some((pods, labels, pod))
}

/// The labels and the pod of `template`. Its labels must match `selector`; a job's selector is set by the cluster.
fn template(spec: &mut Fields<'_>, kind: &str) -> (Text, Pod) {
    let is_job = kind == "Job";
    let selector = match kind {
        "Job" => None,
        "ReplicationController" => spec.take("selector"),
        _ => spec.require("selector").and_then(|item| item.fields(Nulls::Absent)?.take("matchLabels")),
    };
    let Some(template) = spec.require("template") else { return Default::default() };
    let Some(mut fields) = template.fields(Nulls::Absent) else { return Default::default() };
    let metadata = if is_job { fields.take("metadata") } else { fields.require("metadata") };
    let pod = fields.require("spec").and_then(|item| item.fields(Nulls::Absent));
    let given = metadata.and_then(|item| {
        let mut fields = item.fields(Nulls::Absent)?;
        if is_job { fields.take("labels") } else { fields.require("labels") }
    });
    let labels = given.as_ref().map(label::read).unwrap_or_default();
    for (key, value) in selector.iter().flat_map(Item::entries) {
        if value.text().is_some_and(|text| labels.get(key).map(String::as_str) != Some(text)) {
            value.error("the pods of `template` do not have this label");
        }
    }
    (own_labels(labels, given.as_ref()), pod.map(|mut pod| self::pod(&mut pod)).unwrap_or_default())
}

/// The labels without those that only the cluster may set; `given` is their item.
fn own_labels(labels: Text, given: Option<&Item<'_>>) -> Text {
    match given {
        Some(item) => label::own(labels, item),
        None => labels,
    }
}

/// Reads the `spec` of a pod.
fn pod(spec: &mut Fields<'_>) -> Pod {
    let node = spec.take("nodeName").and_then(|item| item.text()).filter(|name| !name.is_empty());
    let (account, old) = (spec.take("serviceAccountName"), spec.take("serviceAccount"));
    Pod {
        host_network: spec.take("hostNetwork").and_then(|item| item.boolean()).unwrap_or_default(),
        node: node.map(str::to_owned),
        account: account.or(old).and_then(|item| item.text()).map(str::to_owned),
        named_ports: containers(spec),
    }
}

/// Reads the `status` of a pod.
fn status(item: &Item<'_>) -> Status {
    let Some(mut fields) = item.fields(Nulls::Absent) else { return Status::default() };
    let phase = fields.take("phase").and_then(|item| item.text());
    let is_over = matches!(phase, Some("Succeeded" | "Failed"));
    let addresses = if is_over { Vec::new() } else { self::addresses(&mut fields, "podIP", "podIPs") };
    Status { addresses, node_addresses: self::addresses(&mut fields, "hostIP", "hostIPs"), is_over }
}

/// The addresses of the list, or the one of the older field. An empty address is not assigned yet.
fn addresses(fields: &mut Fields<'_>, one: &'static str, many: &'static str) -> Vec<IpAddr> {
    let (one, many) = (fields.take(one), fields.take(many));
    let many = many.iter().flat_map(Item::list).filter_map(|item| item.fields(Nulls::Absent)?.require("ip"));
    let mut given: Vec<Item<'_>> = many.collect();
    if given.is_empty() {
        given.extend(one);
    }
    let is_filled = |item: &&Item<'_>| !(item.is_text() && item.text() == Some(""));
    given.iter().filter(is_filled).filter_map(address::one).collect()
}

/// The named ports of containers and of sidecars.
fn containers(pod: &mut Fields<'_>) -> Vec<NamedPort> {
    let (containers, before) = (pod.require("containers"), pod.take("initContainers"));
    let mut all = containers.iter().flat_map(Item::list).collect::<Vec<_>>();
    all.extend(before.iter().flat_map(Item::list).filter(is_sidecar));
    let ports = all.iter().filter_map(|item| item.fields(Nulls::Absent)?.take("ports"));
    ports.flat_map(|ports| ports.list()).filter_map(|item| port(&item)).collect()
}

fn is_sidecar(item: &Item<'_>) -> bool {
    let policy = item.fields(Nulls::Absent).and_then(|mut fields| fields.take("restartPolicy"));
    policy.and_then(|item| item.text()) == Some("Always")
}

fn port(item: &Item<'_>) -> Option<NamedPort> {
    let mut fields = item.fields(Nulls::Absent)?;
    let (name, port) = (fields.take("name"), fields.require("containerPort"));
    let protocol = fields.take("protocol");
    let protocol = protocol.map_or(Some(TransportProtocol::Tcp), |item| item.one_of("protocol", PROTOCOLS));
    let port = port.and_then(|item| item.integer(1..=65_535));
    let name = name.and_then(|item| name::port(&item));
    Some(NamedPort { name: name?, protocol: protocol?, port: port? })
}

/// The kind, UID and owners of an object, from its header.
fn ownership(header: &Header<'_>) -> Ownership {
    let owner = |item: Item<'_>| {
        let mut fields = item.fields(Nulls::Absent)?;
        let [version, kind, name] = ["apiVersion", "kind", "name"].map(|name| fields.require(name));
        let uid = fields.take("uid").and_then(|item| item.text());
        Some(OwnerReference {
            group: group(version?.text()?).to_owned(),
            kind: kind?.text()?.to_owned(),
            name: name?.text()?.to_owned(),
            uid: uid.map(str::to_owned),
        })
    };
    Ownership {
        group: group(header.api_version).to_owned(),
        kind: header.kind.to_owned(),
        uid: header.uid.map(str::to_owned),
        owners: header.owners.iter().flat_map(Item::list).filter_map(owner).collect(),
    }
}
