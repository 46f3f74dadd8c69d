//! What can be set about an agent.

use crate::limits::ProxyLimits;
use crate::paths::Paths;
use policy::rule::{Cidr, EnforcementMode};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The settings of one agent, each with a default that suits one Linux host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Name that sets this agent's pins apart from another's.
    pub instance: String,
    /// Where it keeps its socket and what ends with the machine's run.
    pub directory: PathBuf,
    /// Where it keeps what outlasts the machine's run: what was applied, what was in force, identities.
    pub state_directory: PathBuf,
    /// Directory of manifests that is watched.
    pub policies: PathBuf,
    /// Name of the network namespace that is the node's (as of `ip netns`); none: the one it is started in.
    pub network_namespace: Option<String>,
    /// Blocks that workloads get their addresses from, at most one of each family.
    pub workload_addresses: Vec<Cidr>,
    /// Further blocks that workloads may be given addresses of on request; none is assigned from them.
    pub given_addresses: Vec<Cidr>,
    /// Blocks that services get their addresses from, at most one of each family.
    pub service_addresses: Vec<Cidr>,
    /// Port of the node proxy; it listens on loopback addresses of the node's namespace.
    pub proxy_port: u16,
    /// Limits of the node proxy.
    pub proxy: ProxyLimits,
    /// Names of the interfaces that lead out of the node, where policies that select the node are asked; with none
    /// given, those that default routes lead to.
    pub host_devices: Vec<String>,
    /// Name of the node; none: the host's.
    pub node_name: Option<String>,
    /// Name of the cluster, by which policies select workloads; none: `default`.
    pub cluster_name: Option<String>,
    /// Labels of the node, by which policies select it.
    pub node_labels: BTreeMap<String, String>,
    /// Whom policies are enforced for.
    pub enforcement: EnforcementMode,
    /// Whether what policy refuses is let through and reported.
    pub audit: bool,
    /// How programs are attached.
    pub attach: loader::Mode,
}

impl Default for Config {
    fn default() -> Self {
        let block = |address: &str, length| {
            let address = address.parse().expect("the defaults are addresses");
            Cidr::new(address, length).expect("the defaults are blocks")
        };
        Self {
            instance: "node".into(),
            directory: "/run/nexin".into(),
            state_directory: "/var/lib/nexin".into(),
            policies: "/etc/nexin/policies".into(),
            network_namespace: None,
            workload_addresses: vec![block("10.244.0.0", 16), block("fd00:10:244::", 64)],
            given_addresses: Vec::new(),
            service_addresses: vec![block("10.96.0.0", 16), block("fd00:10:96::", 112)],
            proxy_port: 10_000,
            proxy: ProxyLimits::default(),
            host_devices: Vec::new(),
            node_name: None,
            cluster_name: None,
            node_labels: BTreeMap::new(),
            enforcement: EnforcementMode::Default,
            audit: false,
            attach: loader::Mode::default(),
        }
    }
}

impl Config {
    /// Where its files are.
    pub fn paths(&self) -> Paths {
        Paths::new(&self.directory, &self.instance).with_lasting(&self.state_directory)
    }
}
