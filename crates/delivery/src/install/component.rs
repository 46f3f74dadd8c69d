//! What agent and operator have in common: names, labels, service accounts.

use super::settings::InstallSettings;
use crate::access::Access;
use serde_json::{Value, json};

/// Metadata of a namespaced object of a component.
pub(super) fn metadata(settings: &InstallSettings, name: &str) -> Value {
    let mut metadata = clusterwide(name);
    metadata["namespace"] = settings.namespace.clone().into();
    metadata
}

/// Metadata of a cluster-scoped object of a component.
pub(super) fn clusterwide(name: &str) -> Value {
    json!({"name": name, "labels": labels(name)})
}

/// The labels that select the objects of a component.
pub(super) fn labels(name: &str) -> Value {
    json!({"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "nexin"})
}

/// The service account of a component, with its permissions in all namespaces.
pub(super) fn account(settings: &InstallSettings, name: &str, accesses: &[Access]) -> Vec<Value> {
    vec![
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(settings, name)}),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": clusterwide(name),
            "rules": accesses.iter().map(Access::rule).collect::<Vec<_>>(),
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": clusterwide(name),
            "roleRef": role("ClusterRole", name),
            "subjects": [subject(settings, name)],
        }),
    ]
}

/// The reference to a role.
pub(super) fn role(kind: &str, name: &str) -> Value {
    json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name})
}

/// The service account as the subject of a binding.
pub(super) fn subject(settings: &InstallSettings, name: &str) -> Value {
    json!({"kind": "ServiceAccount", "name": name, "namespace": settings.namespace})
}

/// An environment variable with a field of the pod.
pub(super) fn from_field(name: &str, path: &str) -> Value {
    json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}})
}
