//! The state of an installation in a cluster, from what the API server has; no agent is connected to.

use super::kinds::kinds;
use crate::outcome::BadInput;
use kubernetes::{ClusterObject, UserConnection, snapshot};
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// How many names a line shows.
const SHOWN: usize = 5;

/// The state of an installation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct ClusterStatus {
    /// The agents.
    pub(super) agents: Replicas,
    /// The operators.
    pub(super) operators: Replicas,
    /// The pod of the operator that leads.
    pub(super) leader: Option<String>,
    /// The number of nodes.
    pub(super) nodes: usize,
    /// The number of policies of each kind.
    pub(super) policies: BTreeMap<&'static str, usize>,
    /// The number of CiliumEndpoints.
    pub(super) endpoints: usize,
    /// The number of CiliumIdentities.
    pub(super) identities: usize,
    /// What differs from a usual installation, and is no problem.
    pub(super) notes: Vec<String>,
    /// What is wrong, each in a sentence.
    pub(super) problems: Vec<String>,
}

/// Pods of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Replicas {
    /// The number that are to run.
    pub(super) desired: u64,
    /// The number that are ready.
    pub(super) ready: u64,
    /// The number that run the current version of their object.
    pub(super) updated: u64,
    /// Their image.
    pub(super) image: String,
}

