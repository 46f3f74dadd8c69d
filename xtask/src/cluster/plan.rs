//! The plan of a cluster: its machines, their addresses, and where their files are.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The directory of all clusters.
const STATE: &str = "/var/tmp/nexin-cluster";
/// What the names of the cluster's namespaces and cgroups begin with; the cluster's name follows.
const PREFIX: &str = "nexin-cluster-";
/// The most nodes: a node's number is part of its addresses.
const MOST_NODES: u8 = 99;

/// The addresses of the control plane, of all pods, and of services.
pub(super) const PLANE: [&str; 2] = ["10.90.0.1", "fd00:90::1"];
pub(super) const PODS: &str = "10.91.0.0/16,fd00:91::/48";
pub(super) const SERVICES: &str = "10.96.0.0/16,fd00:96::/112";

/// The address of the API server.
pub(super) fn server() -> String {
    format!("https://{}:6443", PLANE[0])
}

/// A cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) name: Name,
    pub(super) nodes: u8,
    pub(super) network: Network,
}

/// The name of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name(String);

/// The plugin that connects the pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Network {
    /// The reference plugins, with routes between the nodes and no policy.
    Bridge,
    /// Our agent as a DaemonSet.
    Nexin,
    /// No plugin: nodes stay not ready until one is installed by hand.
    None,
}

/// A machine of a cluster: namespaces of its own with an init process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Machine {
    /// The API server, its store, controllers, scheduler and DNS server.
    Plane,
    /// A node, by its number from 1.
    Node(u8),
}

impl Name {
    /// The directory of the cluster's files.
    pub(super) fn state(&self) -> PathBuf {
        Path::new(STATE).join(&self.0)
    }

    /// The cluster's cgroup in each hierarchy.
    pub(super) fn cgroup(&self) -> String {
        format!("{PREFIX}{}", self.0)
    }

    /// The machine of a network namespace, if the namespace is one of this cluster.
    pub(super) fn machine_of(&self, namespace: &str) -> Option<Machine> {
        namespace.strip_prefix(PREFIX)?.strip_prefix(&self.0)?.strip_prefix('-')?.parse().ok()
    }

    /// The name of a machine's network namespace.
    pub(super) fn namespace(&self, machine: Machine) -> String {
        format!("{PREFIX}{}-{machine}", self.0)
    }

    /// The directory of a machine's files.
    pub(super) fn directory(&self, machine: Machine) -> PathBuf {
        self.state().join(machine.to_string())
    }

    /// The kubeconfig of a user.
    pub(super) fn kubeconfig(&self, user: &str) -> PathBuf {
        self.state().join("users").join(user)
    }

    /// The certificate of the API server with its authority's, which the API server writes at its first start.
    pub(super) fn certificate(&self) -> PathBuf {
        self.directory(Machine::Plane).join("certs/apiserver.crt")
    }

    /// The programs that the cluster runs.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.state().join("bin").join(name)
    }

    /// Exists once the API server is ready and holds the Node objects.
    pub(super) fn ready_mark(&self) -> PathBuf {
        self.state().join("ready")
    }
}

impl Plan {
    pub(super) fn machines(&self) -> impl Iterator<Item = Machine> {
        std::iter::once(Machine::Plane).chain(self.node_machines())
    }

    pub(super) fn node_machines(&self) -> impl Iterator<Item = Machine> {
        (1..=self.nodes).map(Machine::Node)
    }

    /// The search path of a program that calls kubectl.
    pub(super) fn path(&self) -> String {
        let programs = self.name.state().join("bin");
        format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default())
    }

    /// Writes the plan into the cluster's directory, for the commands that follow.
    pub(super) fn save(&self) -> Result<()> {
        let text = json!({"nodes": self.nodes, "network": self.network.to_string()}).to_string();
        Ok(std::fs::write(self.name.state().join("plan"), text)?)
    }

    /// Reads the plan of a cluster that is up.
    pub(super) fn load(name: &Name) -> Result<Self> {
        let text = std::fs::read_to_string(name.state().join("plan"));
        let text =
            text.with_context(|| format!("there is no cluster `{name}`; `cargo xtask cluster up` makes it"))?;
        let plan: Value = serde_json::from_str(&text)?;
        let nodes = plan["nodes"].as_u64().and_then(|nodes| u8::try_from(nodes).ok());
        Ok(Self {
            name: name.clone(),
            nodes: nodes.context("the cluster's plan lacks the number of its nodes")?,
            network: plan["network"].as_str().unwrap_or_default().parse()?,
        })
    }
}

