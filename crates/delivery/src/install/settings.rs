//! What differs between installations.

use serde_json::{Value, json};

/// What differs between installations. A value may be text in place of what it stands for, so that a chart can have placeholders.
#[derive(Clone, Debug, PartialEq)]
pub struct InstallSettings {
    /// The namespace of agents and operator.
    pub namespace: String,
    /// The image of both.
    pub image: String,
    /// The name of the cluster.
    pub cluster_name: String,
    /// The IPv4 block that the operator cuts into blocks of nodes; empty where the controller manager assigns them.
    pub pool_v4: String,
    /// The IPv6 block.
    pub pool_v6: String,
    /// Whether packets from pods to addresses outside get the node's address.
    pub masquerade: Value,
    /// Whether packets pass that policy denies; the agent reports them.
    pub audit: Value,
    /// The `cni` object of the agent's configuration.
    pub cni: Value,
    /// The labels of the nodes that get an agent; an empty object means all nodes.
    pub node_selector: Value,
}

impl Default for InstallSettings {
    fn default() -> Self {
        Self {
            namespace: "nexin".into(),
            image: "ghcr.io/nexin-io/nexin:latest".into(),
            cluster_name: "default".into(),
            pool_v4: String::new(),
            pool_v6: String::new(),
            masquerade: true.into(),
            audit: false.into(),
            cni: json!({}),
            node_selector: json!({}),
        }
    }
}

impl InstallSettings {
    /// The settings of a chart: placeholders, which Helm replaces by its values.
    pub(crate) fn of_chart() -> Self {
        let value = |name: &str| format!("{{{{ .Values.{name} }}}}");
        let object = |name: &str| Value::from(format!("{{{{ .Values.{name} | toJson }}}}"));
        Self {
            namespace: "{{ .Release.Namespace }}".into(),
            image: value("image"),
            cluster_name: value("clusterName"),
            pool_v4: value("pools.ipv4"),
            pool_v6: value("pools.ipv6"),
            masquerade: object("masquerade"),
            audit: object("policyAuditMode"),
            cni: object("cni"),
            node_selector: object("nodeSelector"),
        }
    }

    /// The values of a chart, by the names of its placeholders.
    pub(crate) fn chart_values(&self) -> Value {
        json!({
            "image": self.image,
            "clusterName": self.cluster_name,
            "pools": {"ipv4": self.pool_v4, "ipv6": self.pool_v6},
            "masquerade": self.masquerade,
            "policyAuditMode": self.audit,
            "cni": self.cni,
            "nodeSelector": self.node_selector,
        })
    }

    /// The blocks of all pods, as JSON.
    pub(crate) fn pod_addresses(&self) -> String {
        if *self == Self::of_chart() {
            return "{{ list .Values.pools.ipv4 .Values.pools.ipv6 | compact | toJson }}".into();
        }
        let pools = [&self.pool_v4, &self.pool_v6].into_iter().filter(|pool| !pool.is_empty());
        json!(pools.collect::<Vec<_>>()).to_string()
    }
}
