//! Packets of workloads to hosts outside the cluster, which have no route to the pods.

use crate::bed::{Bed, Host, SOON, eventually};
use crate::cluster::{Cluster, node_addresses, within};
use serde_json::json;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::thread;
use std::time::Duration;

/// A node that masquerades, with the network around it.
fn masquerading(name: &str, more: &serde_json::Value) -> Cluster {
    let mut settings = json!({"masquerade": true});
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Cluster::new(name, 1, &settings)
}

/// Answers each connection and each datagram at a port of the host with the address that it came from.
pub(crate) fn tell_sources(host: &Host, port: u16) {
    let any = SocketAddr::new("::".parse().unwrap(), port);
    let listener = host.enter(|| TcpListener::bind(any).unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let source = stream.peer_addr().unwrap();
            thread::spawn(move || {
                let mut byte = [0];
                while stream.read_exact(&mut byte).is_ok() {
                    let _ = stream.write_all(source.ip().to_canonical().to_string().as_bytes());
                }
            });
        }
    });
    for address in host.addresses.clone() {
        let socket = host.enter(|| UdpSocket::bind((address, port)).unwrap());
        thread::spawn(move || {
            let mut byte = [0];
            while let Ok((_, source)) = socket.recv_from(&mut byte) {
                let _ = socket.send_to(source.ip().to_string().as_bytes(), source);
            }
        });
    }
}

/// The address that a host outside sees, over TCP.
pub(crate) fn seen_by_tcp(from: &Host, to: SocketAddr) -> Option<IpAddr> {
    let mut stream = from.stream_to(to)?;
    stream.write_all(b"?").ok()?;
    let mut said = [0; 64];
    let length = stream.read(&mut said).ok()?;
    std::str::from_utf8(&said[..length]).ok()?.trim().parse().ok()
}

/// The same over UDP.
pub(crate) fn seen_by_udp(from: &Host, to: SocketAddr) -> Option<IpAddr> {
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = from.enter(|| UdpSocket::bind(any)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    socket.send_to(b"?", to).ok()?;
    let mut said = [0; 64];
    let (length, _) = socket.recv_from(&mut said).ok()?;
    std::str::from_utf8(&said[..length]).ok()?.parse().ok()
}

/// Sends an echo request from a raw socket, and expects the reply to it.
const PING: &str = r#"
import socket, struct, sys
six = ":" in sys.argv[1]
family, protocol, ask, reply = (socket.AF_INET6, 58, 128, 129) if six else (socket.AF_INET, 1, 8, 0)
s = socket.socket(family, socket.SOCK_RAW, protocol)
s.settimeout(2)
def message(sum):
    return struct.pack("!BBHHH", ask, 0, sum, 77, 1)
total = sum(struct.unpack("!4H", message(0)))
s.sendto(message(0 if six else ~((total & 0xffff) + (total >> 16)) & 0xffff), (sys.argv[1], 0))
while True:
    packet = s.recv(2000)
    kind, _, _, identifier, _ = struct.unpack("!BBHHH", packet[0 if six else 20:][:8])
    if kind == reply:
        sys.exit(identifier != 77)
"#;

fn pings(from: &Host, to: IpAddr) -> bool {
    let run = || std::process::Command::new("python3").args(["-c", PING, &to.to_string()]).status().unwrap();
    from.enter(run).success()
}

#[test]
#[ignore = "needs root"]
fn a_host_outside_sees_the_node_over_both_families_and_the_pods_by_exception() {
    let cluster = masquerading("ma", &json!({"unmasqueradedAddresses": ["198.51.100.8/32"]}));
    let (node, world) = (&cluster.nodes[0], cluster.world());
    tell_sources(&world, 8080);
    let pod = node.bare_workload("pod");
    for (family, node) in node_addresses(1).into_iter().enumerate() {
        let server = SocketAddr::new(world.addresses[family], 8080);
        assert_eq!(eventually(|| seen_by_tcp(&pod, server)), Some(node));
        assert_eq!(eventually(|| seen_by_udp(&pod, server)), Some(node));
    }
    // The exception is another address of the same host, which now has a route to the pods.
    cluster.route_pods(1);
    within(&cluster.network, &["address", "add", "198.51.100.8/32", "dev", "lo"]);
    let excepted = SocketAddr::new("198.51.100.8".parse().unwrap(), 8080);
    assert_eq!(eventually(|| seen_by_tcp(&pod, excepted)), Some(pod.addresses[0]));
    // A connection from outside to the pod itself.
    pod.serve("pod");
    for family in [0, 1] {
        let server = SocketAddr::new(pod.addresses[family], 80);
        assert_eq!(eventually(|| world.connect_to(server)?.fetch("/")), Some(200));
    }
}

#[test]
#[ignore = "needs root"]
fn echoes_and_errors_come_back_to_the_pod() {
    let cluster = masquerading("mb", &json!({}));
    let (node, world) = (&cluster.nodes[0], cluster.world());
    let pod = node.bare_workload("pod");
    for address in &world.addresses {
        assert!(pings(&pod, *address), "{address}");
    }
    let closed = SocketAddr::new(world.addresses[0], 9);
    let socket = pod.enter(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
    socket.connect(closed).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    socket.send(b"?").unwrap();
    let error = socket.recv(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "the port is closed");
}

#[test]
#[ignore = "needs root"]
fn a_connection_outlasts_the_agent_and_the_next_one() {
    let mut cluster = masquerading("mc", &json!({}));
    let world = cluster.world();
    tell_sources(&world, 8080);
    let pod = cluster.nodes[0].bare_workload("pod");
    let server = SocketAddr::new(world.addresses[0], 8080);
    let mut stream = eventually(|| pod.stream_to(server)).unwrap();
    let mut ask = || {
        stream.write_all(b"?").unwrap();
        let mut said = [0; 64];
        let length = stream.read(&mut said).unwrap();
        String::from_utf8_lossy(&said[..length]).trim().to_owned()
    };
    assert_eq!(ask(), "192.0.2.1");
    cluster.nodes[0].kill();
    assert_eq!(ask(), "192.0.2.1");
    cluster.nodes[0].start();
    for _ in 0..20 {
        assert_eq!(ask(), "192.0.2.1");
        thread::sleep(SOON / 200);
    }
}

#[test]
#[ignore = "needs root"]
fn a_node_without_pods_has_no_programs_at_its_external_interface() {
    let cluster = masquerading("md", &json!({}));
    let node = &cluster.nodes[0];
    assert!(!attached(node));
    node.bare_workload("pod");
    assert!(eventually(|| attached(node).then_some(())).is_some());
    node.remove("pod").unwrap();
    assert!(eventually(|| (!attached(node)).then_some(())).is_some());
}

/// Whether the external interface of a node has programs of the packet path.
fn attached(node: &Bed) -> bool {
    let (_, said) = node.says(&["bpf", "net", "--netns", &node.name]);
    said.lines().any(|line| line.contains("to_outside") && line.contains("eth0"))
}
