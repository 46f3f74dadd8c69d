//! The agent: a DaemonSet with its configuration and permissions.

use super::component::{account, from_field, labels, metadata};
use super::settings::InstallSettings;
use crate::access;
use serde_json::{Value, json};

const NAME: &str = "nexin-agent";
/// The directory of the agent's configuration.
const CONFIG: &str = "/etc/nexin/cluster";

/// A directory of the node that the agent uses, at the same place in its container.
struct HostDirectory {
    name: &'static str,
    path: &'static str,
    /// Whether the node's later mounts appear in the container.
    follows_mounts: bool,
}

const DIRECTORIES: &[HostDirectory] = &[
    HostDirectory { name: "run", path: "/run/nexin", follows_mounts: false },
    HostDirectory { name: "state", path: "/var/lib/nexin", follows_mounts: false },
    HostDirectory { name: "bpf", path: "/sys/fs/bpf", follows_mounts: true },
    // The runtime makes a network namespace for each pod.
    HostDirectory { name: "namespaces", path: "/run/netns", follows_mounts: true },
    HostDirectory { name: "namespaces-of-runtime", path: "/var/run/netns", follows_mounts: true },
    // The agent installs the plugin, and its configuration once it can answer.
    HostDirectory { name: "cni-programs", path: "/opt/cni/bin", follows_mounts: false },
    HostDirectory { name: "cni-configuration", path: "/etc/cni/net.d", follows_mounts: false },
];

/// The objects of the agent.
pub(super) fn objects(settings: &InstallSettings) -> Vec<Value> {
    let mut objects = account(settings, NAME, access::AGENT);
    objects.push(json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(settings, NAME),
        "data": {"agent.json": configuration(settings)},
    }));
    objects.push(json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": metadata(settings, NAME),
        "spec": {
            "selector": {"matchLabels": labels(NAME)},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
            "template": {
                "metadata": {
                    "labels": labels(NAME),
                    // Another configuration makes other pods, which replace those that read the one before.
                    "annotations": {"nexin.io/configuration": configuration(settings)},
                },
                "spec": pod(settings),
            },
        },
    }));
    objects
}

/// The configuration; the name of the node comes from the environment. It is text, so that a chart can have placeholders.
fn configuration(settings: &InstallSettings) -> String {
    let json = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let fields = [
        ("kubernetes", "{}".to_owned()),
        ("clusterName", Value::from(settings.cluster_name.clone()).to_string()),
        ("masquerade", json(&settings.masquerade)),
        ("policyAuditMode", json(&settings.audit)),
        ("cni", json(&settings.cni)),
        ("podAddresses", settings.pod_addresses()),
    ];
    let lines: Vec<String> = fields.iter().map(|(name, value)| format!("  \"{name}\": {value}")).collect();
    format!("{{\n{}\n}}\n", lines.join(",\n"))
}

fn pod(settings: &InstallSettings) -> Value {
    let host = DIRECTORIES.iter().map(|directory| {
        json!({
            "name": directory.name,
            "hostPath": {"path": directory.path, "type": "DirectoryOrCreate"},
        })
    });
    let config = json!({"name": "configuration", "configMap": {"name": NAME}});
    let mut pod = json!({
        "serviceAccountName": NAME,
        "priorityClassName": "system-node-critical",
        // The agent starts before its node has a pod network, and judges the processes of the node.
        "hostNetwork": true,
        "hostPID": true,
        "tolerations": [{"operator": "Exists"}],
        // What is in the kernel goes on while the agent is away.
        "terminationGracePeriodSeconds": 5,
        "containers": [container(settings)],
        "volumes": host.chain([config]).collect::<Vec<_>>(),
    });
    if settings.node_selector != json!({}) {
        pod["nodeSelector"] = settings.node_selector.clone();
    }
    pod
}

fn container(settings: &InstallSettings) -> Value {
    let host = DIRECTORIES.iter().map(|directory| {
        let mut mount = json!({"name": directory.name, "mountPath": directory.path});
        if directory.follows_mounts {
            mount["mountPropagation"] = "HostToContainer".into();
        }
        mount
    });
    let config = json!({"name": "configuration", "mountPath": CONFIG, "readOnly": true});
    json!({
        "name": "agent",
        "image": settings.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/nexin", "agent", "--config", format!("{CONFIG}/agent.json")],
        "env": [from_field("NODE_NAME", "spec.nodeName")],
        "securityContext": {"privileged": true},
        "readinessProbe": {
            // What it prints is in the pod's events.
            "exec": {"command": ["/nexin", "status", "--problems"]},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
        },
        "resources": {"requests": {"cpu": "100m", "memory": "80Mi"}},
        "volumeMounts": host.chain([config]).collect::<Vec<_>>(),
    })
}
