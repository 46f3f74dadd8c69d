//! The condition `Valid` in the status of policies: whether a policy is in force, or why not.
//!
//! Every node comes to the same result, and one of them writes it: the nodes have an order for each policy, by a hash. The first
//! writes at once, and each following one only if its predecessors did not.

use kubernetes::{ObjectWrite, ResourceName, WriteAction};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long a node waits for each node before it in the order.
const TURN: Duration = Duration::from_secs(15);
/// How many nodes may write: more would not help where these cannot.
const WRITERS: usize = 4;
/// The message of a policy in force, in the incumbent's words.
const SUCCEEDED: &str = "Policy validation succeeded";
/// The type of the condition.
const VALID: &str = "Valid";

/// The kinds whose status has conditions, with their names in paths. A NetworkPolicy has no status.
const KINDS: [(&str, &str); 5] = [
    ("CiliumNetworkPolicy", "ciliumnetworkpolicies"),
    ("CiliumClusterwideNetworkPolicy", "ciliumclusterwidenetworkpolicies"),
    ("ClusterNetworkPolicy", "clusternetworkpolicies"),
    ("AdminNetworkPolicy", "adminnetworkpolicies"),
    ("BaselineAdminNetworkPolicy", "baselineadminnetworkpolicies"),
];

/// The policies whose conditions are not as they should be.
#[derive(Debug, Default)]
pub(crate) struct PolicyConditions {
    due: BTreeMap<(&'static str, ResourceName), DueCondition>,
}

#[derive(Debug)]
struct DueCondition {
    uid: String,
    write: ObjectWrite,
    since: Instant,
    /// This node's place in the order, once it is known.
    at: Option<Instant>,
}

/// What is read of a policy object.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PolicyObject {
    /// In which version of the kind it was read, and its status is written.
    api_version: String,
    metadata: PolicyMetadata,
    status: PolicyStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PolicyMetadata {
    uid: String,
    generation: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PolicyStatus {
    conditions: Vec<PolicyCondition>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PolicyCondition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    reason: String,
    message: String,
    observed_generation: i64,
    last_transition_time: String,
}

impl PolicyConditions {
    /// Takes over what the API server shows of an object, and whether the object is in force, or why not.
    pub(crate) fn observe(
        &mut self,
        (kind, name): (&str, &ResourceName),
        text: Option<&str>,
        validity: Result<(), String>,
        now: SystemTime,
    ) {
        let Some((kind, plural)) = KINDS.into_iter().find(|(known, _)| *known == kind) else { return };
        let key = (kind, name.clone());
        let object = text.and_then(|text| serde_json::from_str::<PolicyObject>(text).ok());
        let wanted = object.as_ref().and_then(|object| wanted(object, validity, now));
        let Some((object, condition)) = object.zip(wanted) else {
            self.due.remove(&key);
            return;
        };
        let write = ObjectWrite {
            path: path((&object.api_version, plural), name),
            action: WriteAction::Apply(body((&object.api_version, kind), name, &condition)),
        };
        let uid = object.metadata.uid;
        self.due.insert(key, DueCondition { uid, write, since: Instant::now(), at: None });
    }

    /// Whether every condition is as it should be.
    pub(crate) fn are_done(&self) -> bool {
        self.due.is_empty()
    }

    /// The writes that are this node's turn, and when the next one is.
    pub(crate) fn writes(&mut self, own: &str, nodes: &[String]) -> (Vec<ObjectWrite>, Option<Instant>) {
        let now = Instant::now();
        for due in self.due.values_mut() {
            let place = place(&due.uid, own, nodes);
            due.at = (place < WRITERS).then(|| due.since + TURN * place as u32);
        }
        let is_due = |due: &DueCondition| due.at.is_some_and(|at| at <= now);
        let ready = self.due.extract_if(.., |_, due| is_due(due)).map(|(_, due)| due.write);
        let ready = ready.collect();
        (ready, self.due.values().filter_map(|due| due.at).min())
    }
}

/// The condition that an object should have; none if it has that.
fn wanted(object: &PolicyObject, validity: Result<(), String>, now: SystemTime) -> Option<PolicyCondition> {
    let status = if validity.is_ok() { "True" } else { "False" };
    let generation = object.metadata.generation;
    let present = object.status.conditions.iter().find(|condition| condition.kind == VALID);
    if present.is_some_and(|present| present.status == status && present.observed_generation == generation) {
        return None;
    }
    let since = present.filter(|present| present.status == status);
    let last_transition_time = match since {
        Some(present) if !present.last_transition_time.is_empty() => present.last_transition_time.clone(),
        _ => {
            let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            flow::Time(seconds * 1_000_000_000).to_string()
        }
    };
    Some(PolicyCondition {
        kind: VALID.into(),
        status: status.into(),
        reason: if validity.is_ok() { "Accepted" } else { "Invalid" }.into(),
        message: validity.err().unwrap_or_else(|| SUCCEEDED.to_owned()),
        observed_generation: generation,
        last_transition_time,
    })
}

/// The place of a node in the order of a policy.
fn place(uid: &str, own: &str, nodes: &[String]) -> usize {
    let rank = |node: &str| {
        let mut hasher = DefaultHasher::new();
        (uid, node).hash(&mut hasher);
        (hasher.finish(), node.to_owned())
    };
    let ours = rank(own);
    nodes.iter().filter(|node| *node != own && rank(node) < ours).count()
}

fn body((api_version, kind): (&str, &str), name: &ResourceName, condition: &PolicyCondition) -> String {
    let mut metadata = serde_json::json!({"name": name.name});
    if let Some(namespace) = &name.namespace {
        metadata["namespace"] = namespace.as_str().into();
    }
    serde_json::json!({
        "apiVersion": api_version,
        "kind": kind,
        "metadata": metadata,
        "status": {"conditions": [condition]},
    })
    .to_string()
}

fn path((api_version, plural): (&str, &str), name: &ResourceName) -> String {
    match &name.namespace {
        Some(namespace) => {
            format!("/apis/{api_version}/namespaces/{namespace}/{plural}/{}/status", name.name)
        }
        None => format!("/apis/{api_version}/{plural}/{}/status", name.name),
    }
}

/// The errors of a text without the name of its source and the positions in it, which the author did not write.
pub(crate) fn without_positions(source: &str, messages: &[String]) -> String {
    let message = |message: &String| {
        let rest = message.strip_prefix(source).and_then(|rest| rest.strip_prefix(':'));
        let rest = rest.map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ':'));
        rest.map_or(message.as_str(), str::trim_start).to_owned()
    };
    messages.iter().map(message).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> ResourceName {
        ResourceName { namespace: Some("shop".into()), name: "rule1".into() }
    }

