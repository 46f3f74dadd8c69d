//! The node whose hooks judge the packets: three workloads, a service, a proxy and policies of all kinds.

use control::{
    Change, Endpoint, HostPort, Masquerade, Node, ProxyLocation, RemoteNode, Wire, Workload, World,
};
use datapath::native::Tables;
use manifest::Object;
use policy::rule::Cidr;
use service::{Service, ServicePort, TargetPort, TransportProtocol};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// The known ends, with an address of each family.
pub const ADDRESSES: [[&str; 2]; 9] = [
    ["10.244.0.1", "fd00:244::1"],
    ["10.244.0.2", "fd00:244::2"],
    ["10.244.0.3", "fd00:244::3"],
    ["10.96.0.1", "fd00:96::1"],
    ["10.0.0.1", "fd00::1"],
    ["10.0.0.2", "fd00::2"],
    ["198.51.100.7", "2001:db8::7"],
    ["203.0.113.9", "2001:db9::9"],
    ["224.0.0.1", "fe80::1"],
];
/// The workloads, which are the first of [`ADDRESSES`]: their labels and interfaces.
pub const WORKLOADS: [(&str, u32); 3] = [("client", 10), ("server", 20), ("audited", 30)];
/// Index of the interface that leads out of the node.
pub const OUTSIDE: u32 = 5;
/// Index of the interface of the node proxy.
pub const PROXY: u32 = 99;
/// Link-layer address of the host's side.
pub const HOST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xaa];

const SERVICE: usize = 3;
const NODE: usize = 4;
const REMOTE_NODE: usize = 5;

/// The tables of the node.
pub fn tables() -> Tables {
    let mut world = World::new();
    let workloads =
        WORKLOADS.into_iter().enumerate().map(|(at, (label, interface))| workload(at, label, interface));
    let policies =
        manifest::parse("policies.yaml", include_str!("policies.yaml")).expect("the policies are right");
    let policies = policies.objects.into_iter().filter_map(|object| match object {
        Object::Policy(policy) => Some(Change::Policy(policy)),
        _ => None,
    });
    let changes = [node(), remote_node(), service()].into_iter().chain(workloads).chain(policies);
    let mut tables = Tables::new();
    let writes = world.apply(changes);
    tables.apply_all(writes.now.iter().chain(writes.later.iter()));
    tables
}

/// The addresses at an index of [`ADDRESSES`].
pub fn addresses(at: usize) -> [IpAddr; 2] {
    ADDRESSES[at].map(|address| address.parse().expect("an address"))
}

/// The link-layer address of a workload.
pub fn mac(workload: usize) -> [u8; 6] {
    [2, 0, 0, 0, 1, workload as u8]
}

fn workload(at: usize, label: &str, interface: u32) -> Change {
    let labels = BTreeMap::from([("app".to_owned(), label.to_owned())]);
    Change::Endpoint(Box::new(Endpoint {
        id: 1 + at as u32,
        workload: Workload {
            namespace: "default".into(),
            name: label.into(),
            labels: Arc::new(labels),
            addresses: addresses(at).to_vec(),
            named_ports: Arc::default(),
        },
        wire: Wire { interface, mac: mac(at), host_mac: HOST_MAC },
        audit: label == "audited",
        host_ports: host_ports(at),
    }))
}

fn node() -> Change {
    Change::Node(Box::new(Node {
        name: "node".into(),
        addresses: addresses(NODE).to_vec(),
        proxy: Some(ProxyLocation { interface: PROXY, port: 15001 }),
        pod_blocks: blocks([("10.244.0.0", 24), ("fd00:244::", 64)]),
        // So few ports that flows are refused.
        masquerade: Some(Masquerade {
            addresses: addresses(NODE).to_vec(),
            ports: 20_000..=20_003,
            except: blocks([("203.0.113.0", 24), ("2001:db9::", 32)]),
        }),
        ..Node::default()
    }))
}

fn blocks(blocks: [(&str, u8); 2]) -> Vec<Cidr> {
    let block = |(text, length): (&str, u8)| Cidr::new(text.parse().expect("an address"), length);
    blocks.map(|one| block(one).expect("a block")).to_vec()
}

/// The ports of the node that lead to the server.
fn host_ports(at: usize) -> Vec<HostPort> {
    let open = |protocol, port, container_port| HostPort { address: None, port, protocol, container_port };
    match WORKLOADS[at].0 {
        "server" => vec![open(TransportProtocol::Tcp, 80, 8080), open(TransportProtocol::Udp, 53, 53)],
        _ => Vec::new(),
    }
}

fn remote_node() -> Change {
    let addresses = addresses(REMOTE_NODE).to_vec();
    let pod_blocks = blocks([("10.244.1.0", 24), ("fd00:244:0:1::", 64)]);
    Change::RemoteNode(Box::new(RemoteNode {
        name: "other".into(),
        addresses,
        pod_blocks,
        ..RemoteNode::default()
    }))
}

fn service() -> Change {
    let port = |protocol, port, target| ServicePort {
        name: format!("p{port}"),
        protocol,
        port,
        target: TargetPort::Number(target),
    };
    Change::Service(Box::new(Service {
        namespace: "default".into(),
        name: "service".into(),
        labels: BTreeMap::new(),
        selector: BTreeMap::from([("app".to_owned(), "server".to_owned())]),
        addresses: addresses(SERVICE).to_vec(),
        headless: false,
        external_name: None,
        keeps_clients: false,
        stays_on_node: false,
        ports: vec![
            port(TransportProtocol::Tcp, 80, 8080),
            port(TransportProtocol::Udp, 53, 53),
            port(TransportProtocol::Sctp, 7000, 7001),
        ],
    }))
}
