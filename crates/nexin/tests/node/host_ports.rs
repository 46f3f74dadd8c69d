//! Ports of the node that lead to a pod (hostPort), as a container runtime requests them.

use crate::CONNECTIONS;
use crate::bed::{Bed, Host, eventually};
use crate::cluster::{Cluster, node_addresses};
use crate::masquerade;
use crate::runtime::{Outcome, Sandbox, configuration, run, run_with};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

const PORT: u16 = 8080;

/// Attaches a sandbox with a port of the node.
fn add(bed: &Bed, sandbox: &Sandbox, mapping: Value) -> Outcome {
    let mut config = configuration(bed);
    config["runtimeConfig"] = json!({ "portMappings": [mapping] });
    run_with("ADD", Some(sandbox), &config)
}

fn mapping(host_ip: &str) -> Value {
    json!({ "hostPort": PORT, "containerPort": 80, "protocol": "tcp", "hostIP": host_ip })
}

fn reaches(from: &Host, address: &IpAddr) -> Option<u16> {
    from.connect_to(SocketAddr::new(*address, PORT))?.fetch("/")
}

#[test]
#[ignore = "needs root"]
fn a_port_of_the_node_leads_to_its_pod_and_policy_sees_the_client() {
    let cluster = Cluster::new("hp", 2, &json!({ "masquerade": true }));
    let (node, world) = (&cluster.nodes[0], cluster.world());
    let (near, far) = (node.bare_workload("near"), cluster.nodes[1].bare_workload("far"));
    let sandbox = Sandbox::new("server");
    let addresses = add(node, &sandbox, mapping("")).expect().addresses();
    let server = Host { namespace: sandbox.open(), addresses };
    server.serve("server");
    for address in &node_addresses(1) {
        for (name, from) in
            [("outside", &world), ("a pod of the node", &near), ("a pod of another node", &far)]
        {
            assert_eq!(eventually(|| reaches(from, address)), Some(200), "{name}, {address}");
        }
    }
    let own = ["192.0.2.254/32", "2001:db8::254/128"];
    let others = ["198.51.100.7/32", "2001:db8:7::7/128"];
    let allow = |blocks: [&str; 2]| {
        let blocks = blocks.map(|block| format!("- ipBlock: {{cidr: '{block}'}}")).join("\n    ");
        let text =
            CONNECTIONS.replace("[{podSelector: {matchLabels: {app: client}}}]", &format!("\n    {blocks}"));
        node.apply(&text);
    };
    allow(own);
    let mut open = Vec::new();
    for address in &node_addresses(1) {
        let mut connection = eventually(|| world.connect_to(SocketAddr::new(*address, PORT))).unwrap();
        assert_eq!(connection.fetch("/"), Some(200), "{address}");
        open.push(connection);
        assert_eq!(reaches(&near, address), None, "another pod, {address}");
    }
    allow(others);
    for (address, connection) in node_addresses(1).iter().zip(&mut open) {
        assert_eq!(connection.fetch("/"), None, "a connection from before, {address}");
        assert_eq!(reaches(&world, address), None, "another block, {address}");
    }
    node.delete("NetworkPolicy/default/connections");
    assert_eq!(eventually(|| reaches(&world, &node_addresses(1)[0])), Some(200));
    run(node, "DEL", &sandbox).expect();
    assert_eq!(reaches(&world, &node_addresses(1)[0]), None, "the port goes with the pod");
}

#[test]
#[ignore = "needs root"]
fn a_port_of_the_node_leads_to_one_pod_and_survives_a_restart() {
    let mut cluster = Cluster::new("hq", 1, &json!({}));
    let world = cluster.world();
    let [v4, v6] = node_addresses(1);
    let [first, second] = ["server", "other"].map(Sandbox::new);
    let addresses = add(&cluster.nodes[0], &first, mapping(&v4.to_string())).expect().addresses();
    let server = Host { namespace: first.open(), addresses };
    server.serve("server");
    add(&cluster.nodes[0], &second, mapping("")).expect_error(11, "leads to pod default/server");
    assert_eq!(eventually(|| reaches(&world, &v4)), Some(200));
    assert_eq!(reaches(&world, &v6), None, "hostIP has the other family");
    let node = &mut cluster.nodes[0];
    node.kill();
    assert_eq!(reaches(&world, &v4), Some(200), "without an agent");
    node.start();
    assert_eq!(eventually(|| reaches(&world, &v4)), Some(200), "after a restart");
    run(node, "DEL", &first).expect();
    let added = add(node, &second, mapping("")).expect().addresses();
    let other = Host { namespace: second.open(), addresses: added };
    other.serve("other");
    assert_eq!(eventually(|| reaches(&world, &v6)), Some(200), "the next pod has the port");
}

/// Who answers a datagram that a process of the host sends to the port, by a socket without a connection.
fn answers(from: &Host, port: SocketAddr) -> Option<SocketAddr> {
    let any = if port.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = from.enter(|| UdpSocket::bind(any)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    socket.send_to(b"?", port).ok()?;
    Some(socket.recv_from(&mut [0; 64]).ok()?.1)
}

#[test]
#[ignore = "needs root"]
fn processes_of_the_node_reach_its_ports_also_at_the_loopback_address_and_other_ones_do_not() {
    let cluster = Cluster::new("hr", 1, &json!({}));
    let (bed, node, near) =
        (&cluster.nodes[0], cluster.nodes[0].node(), cluster.nodes[0].bare_workload("near"));
    let sandbox = Sandbox::new("server");
    let mut config = configuration(bed);
    let of = |protocol| json!({ "hostPort": PORT, "containerPort": 81, "protocol": protocol });
    config["runtimeConfig"] = json!({ "portMappings": [of("tcp"), of("udp")] });
    let addresses = run_with("ADD", Some(&sandbox), &config).expect().addresses();
    let server = Host { namespace: sandbox.open(), addresses };
    masquerade::tell_sources(&server, 81);
    let loopback = ["127.0.0.1", "::1"].map(|address| address.parse().unwrap());
    let ports = node_addresses(1).into_iter().chain(loopback).map(|address| SocketAddr::new(address, PORT));
    let ports: Vec<SocketAddr> = ports.collect();
    for &port in &ports {
        assert!(eventually(|| masquerade::seen_by_tcp(&node, port)).is_some(), "{port}");
        assert_eq!(answers(&node, port), Some(port), "the answer comes from the port");
    }
    let connected = node.enter(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
    node.enter(|| connected.connect(ports[2])).unwrap();
    connected.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    connected.send(b"?").unwrap();
    assert!(connected.recv(&mut [0; 64]).is_ok());
    // The loopback address of a workload is the workload's own.
    assert_eq!(masquerade::seen_by_tcp(&near, ports[2]), None);
    run(bed, "DEL", &sandbox).expect();
    for &port in &ports {
        assert_eq!(masquerade::seen_by_tcp(&node, port), None, "{port}, which goes with the pod");
    }
}