    fn object(generation: i64, conditions: &str) -> String {
        format!(
            r#"{{"apiVersion": "cilium.io/v2", "metadata": {{"uid": "7", "generation": {generation}}}, "status": {{"conditions": [{conditions}]}}}}"#
        )
    }

    /// The condition that a lone node writes, as `status generation message since`.
    fn written(text: &str, validity: Result<(), String>) -> Option<String> {
        let mut conditions = PolicyConditions::default();
        let now = UNIX_EPOCH + Duration::from_secs(60);
        conditions.observe(("CiliumNetworkPolicy", &name()), Some(text), validity, now);
        let (writes, _) = conditions.writes("n1", &[]);
        let ObjectWrite { path, action: WriteAction::Apply(body) } = writes.into_iter().next()? else {
            panic!("not applied")
        };
        assert_eq!(path, "/apis/cilium.io/v2/namespaces/shop/ciliumnetworkpolicies/rule1/status");
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        let condition: PolicyCondition =
            serde_json::from_value(body["status"]["conditions"][0].clone()).unwrap();
        let PolicyCondition { status, observed_generation, message, last_transition_time, .. } = condition;
        Some(format!("{status} {observed_generation} {message} {last_transition_time}"))
    }

    #[test]
    fn a_condition_is_written_when_it_is_missing_or_of_an_earlier_generation() {
        const NOW: &str = "1970-01-01T00:01:00.000000000Z";
        let valid = |generation| {
            format!(
                r#"{{"type": "Valid", "status": "True", "observedGeneration": {generation}, "lastTransitionTime": "then"}}"#
            )
        };
        let why = || Err("spec.ingres: unknown field".to_owned());
        let check =
            |text: &str, validity, expected: Option<String>| assert_eq!(written(text, validity), expected);
        check(&object(1, ""), Ok(()), Some(format!("True 1 {SUCCEEDED} {NOW}")));
        check(&object(2, &valid(1)), Ok(()), Some(format!("True 2 {SUCCEEDED} then")));
        check(&object(2, &valid(2)), Ok(()), None);
        check(&object(2, &valid(2)), why(), Some(format!("False 2 spec.ingres: unknown field {NOW}")));
    }

