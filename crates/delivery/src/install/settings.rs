//! What differs between installations.

use serde_json::json;

/// What differs between installations. Each value is text, so that a chart can have placeholders in their place.
#[derive(Clone, Debug, PartialEq, Eq)]
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
}

impl Default for InstallSettings {
    fn default() -> Self {
        Self {
            namespace: "nexin".into(),
            image: "ghcr.io/nexin-io/nexin:latest".into(),
            cluster_name: "default".into(),
            pool_v4: String::new(),
            pool_v6: String::new(),
        }
    }
}

impl InstallSettings {
    /// The settings of a chart: placeholders, which Helm replaces by its values.
    pub(crate) fn of_chart() -> Self {
        let value = |name: &str| format!("{{{{ .Values.{name} }}}}");
        Self {
            namespace: "{{ .Release.Namespace }}".into(),
            image: value("image"),
            cluster_name: value("clusterName"),
            pool_v4: value("pools.ipv4"),
            pool_v6: value("pools.ipv6"),
        }
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