impl Machine {
    /// Its address of each family on the network between the machines.
    pub(super) fn addresses(self) -> [String; 2] {
        match self {
            Self::Plane => PLANE.map(str::to_owned),
            Self::Node(number) => {
                [format!("10.90.0.{}", 100 + number), format!("fd00:90::{}", 100 + u16::from(number))]
            }
        }
    }

    /// The blocks of its pods' addresses, of each family; none where no pods run.
    pub(super) fn pod_blocks(self) -> Option<[String; 2]> {
        match self {
            Self::Plane => None,
            Self::Node(number) => Some([format!("10.91.{number}.0/24"), format!("fd00:91:0:{number}::/64")]),
        }
    }
}

/// The number of nodes that a cluster may have.
pub(super) fn node_count(text: &str) -> Result<u8> {
    match text.parse() {
        Ok(nodes @ 1..=MOST_NODES) => Ok(nodes),
        _ => bail!("--nodes is `{text}` and must be a number from 1 to {MOST_NODES}"),
    }
}

impl FromStr for Name {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let is_letter = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
        if text.is_empty() || text.len() > 20 || !text.chars().all(is_letter) {
            bail!("the name of a cluster is 1 to 20 lower case letters and digits, not `{text}`");
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Machine {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let node = |text: &str| text.strip_prefix("node")?.parse().ok().map(Self::Node);
        match text {
            "plane" => Ok(Self::Plane),
            _ => node(text)
                .with_context(|| format!("a machine is `plane` or `node1`, `node2` …, not `{text}`")),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plane => f.write_str("plane"),
            Self::Node(number) => write!(f, "node{number}"),
        }
    }
}

impl FromStr for Network {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "bridge" => Ok(Self::Bridge),
            "nexin" => Ok(Self::Nexin),
            "none" => Ok(Self::None),
            _ => bail!("--network is `{text}` and must be bridge, nexin or none"),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bridge => "bridge",
            Self::Nexin => "nexin",
            Self::None => "none",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_begins_with_no_other_cluster() {
        let one: Name = "a".parse().unwrap();
        assert_eq!(one.machine_of("nexin-cluster-a-node2"), Some(Machine::Node(2)));
        assert_eq!(one.machine_of("nexin-cluster-a-plane"), Some(Machine::Plane));
        for other in ["nexin-cluster-ab-plane", "nexin-cluster-a-", "nexin-cluster-a-node", "nexin-a-plane"] {
            assert_eq!(one.machine_of(other), None, "{other}");
        }
        assert!("a-node1".parse::<Name>().is_err());
    }

    #[test]
    fn machines_and_networks_are_read_as_they_are_written() {
        for machine in [Machine::Plane, Machine::Node(12)] {
            assert_eq!(machine.to_string().parse::<Machine>().unwrap(), machine);
        }
        for network in [Network::Bridge, Network::Nexin, Network::None] {
            assert_eq!(network.to_string().parse::<Network>().unwrap(), network);
        }
    }

    #[test]
    fn each_node_has_addresses_and_blocks_of_its_own() {
        assert_eq!(Machine::Node(3).addresses(), ["10.90.0.103", "fd00:90::103"]);
        assert_eq!(Machine::Node(3).pod_blocks().unwrap(), ["10.91.3.0/24", "fd00:91:0:3::/64"]);
        assert!(node_count("0").is_err() && node_count("100").is_err() && node_count("3").is_ok());
    }
}
