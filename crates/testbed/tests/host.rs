//! The node's own policy under real traffic: a node, a workload on it and a host outside, in namespaces of their own.

use abi::address::{AddressInfo, AddressKey};
use abi::endpoint::{EndpointInfo, EndpointKey, flag};
use abi::fixtures::OnePort;
use abi::identity::{HOST, WORLD};
use abi::policy::{Direction, VerdictInfo, action};
use abi::row::{MapOp, Row};
use abi::{Address, config, protocol};
use loader::{Capacities, Loaded, Options};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;
use workload::{Network, NetworkNamespace, NodeNamespace, Plan, Wired};

const POLICY: u32 = 9;
const WORKLOAD: u32 = 256;
/// How long to wait for a connection that may not come.
const PATIENCE: Duration = Duration::from_millis(300);
/// Addresses of each family, of the node, its workload and the host outside, which share a link with the node.
const ADDRESSES: [[&str; 3]; 2] =
    [["192.0.2.1", "10.0.0.2", "192.0.2.2"], ["2001:db8::1", "fd00::2", "2001:db8::2"]];

/// One end of connections; each host serves every port.
struct Host {
    namespace: NetworkNamespace,
    addresses: Vec<IpAddr>,
}

/// A node with address and endpoint rows, and without enforcement.
struct Bed {
    node: Host,
    workload: Host,
    outside: Host,
    way_out: Wired,
    loaded: Loaded,
}

impl Bed {
    fn new() -> Self {
        let namespaces = [(); 3].map(|()| NetworkNamespace::anonymous().unwrap());
        let of = |place: usize| ADDRESSES.map(|family| family[place].parse().unwrap()).to_vec();
        let [node, workload, outside] = namespaces;
        let (way_out, door, loaded) = node.enter(|| wire(&workload, &outside, [&of(1), &of(2)])).unwrap();
        outside.enter(|| share_link("eth0", &of(2))).unwrap();
        node.enter(|| share_link(&way_out.name, &of(0))).unwrap();
        let host = |namespace, place| Host { namespace, addresses: of(place) };
        let bed = Self {
            node: host(node, 0),
            workload: host(workload, 1),
            outside: host(outside, 2),
            way_out,
            loaded,
        };
        bed.put(Row::Config(config::Config {
            flags: config::flag::REPORT_FORWARDS,
            ..config::Config::default()
        }));
        bed.introduce(&door);
        bed
    }

    fn introduce(&self, door: &Wired) {
        let info = |identity| AddressInfo { identity, peer: identity, ..AddressInfo::default() };
        let everyone = [(0, Address::default()), (Address::V4_PREFIX_BITS, Address::from_v4([0; 4]))];
        for (prefix_bits, address) in everyone {
            self.put(Row::Address(AddressKey { prefix_bits, address }, info(WORLD)));
        }
        for &own in &self.node.addresses {
            self.put(Row::Address(AddressKey::host(own.into()), info(HOST)));
        }
        for &address in &self.workload.addresses {
            let info = AddressInfo { interface: door.interface, mac: door.mac, ..info(WORKLOAD) };
            self.put(Row::Address(AddressKey::host(address.into()), info));
        }
        let endpoint = EndpointInfo {
            id: 1,
            identity: WORKLOAD,
            v4: self.workload.addresses[0].into(),
            v6: self.workload.addresses[1].into(),
            mac: door.mac,
            host_mac: door.host_mac,
            ..EndpointInfo::default()
        };
        self.put(Row::Endpoint(EndpointKey { interface: door.interface }, endpoint));
    }

    fn put(&self, row: Row) {
        self.loaded.apply(&[MapOp::Put(row)].into()).unwrap();
    }

    /// Enforces the node's policy with these flags; no port is allowed yet.
    fn guard(&mut self, flags: u8) {
        let Self { node, loaded, way_out, .. } = self;
        node.namespace.enter(|| loaded.attach_outside(way_out.interface)).unwrap().unwrap();
        let row = EndpointInfo { identity: HOST, policy: POLICY, flags, ..EndpointInfo::default() };
        self.put(Row::Endpoint(EndpointKey::NODE, row));
    }

    fn allow(&self, peer: u32, direction: Direction, port: u16) {
        let verdict = VerdictInfo { action: action::ALLOW, rule: 7, l7: 0 };
        let rows = OnePort { policy: POLICY, peer, direction, protocol: protocol::TCP, port, verdict }.rows();
        rows.into_iter().for_each(|row| self.put(row));
    }

