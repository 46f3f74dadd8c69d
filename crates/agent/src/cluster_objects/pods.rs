//! A pod of this node, as the API server shows it.

use crate::node_pods::NodePod;
use manifest::{NamedPort, Object, WorkloadObject};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Default, Deserialize)]
#[serde(default)]
struct PodHeader {
    metadata: PodMetadata,
    status: PodStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PodMetadata {
    uid: String,
    annotations: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PodStatus {
    phase: String,
}

/// Reads a pod; none for a pod that has ended, or uses the node's network: policies see it as the node.
///
/// # Errors
/// What the text lacks.
pub(crate) fn read_pod(source: &str, text: &str) -> Result<Option<NodePod>, String> {
    let PodHeader { metadata, status } =
        serde_json::from_str(text).map_err(|error| format!("{source}: {error}"))?;
    if matches!(status.phase.as_str(), "Succeeded" | "Failed") {
        return Ok(None);
    }
    let messages = |found: Vec<manifest::Diagnostic>| {
        found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    let objects = manifest::parse(source, text).map_err(messages)?.objects;
    let Some(Object::Workload(workload)) = objects.into_iter().next() else {
        return Err(format!("{source}: is no pod"));
    };
    let WorkloadObject { namespace, name, labels, named_ports, host_network, .. } = workload;
    let port = |NamedPort { name, protocol, port }: NamedPort| {
        let protocol = abi::protocol::name(protocol.number()).unwrap_or_default();
        (name, format!("{port}/{protocol}"))
    };
    Ok((!host_network).then(|| NodePod {
        namespace,
        name,
        uid: metadata.uid,
        labels,
        annotations: metadata.annotations,
        named_ports: named_ports.into_iter().map(port).collect(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = r#"{"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web", "namespace": "shop", "uid": "7", "labels": {"app": "web"}, "annotations": {"a": "b"}},
        "spec": {"serviceAccountName": "seller", "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 80}]}]},
        "status": {"phase": "Running"}}"#;

    #[test]
    fn a_pod_has_its_labels_its_service_account_and_its_named_ports() {
        let pod = read_pod("x", POD).unwrap().unwrap();
        let labels = [("app", "web"), (identity::key::SERVICE_ACCOUNT, "seller")];
        let texts = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
        };
        let expected = NodePod {
            namespace: "shop".into(),
            name: "web".into(),
            uid: "7".into(),
            labels: texts(&labels),
            annotations: texts(&[("a", "b")]),
            named_ports: texts(&[("http", "80/TCP")]),
        };
        assert_eq!(pod, expected);
    }

    #[test]
    fn a_pod_that_has_ended_or_uses_the_nodes_network_is_no_subject() {
        assert_eq!(read_pod("x", &POD.replace("Running", "Succeeded")), Ok(None));
        assert_eq!(
            read_pod("x", &POD.replace(r#""spec": {"#, r#""spec": {"hostNetwork": true, "#)),
            Ok(None)
        );
    }
}
