//! The operator: a Deployment with its permissions, and the webhook that it serves.

use super::component::{account, clusterwide, from_field, labels, metadata, role, subject};
use super::settings::InstallSettings;
use crate::access::{self, Access, OPERATOR_NAME as NAME};
use serde_json::{Value, json};

/// The port of the webhook on the node.
pub const WEBHOOK_PORT: u16 = 9_443;
/// The port of `/healthz` and `/metrics` on the node's loopback address.
pub const HEALTH_PORT: u16 = 9_234;

/// The name of the webhook in its configuration.
pub const WEBHOOK_NAME: &str = "policies.nexin.io";

/// The objects of the operator.
pub(super) fn objects(settings: &InstallSettings) -> Vec<Value> {
    let mut objects = account(settings, NAME, access::OPERATOR);
    objects.extend([
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": metadata(settings, NAME),
            "rules": access::OPERATOR_AT_HOME.iter().map(Access::rule).collect::<Vec<_>>(),
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": metadata(settings, NAME),
            "roleRef": role("Role", NAME),
            "subjects": [subject(settings, NAME)],
        }),
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata(settings, NAME),
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": labels(NAME)},
                // Both replicas use the ports of their nodes: a new one starts when an old one is gone.
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
                "template": {"metadata": {"labels": labels(NAME)}, "spec": pod(settings)},
            },
        }),
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata(settings, NAME),
            "spec": {
                "selector": labels(NAME),
                "ports": [{"name": "webhook", "port": 443, "targetPort": WEBHOOK_PORT}],
            },
        }),
        webhook(settings),
    ]);
    objects
}

fn pod(settings: &InstallSettings) -> Value {
    let mut arguments = vec!["/nexin".to_owned(), "operator".to_owned()];
    arguments.extend(["--cluster-name".to_owned(), settings.cluster_name.clone()]);
    for (option, pool) in [("--pool", &settings.pool_v4), ("--pool", &settings.pool_v6)] {
        if !pool.is_empty() {
            arguments.extend([option.to_owned(), pool.clone()]);
        }
    }
    let container = json!({
        "name": "operator",
        "image": settings.image,
        "imagePullPolicy": "IfNotPresent",
        "command": arguments,
        "env": [from_field("POD_NAME", "metadata.name"), from_field("POD_NAMESPACE", "metadata.namespace")],
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "runAsUser": 65_532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "livenessProbe": probe(30),
        "readinessProbe": probe(5),
        "resources": {"requests": {"cpu": "10m", "memory": "30Mi"}},
    });
    json!({
        "serviceAccountName": NAME,
        "priorityClassName": "system-cluster-critical",
        // Nodes without a block have no pod network until the operator gives them one.
        "hostNetwork": true,
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{
            "labelSelector": {"matchLabels": labels(NAME)},
            "topologyKey": "kubernetes.io/hostname",
        }]}},
        "containers": [container],
    })
}

fn probe(period: u32) -> Value {
    json!({
        "httpGet": {"host": "127.0.0.1", "port": HEALTH_PORT, "path": "/healthz"},
        "periodSeconds": period,
        "timeoutSeconds": 3,
    })
}

/// The webhook. It fails open: what it would have refused the agents refuse too, and report it in the policy's status. The
/// operator writes `caBundle`, which is left out here so that a later apply does not remove it.
fn webhook(settings: &InstallSettings) -> Value {
    let rule = |group: &str, resources: &[&str]| {
        json!({
            "apiGroups": [group],
            "apiVersions": ["*"],
            "operations": ["CREATE", "UPDATE"],
            "resources": resources,
        })
    };
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": clusterwide(NAME),
        "webhooks": [{
            "name": WEBHOOK_NAME,
            "admissionReviewVersions": ["v1"],
            "clientConfig": {"service": {"namespace": settings.namespace, "name": NAME, "path": "/review", "port": 443}},
            "failurePolicy": "Ignore",
            "matchPolicy": "Exact",
            "sideEffects": "None",
            "timeoutSeconds": 2,
            "rules": [
                rule("cilium.io", &["ciliumnetworkpolicies", "ciliumclusterwidenetworkpolicies", "ciliumcidrgroups"]),
                rule("networking.k8s.io", &["networkpolicies"]),
                rule(
                    "policy.networking.k8s.io",
                    &["clusternetworkpolicies", "adminnetworkpolicies", "baselineadminnetworkpolicies"],
                ),
            ],
        }],
    })
}