    #[test]
    fn a_condition_is_written_in_the_version_in_which_the_policy_was_read() {
        let name = ResourceName { namespace: None, name: "rule1".into() };
        for (kind, plural, version) in [
            ("ClusterNetworkPolicy", "clusternetworkpolicies", "v1alpha2"),
            ("ClusterNetworkPolicy", "clusternetworkpolicies", "v1beta1"),
            ("AdminNetworkPolicy", "adminnetworkpolicies", "v1alpha1"),
            ("BaselineAdminNetworkPolicy", "baselineadminnetworkpolicies", "v1alpha1"),
        ] {
            let version = format!("policy.networking.k8s.io/{version}");
            let text = object(1, "").replace("cilium.io/v2", &version);
            let mut conditions = PolicyConditions::default();
            conditions.observe((kind, &name), Some(&text), Err("spec.tier: is wrong".into()), UNIX_EPOCH);
            let write = conditions.writes("n1", &[]).0.pop().unwrap();
            assert_eq!(write.path, format!("/apis/{version}/{plural}/rule1/status"));
            let WriteAction::Apply(body) = write.action else { panic!("not applied") };
            let body: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!((&body["apiVersion"], &body["kind"]), (&version.into(), &kind.into()));
            let condition = &body["status"]["conditions"][0];
            assert_eq!((&condition["status"], &condition["reason"]), (&"False".into(), &"Invalid".into()));
        }
    }

    #[test]
    fn one_node_writes_first_and_the_others_wait_for_it() {
        let nodes: Vec<String> = (1..=10).map(|number| format!("n{number}")).collect();
        let mut places: Vec<usize> = nodes.iter().map(|own| place("7", own, &nodes)).collect();
        places.sort_unstable();
        assert_eq!(places, (0..10).collect::<Vec<_>>());
        let first = nodes.iter().find(|own| place("7", own, &nodes) == 0).unwrap();
        for own in &nodes {
            let mut conditions = PolicyConditions::default();
            let of = ("CiliumNetworkPolicy", &name());
            conditions.observe(of, Some(&object(1, "")), Ok(()), UNIX_EPOCH);
            let (writes, next) = conditions.writes(own, &nodes);
            assert_eq!(writes.len(), usize::from(own == first));
            assert_eq!(next.is_some(), (1..WRITERS).contains(&place("7", own, &nodes)));
            // Another node wrote it.
            let done = r#"{"type": "Valid", "status": "True", "observedGeneration": 1}"#;
            conditions.observe(of, Some(&object(1, done)), Ok(()), UNIX_EPOCH);
            assert_eq!(conditions.writes(own, &nodes), (Vec::new(), None));
        }
    }

    #[test]
    fn a_message_has_the_field_and_no_position() {
        let messages = ["kubernetes:A/b/c:1:367: spec.x: is wrong".to_owned(), "other".to_owned()];
        assert_eq!(without_positions("kubernetes:A/b/c", &messages), "spec.x: is wrong; other");
    }
}
