//! A node port as kube-proxy implements it: the packet gets a pod's address as its destination, and the node's as its source.

use crate::CONNECTIONS;
use crate::bed::{Bed, Host, eventually};
use crate::cluster::{Cluster, node_addresses};
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};

const PORT: u16 = 30_080;

/// Leads the node's port to a pod, under the node's address, over both families.
fn open_port(node: &Bed, pod: &Host) {
    let mut rules = String::new();
    for (family, (address, pod)) in ["ip", "ip6"].iter().zip(node_addresses(1).iter().zip(&pod.addresses)) {
        let to = SocketAddr::new(*pod, 80);
        rules += &format!(
            "table {family} ports {{\n\
             chain before {{ type nat hook prerouting priority dstnat; {family} daddr {address} tcp dport {PORT} meta mark set mark or 0x4000 dnat to {to}; }}\n\
             chain after {{ type nat hook postrouting priority srcnat; meta mark & 0x4000 == 0x4000 masquerade; }}\n}}\n"
        );
    }
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &node.name, "nft", "-f", "-"]).stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{rules}");
}

fn port(address: &IpAddr) -> SocketAddr {
    SocketAddr::new(*address, PORT)
}

#[test]
#[ignore = "needs root"]
fn traffic_that_the_node_masquerades_is_judged_as_its_senders_and_never_as_the_nodes() {
    let cluster = Cluster::new("np", 1, &serde_json::json!({}));
    let (node, world) = (&cluster.nodes[0], cluster.world());
    let server = node.workload("server");
    let (client, stranger) = (node.bare_workload("client"), node.bare_workload("stranger"));
    open_port(node, &server);
    let reaches = |from: &Host, address: &IpAddr| from.connect_to(port(address))?.fetch("/");
    for address in &node_addresses(1) {
        for from in [&client, &stranger, &world] {
            assert_eq!(eventually(|| reaches(from, address)), Some(200), "without a policy, {address}");
        }
    }
    let mut old = stranger.connect_to(port(&node_addresses(1)[0])).unwrap();
    assert_eq!(old.fetch("/"), Some(200));
    node.apply(CONNECTIONS);
    assert_eq!(old.fetch("/"), None, "a connection from before is the stranger's too");
    for (address, own) in node_addresses(1).iter().zip(&server.addresses) {
        assert_eq!(eventually(|| reaches(&client, address)), Some(200), "the client, {address}");
        assert_eq!(reaches(&stranger, address), None, "another pod, {address}");
        assert_eq!(reaches(&world, address), None, "outside, {address}");
        // The node itself, as the kubelet probes.
        assert_eq!(eventually(|| node.node().connect_to(SocketAddr::new(*own, 80))?.fetch("/")), Some(200));
    }
    let packets = node.status().packets;
    assert!(packets.contains_key(abi::DropReason::IdentityUnknown.describe()), "{packets:?}");
}