    /// Whether connections to the port succeed: to the node from outside and from the workload, from the node to outside
    /// and to the workload, and between outside and the workload in both directions.
    fn connections(&self, port: u16) -> [bool; 6] {
        let Self { node, workload, outside, .. } = self;
        [
            (outside, node),
            (workload, node),
            (node, outside),
            (node, workload),
            (outside, workload),
            (workload, outside),
        ]
        .map(|(from, to)| {
            let [v4, v6] = [0, 1].map(|family| from.reaches(to, family, port));
            assert_eq!(v4, v6, "both families are judged alike");
            v4
        })
    }
}

impl Host {
    /// Whether a connection carries a line and its echo.
    fn reaches(&self, to: &Self, family: usize, port: u16) -> bool {
        let address = SocketAddr::new(to.addresses[family], port);
        let listener = to.namespace.enter(|| TcpListener::bind(address)).unwrap().unwrap();
        let stream = self.namespace.enter(|| TcpStream::connect_timeout(&address, PATIENCE)).unwrap();
        let Ok(mut stream) = stream else { return false };
        let (mut other, _) = listener.accept().unwrap();
        for end in [&stream, &other] {
            end.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        let mut line = [0; 5];
        stream.write_all(b"hello").unwrap();
        other.read_exact(&mut line).unwrap();
        other.write_all(&line).unwrap();
        stream.read_exact(&mut line).is_ok()
    }
}

/// Wires the node of the calling thread, and attaches the programs to the workload's interface.
fn wire(
    workload: &NetworkNamespace,
    outside: &NetworkNamespace,
    addresses: [&[IpAddr]; 2],
) -> (Wired, Wired, Loaded) {
    let mut node = NodeNamespace::current().unwrap();
    node.prepare().unwrap();
    let plan = |host, addresses| Plan { host, addresses, mtu: 1500, index: None, alias: None };
    let door = node.wire(workload, &plan("nx1", addresses[0])).unwrap();
    let way_out = node.wire(outside, &plan("out", &[])).unwrap();
    let options = Options { capacities: Capacities::SMALL, ..Options::default() };
    let mut loaded = Loaded::open(options).unwrap_or_else(|error| panic!("{error}"));
    loaded.attach(door.interface).unwrap();
    for wired in [&door, &way_out] {
        node.up(wired).unwrap();
    }
    (way_out, door, loaded)
}

/// Gives one end of a link its addresses, and the outside its route to the workload through the node. ARP and neighbour
/// discovery resolve the addresses of the link.
fn share_link(interface: &str, addresses: &[IpAddr]) {
    use workload::{Route, RouteKind};
    let mut network = Network::current().unwrap();
    let interface_index = network.link(interface).unwrap().unwrap().index;
    for (family, &address) in addresses.iter().enumerate() {
        let prefix = if address.is_ipv4() { 24 } else { 64 };
        network.add_address(interface_index, address, prefix).unwrap();
        if interface == "eth0" {
            let [gateway, workload, _] = ADDRESSES[family].map(|address| address.parse().unwrap());
            let route = Route {
                destination: workload,
                prefix: if address.is_ipv4() { 32 } else { 128 },
                interface: interface_index,
                kind: RouteKind::Via(gateway),
                table: Route::MAIN,
            };
            network.add_route(&route).unwrap();
        }
    }
}

#[test]
#[ignore = "needs root"]
fn the_nodes_policy_judges_the_nodes_own_traffic_and_no_other() {
    let mut bed = Bed::new();
    assert_eq!(bed.connections(80), [true; 6]);
    bed.guard(flag::ENFORCE);
    let forwarded_only = [false, false, false, false, true, true];
    assert_eq!(bed.connections(80), forwarded_only);
    bed.allow(WORLD, Direction::Ingress, 81);
    bed.allow(WORKLOAD, Direction::Ingress, 81);
    assert_eq!(bed.connections(81), [true, true, false, false, true, true]);
    bed.allow(WORLD, Direction::Egress, 82);
    bed.allow(WORKLOAD, Direction::Egress, 82);
    assert_eq!(bed.connections(82), [false, false, true, true, true, true]);
    assert_eq!(bed.connections(80), forwarded_only);
    bed.guard(flag::ENFORCE_EGRESS);
    assert_eq!(bed.connections(80), [true, true, false, false, true, true]);
    bed.guard(0);
    assert_eq!(bed.connections(80), [true; 6]);
}

#[test]
#[ignore = "needs root"]
fn in_audit_mode_the_node_refuses_nothing() {
    let mut bed = Bed::new();
    bed.guard(flag::ENFORCE | flag::AUDIT);
    let mut events = bed.loaded.events().unwrap();
    assert_eq!(bed.connections(80), [true; 6]);
    let audited = |event: &abi::event::FlowEvent| event.verdict == abi::event::PacketVerdict::Audit as u8;
    let audited = events.by_ref().filter(audited).filter(|event| event.protocol == 6).count();
    assert_eq!(audited, 8, "once each: four ways, two families");
}
