//! Several nodes in one test: their namespaces, joined by a network between them that leads outside.

use crate::bed::{Bed, Host};
use std::net::IpAddr;
use std::process::Command;
use workload::NetworkNamespace;

/// Nodes `a`, `b`, ... and the network between them; dropping it removes everything.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Bed>,
    /// Name of the namespace of the network between the nodes, which has the address of a host outside.
    pub(crate) network: String,
}

/// The host outside the cluster, behind the nodes' default routes.
pub(crate) const WORLD: [&str; 2] = ["198.51.100.7", "2001:db8:7::7"];

impl Cluster {
    /// Nodes with running agents that have these settings beside their own. `name` distinguishes the test.
    pub(crate) fn new(name: &str, count: usize, settings: &serde_json::Value) -> Self {
        let network = format!("nxt{}{name}w", std::process::id());
        NetworkNamespace::create(&network).unwrap();
        within(&network, &["link", "add", "hub", "type", "bridge"]);
        within(&network, &["link", "set", "hub", "addrgenmode", "none", "up"]);
        within(&network, &["link", "set", "lo", "up"]);
        for address in ["192.0.2.254/24", "2001:db8::254/64", "fe80::254/64"] {
            within(&network, &["address", "add", address, "dev", "hub", "nodad"]);
        }
        WORLD.iter().for_each(|address| within(&network, &["address", "add", address, "dev", "lo", "nodad"]));
        let mut cluster = Self { nodes: Vec::new(), network };
        for number in 1..=count {
            let mut own = serde_json::json!({
                "nodeName": node_name(number),
                "workloadAddresses": pod_blocks(number),
            });
            own.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
            let mut bed = Bed::idle(&format!("{name}{number}"), &own);
            cluster.join(&bed.name, number);
            for other in 1..=count {
                bed.write_policy(&format!("{}.yaml", node_name(other)), &node_manifest(other, other, other));
            }
            bed.start();
            cluster.nodes.push(bed);
        }
        cluster
    }

    /// Connects a node with the network, under the addresses with this number.
    pub(crate) fn join(&self, node: &str, number: usize) {
        let port = format!("port{number}");
        within(&self.network, &["link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", node]);
        within(&self.network, &["link", "set", &port, "master", "hub", "up"]);
        // A link-local address that the kernel assigns is tentative for up to two seconds, and the node looks up no neighbour meanwhile.
        within(node, &["link", "set", "eth0", "addrgenmode", "none", "up"]);
        within(node, &["address", "add", &format!("fe80::{number}/64"), "dev", "eth0", "nodad"]);
        self.address(node, number);
    }

    /// Gives a node the addresses with this number, and the default routes.
    pub(crate) fn address(&self, node: &str, number: usize) {
        within(node, &["address", "flush", "dev", "eth0", "scope", "global"]);
        for address in node_addresses(number) {
            let length = if address.is_ipv4() { 24 } else { 64 };
            within(node, &["address", "add", &format!("{address}/{length}"), "dev", "eth0", "nodad"]);
        }
        within(node, &["route", "replace", "default", "via", "192.0.2.254"]);
        within(node, &["-6", "route", "replace", "default", "via", "2001:db8::254"]);
    }

    /// The host outside, which has a route to no pod.
    pub(crate) fn world(&self) -> Host {
        let addresses = WORLD.iter().map(|address| address.parse().unwrap()).collect();
        Host { namespace: NetworkNamespace::open(&self.network).unwrap(), addresses }
    }

    /// Routes the pods of a node from outside.
    pub(crate) fn route_pods(&self, number: usize) {
        for (block, via) in pod_blocks(number).iter().zip(node_addresses(number)) {
            within(&self.network, &["route", "replace", block, "via", &via.to_string()]);
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = NetworkNamespace::delete(&self.network);
    }
}

/// The name of a node in manifests.
pub(crate) fn node_name(number: usize) -> String {
    format!("node-{number}")
}

/// The addresses of a node, one of each family.
pub(crate) fn node_addresses(number: usize) -> [IpAddr; 2] {
    [format!("192.0.2.{number}"), format!("2001:db8::{number}")].map(|address| address.parse().unwrap())
}

/// The blocks of a node's pods.
pub(crate) fn pod_blocks(number: usize) -> [String; 2] {
    [format!("10.244.{number}.0/24"), format!("fd00:10:244:{number}::/64")]
}

/// The manifest of a node, at the addresses and with the pods of these numbers.
pub(crate) fn node_manifest(number: usize, address: usize, pods: usize) -> String {
    let ([v4, v6], [first, second]) = (node_addresses(address), pod_blocks(pods));
    format!(
        "apiVersion: v1\nkind: Node\nmetadata: {{name: {}}}\nspec:\n  podCIDRs: [{first}, \"{second}\"]\nstatus:\n  addresses:\n  \
         - {{type: InternalIP, address: {v4}}}\n  - {{type: InternalIP, address: \"{v6}\"}}\n  - {{type: Hostname, address: n}}\n",
        node_name(number)
    )
}

/// Runs `ip` in a namespace.
#[track_caller]
pub(crate) fn within(namespace: &str, arguments: &[&str]) {
    let output = Command::new("ip").args(["-n", namespace]).args(arguments).output().unwrap();
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// What `ip` prints in a namespace.
pub(crate) fn printed(namespace: &str, arguments: &[&str]) -> String {
    let output = Command::new("ip").args(["-n", namespace]).args(arguments).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}
