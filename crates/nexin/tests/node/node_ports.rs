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
    lead_port(node, pod, "mark set mark or 0x4000");
}

/// The same under the clients' addresses, as for a service with `externalTrafficPolicy: Local`.
fn open_local_port(node: &Bed, pod: &Host) {
    lead_port(node, pod, "mark set mark");
}

fn lead_port(node: &Bed, pod: &Host, mark: &str) {
    let mut rules = String::new();
    for (family, (address, pod)) in ["ip", "ip6"].iter().zip(node_addresses(1).iter().zip(&pod.addresses)) {
        let to = SocketAddr::new(*pod, 80);
        rules += &format!(
            "table {family} ports {{\n\
             chain before {{ type nat hook prerouting priority dstnat; {family} daddr {address} tcp dport {PORT} meta {mark} dnat to {to}; }}\n\
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
    assert!(
        !packets.contains_key(abi::DropReason::IdentityUnknown.describe()),
        "senders are known: {packets:?}"
    );
}

#[test]
#[ignore = "needs root"]
fn a_sender_outside_is_judged_by_its_own_address() {
    let cluster = Cluster::new("nf", 1, &serde_json::json!({}));
    let (node, world) = (&cluster.nodes[0], cluster.world());
    let server = node.workload("server");
    let stranger = node.bare_workload("stranger");
    open_port(node, &server);
    let reaches = |from: &Host, address: &IpAddr| from.connect_to(port(address))?.fetch("/");
    // The addresses of the host outside that are on the link of the node.
    let own = ["192.0.2.254/32", "2001:db8::254/128"];
    let others = ["198.51.100.7/32", "2001:db8:7::7/128"];
    let allow = |blocks: [&str; 2]| {
        let blocks = blocks.map(|block| format!("- ipBlock: {{cidr: '{block}'}}")).join("\n    ");
        node.apply(
            &CONNECTIONS.replace("[{podSelector: {matchLabels: {app: client}}}]", &format!("\n    {blocks}")),
        );
    };
    allow(own);
    let mut open = Vec::new();
    for address in &node_addresses(1) {
        let mut connection = eventually(|| world.connect_to(port(address))).unwrap();
        assert_eq!(connection.fetch("/"), Some(200), "{address}");
        open.push(connection);
        assert_eq!(reaches(&stranger, address), None, "another pod, {address}");
    }
    allow(others);
    for (address, connection) in node_addresses(1).iter().zip(&mut open) {
        assert_eq!(connection.fetch("/"), None, "a connection from before, {address}");
        assert_eq!(reaches(&world, address), None, "another block, {address}");
    }
}

#[test]
#[ignore = "needs root"]
fn a_pod_that_no_one_may_connect_to_reaches_a_node_port_with_a_backend_elsewhere() {
    let cluster = Cluster::new("nb", 2, &serde_json::json!({}));
    let (here, there) = (&cluster.nodes[0], &cluster.nodes[1]);
    let (client, server) = (here.bare_workload("client"), there.workload("server"));
    open_port(here, &server);
    here.apply(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: closed}\n\
         spec: {podSelector: {matchLabels: {app: client}}, policyTypes: [Ingress]}\n",
    );
    for address in &node_addresses(1) {
        let reached = eventually(|| client.connect_to(port(address))?.fetch("/"));
        assert_eq!(reached, Some(200), "{address}");
    }
}

#[test]
#[ignore = "needs root"]
fn a_pod_reaches_a_node_port_whose_backend_on_its_node_sees_its_address() {
    let cluster = Cluster::new("nl", 1, &serde_json::json!({}));
    let node = &cluster.nodes[0];
    let (client, stranger) = (node.bare_workload("client"), node.bare_workload("stranger"));
    let server = node.workload("server");
    open_local_port(node, &server);
    for with_policy in [false, true] {
        if with_policy {
            node.apply(CONNECTIONS);
        }
        for address in &node_addresses(1) {
            let reaches = |from: &Host| from.connect_to(port(address))?.fetch("/");
            assert_eq!(eventually(|| reaches(&client)), Some(200), "{address}");
            assert_eq!(reaches(&stranger).is_some(), !with_policy, "{address}");
        }
    }
    // The pod's own address, as before.
    assert_eq!(client.reaches(&server, "/"), Some(200));
}
