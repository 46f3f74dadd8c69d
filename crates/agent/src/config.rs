//! The configuration of an agent.

use crate::limits::ProxyLimits;
use crate::paths::Paths;
use control::MonitorAggregation;
use policy::rule::{Cidr, EnforcementMode};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The configuration of one agent. The defaults suit a single Linux host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentConfig {
    /// Name of the agent; distinguishes its pinned maps from another agent's.
    pub instance: String,
    /// Directory of the socket and of files that a reboot may delete.
    pub directory: PathBuf,
    /// Directory of files that outlast a reboot: applied manifests, copies of policy files, identities.
    pub state_directory: PathBuf,
    /// The watched directory of manifests.
    pub policies: PathBuf,
    /// Name of the node's network namespace, as in `ip netns`; none for the namespace that the agent starts in.
    pub network_namespace: Option<String>,
    /// Blocks of the addresses assigned to workloads, at most one of each family.
    pub workload_addresses: Vec<Cidr>,
    /// Further blocks from which a workload may request an address; none is assigned from them.
    pub given_addresses: Vec<Cidr>,
    /// Blocks of the addresses assigned to services, at most one of each family.
    pub service_addresses: Vec<Cidr>,
    /// Blocks of the addresses of all pods of the cluster, beside those that Node objects have. An address in them that no
    /// workload has is unknown, and not outside the cluster.
    pub pod_addresses: Vec<Cidr>,
    /// Whether packets of workloads to addresses outside the cluster get the node's address.
    pub masquerade: bool,
    /// Blocks outside the cluster whose addresses see the workloads' own addresses.
    pub unmasqueraded_addresses: Vec<Cidr>,
    /// Port of the node proxy, which listens on the loopback addresses of the node's namespace.
    pub proxy_port: u16,
    /// Limits of the node proxy.
    pub proxy: ProxyLimits,
    /// Names of the node's external interfaces, where policies that select the node are enforced; none for the
    /// interfaces of the default routes.
    pub host_devices: Vec<String>,
    /// Name of the node; none for the host name.
    pub node_name: Option<String>,
    /// Name of the cluster, by which policies select workloads; none for `default`.
    pub cluster_name: Option<String>,
    /// How the API server of the node's cluster is reached; none for a node without a cluster.
    pub kubernetes: Option<KubernetesConfig>,
    /// Labels of the node, by which policies select it.
    pub node_labels: BTreeMap<String, String>,
    /// The enforcement mode.
    pub enforcement: EnforcementMode,
    /// Whether audit mode is on: traffic that policy denies is forwarded and reported.
    pub audit: bool,
    /// How far events of forwarded packets are aggregated.
    pub monitor_aggregation: MonitorAggregation,
    /// How programs are attached to interfaces.
    pub attach: loader::Mode,
    /// Where the CNI plugin is installed for container runtimes; none where it is not.
    pub cni: Option<CniConfig>,
}

/// Where the CNI plugin is installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CniConfig {
    /// The directory of plugins' binaries.
    pub binaries: PathBuf,
    /// The directory of network configurations.
    pub configurations: PathBuf,
    /// Name of the file in it. Container runtimes use the first file by name.
    pub file: String,
    /// Name of another plugin's list in that directory, behind which only policy is added; none to make the interfaces.
    pub behind: Option<String>,
}

impl Default for CniConfig {
    fn default() -> Self {
        Self {
            binaries: "/opt/cni/bin".into(),
            configurations: "/etc/cni/net.d".into(),
            file: "05-nexin.conflist".into(),
            behind: None,
        }
    }
}

/// The API server of the node's cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KubernetesConfig {
    /// The path of a kubeconfig; none for the service account of the agent's pod.
    pub kubeconfig: Option<PathBuf>,
}

impl Default for AgentConfig {
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
            pod_addresses: Vec::new(),
            masquerade: false,
            unmasqueraded_addresses: Vec::new(),
            proxy_port: 10_000,
            proxy: ProxyLimits::default(),
            host_devices: Vec::new(),
            node_name: None,
            cluster_name: None,
            kubernetes: None,
            node_labels: BTreeMap::new(),
            enforcement: EnforcementMode::Default,
            audit: false,
            monitor_aggregation: MonitorAggregation::default(),
            attach: loader::Mode::default(),
            cni: None,
        }
    }
}

impl AgentConfig {
    /// The name of the node: the configured one, else the host's.
    pub fn name_of_node(&self) -> String {
        let host = || rustix::system::uname().nodename().to_string_lossy().into_owned();
        self.node_name.clone().unwrap_or_else(host)
    }

    /// The paths of its files.
    pub fn paths(&self) -> Paths {
        Paths::new(&self.directory, &self.instance).with_lasting(&self.state_directory)
    }
}