/// The objects of a cluster, by their kinds.
#[derive(Debug, Default)]
struct Objects(BTreeMap<&'static str, Vec<Value>>);

/// Reads the state. Waits for at most half a minute for each answer.
pub(super) fn read(connection: &UserConnection) -> anyhow::Result<ClusterStatus> {
    let objects = snapshot(connection, kinds()).map_err(|error| BadInput(error.to_string()))?;
    Ok(status(&Objects::new(objects)?))
}

/// The state that the objects show.
fn status(objects: &Objects) -> ClusterStatus {
    let counted = objects.0.keys().copied().filter(|kind| kind.ends_with("Policy"));
    let mut status = ClusterStatus {
        nodes: objects.of("Node").len(),
        policies: counted
            .map(|kind| (kind, objects.of(kind).len()))
            .filter(|(_, count)| *count > 0)
            .collect(),
        endpoints: objects.of("CiliumEndpoint").len(),
        identities: objects.of("CiliumIdentity").len(),
        ..ClusterStatus::default()
    };
    let Some(agents) = objects.installed("DaemonSet") else {
        status.problems.push("Nexin is not installed in this cluster; install it: nexin install".to_owned());
        return status;
    };
    status.agents = Replicas {
        desired: number(&agents["status"]["desiredNumberScheduled"]),
        ready: number(&agents["status"]["numberReady"]),
        updated: number(&agents["status"]["updatedNumberScheduled"]),
        image: image(agents),
    };
    judge_agents(objects, agents, &mut status);
    judge_operators(objects, &mut status);
    judge_definitions(objects, &mut status);
    judge_policies(objects, &mut status);
    judge_pods(objects, &mut status);
    status
}

/// Each node has a ready agent, all of one version.
fn judge_agents(objects: &Objects, agents: &Value, status: &mut ClusterStatus) {
    let labels = &agents["spec"]["selector"]["matchLabels"];
    let pods: Vec<&Value> = objects.of("Pod").iter().filter(|pod| has_labels(pod, labels)).collect();
    for node in objects.of("Node").iter().map(name) {
        let Some(agent) = pods.iter().find(|pod| text(&pod["spec"]["nodeName"]) == node) else {
            let problem =
                format!("node {node} has no agent: no new pod gets a network, and policy stays as it was");
            status.problems.push(problem);
            continue;
        };
        if !is_ready(agent) {
            status
                .problems
                .push(format!("the agent of node {node} is not ready: {}", objects.why_unready(agent)));
        }
    }
    if status.agents.updated < status.agents.desired {
        let Replicas { updated, desired, .. } = status.agents;
        status
            .notes
            .push(format!("an update of the agents is in progress: {updated} of {desired} are updated"));
    }
}

/// An operator leads.
fn judge_operators(objects: &Objects, status: &mut ClusterStatus) {
    let Some(operators) = objects.installed("Deployment") else {
        status
            .problems
            .push("there is no operator: new sets of labels have numbers of their nodes only".to_owned());
        return;
    };
    status.operators = Replicas {
        desired: number(&operators["spec"]["replicas"]),
        ready: number(&operators["status"]["readyReplicas"]),
        updated: number(&operators["status"]["updatedReplicas"]),
        image: image(operators),
    };
    let lease = objects.of("Lease").iter().find(|lease| name(lease) == name(operators));
    let holder =
        lease.map(|lease| text(&lease["spec"]["holderIdentity"])).filter(|holder| !holder.is_empty());
    // The holder's name may have a suffix that tells two processes of one pod apart.
    let labels = &operators["spec"]["selector"]["matchLabels"];
    let mut pods = objects.of("Pod").iter().filter(|pod| has_labels(pod, labels));
    let leader = holder.and_then(|holder| pods.find(|pod| holder.starts_with(name(pod))));
    status.leader = leader.map(|pod| name(pod).to_owned());
    let Replicas { ready, desired, .. } = status.operators;
    if leader.is_none() {
        status.problems.push(
            "no operator leads: new sets of labels have numbers of their nodes only, until one does"
                .to_owned(),
        );
    } else if ready < desired {
        status.notes.push(format!("{ready} of {desired} operators are ready"));
    }
}

/// The definitions of custom resources are there, and as this program makes them.
fn judge_definitions(objects: &Objects, status: &mut ClusterStatus) {
    let found: BTreeSet<&str> = objects.of("CustomResourceDefinition").iter().map(name).collect();
    let missing: Vec<&str> =
        delivery::access::DEFINITIONS.iter().copied().filter(|name| !found.contains(name)).collect();
    if !missing.is_empty() {
        let problem = format!("definitions are missing, which an operator installs: {}", missing.join(", "));
        status.problems.push(problem);
    }
}

/// The agents accept each policy.
fn judge_policies(objects: &Objects, status: &mut ClusterStatus) {
    for (kind, policies) in objects.0.iter().filter(|(kind, _)| kind.ends_with("Policy")) {
        for policy in policies {
            let conditions = policy["status"]["conditions"].as_array().into_iter().flatten();
            for condition in conditions.filter(|one| one["type"] == "Valid" && one["status"] == "False") {
                let (path, why) = (path(policy), text(&condition["message"]));
                status.problems.push(format!("{kind} {path} is not in force as written: {why}"));
            }
        }
    }
}

/// Each pod with an address of its own has an endpoint.
fn judge_pods(objects: &Objects, status: &mut ClusterStatus) {
    let endpoints: BTreeSet<String> = objects.of("CiliumEndpoint").iter().map(path).collect();
    let lacking: Vec<String> = objects
        .of("Pod")
        .iter()
        .filter(|pod| text(&pod["status"]["phase"]) == "Running" && pod["spec"]["hostNetwork"] != true)
        .filter(|pod| !text(&pod["status"]["podIP"]).is_empty())
        .map(path)
        .filter(|pod| !endpoints.contains(pod))
        .collect();
    if !lacking.is_empty() {
        let count = plural(lacking.len(), "pod");
        status.problems.push(format!(
            "{count} without an endpoint, so without policy: {}; a pod that another network plugin started must be started again",
            shown(&lacking)
        ));
    }
}

impl Objects {
    fn new(objects: Vec<ClusterObject>) -> serde_json::Result<Self> {
        let mut by_kind = BTreeMap::<_, Vec<Value>>::new();
        for object in objects {
            by_kind.entry(object.kind).or_default().push(serde_json::from_str(&object.text)?);
        }
        Ok(Self(by_kind))
    }

    fn of(&self, kind: &str) -> &[Value] {
        self.0.get(kind).map_or(&[], Vec::as_slice)
    }

    /// The object of an installation.
    fn installed(&self, kind: &str) -> Option<&Value> {
        let label = |object: &&Value| object["metadata"]["labels"]["app.kubernetes.io/part-of"] == "nexin";
        self.of(kind).iter().find(label)
    }

    /// Why a pod is not ready: the state of its container by the kubelet, else the result of its probe.
    fn why_unready(&self, pod: &Value) -> String {
        let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
        if let Some(reason) = waiting["reason"].as_str() {
            return format!("{reason}: {}", text(&waiting["message"]).trim());
        }
        let of_pod = |event: &&Value| {
            event["involvedObject"]["uid"] == pod["metadata"]["uid"] && text(&event["reason"]) == "Unhealthy"
        };
        // Times of this form have the order of their texts.
        let latest = self.of("Event").iter().filter(of_pod).max_by_key(|event| text(&event["lastTimestamp"]));
        match latest {
            Some(event) => text(&event["message"]).split_whitespace().collect::<Vec<_>>().join(" "),
            None => format!("the pod {} is {}", name(pod), text(&pod["status"]["phase"])),
        }
    }
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

fn has_labels(pod: &Value, labels: &Value) -> bool {
    let labels = labels.as_object();
    labels.is_some_and(|labels| labels.iter().all(|(key, value)| pod["metadata"]["labels"][key] == *value))
}

fn image(controller: &Value) -> String {
    text(&controller["spec"]["template"]["spec"]["containers"][0]["image"]).to_owned()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn name(object: &Value) -> &str {
    text(&object["metadata"]["name"])
}

/// The name with the namespace, if there is one.
fn path(object: &Value) -> String {
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{namespace}/{}", name(object)),
        None => name(object).to_owned(),
    }
}

/// A number with its noun.
fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// The first names of a list.
fn shown(names: &[String]) -> String {
    match names.len().saturating_sub(SHOWN) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names[..SHOWN].join(", ")),
    }
}

#[cfg(test)]
mod tests;
