//! What differs between installations.

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
