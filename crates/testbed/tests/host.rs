//! The node's own policy under real traffic: a node, a workload on it and a host outside, in namespaces of their own.

use abi::address::{AddressInfo, AddressKey};
use abi::endpoint::{EndpointInfo, EndpointKey, flag};
use abi::event::{DropReason, FlowEvent, PacketVerdict};
use abi::fixtures::{self, OnePort};
use abi::identity::{HOST, WORLD};
use abi::policy::{Direction, VerdictInfo, action};
use abi::row::{MapOp, Row};
use abi::{config, protocol};
use loader::{Capacities, Loaded, Options};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;
use workload::{Network, NetworkNamespace, NodeNamespace, Plan, Wired};

const POLICY: u32 = 9;
const WORKLOAD: u32 = 256;
/// How long to wait for a connection that must fail.
const PATIENCE: Duration = Duration::from_millis(300);
/// How long to wait for one that must succeed: on a busy machine the first one waits for neighbour discovery.
const MUCH_PATIENCE: Duration = Duration::from_secs(5);
/// Addresses of each family, of the node, its workload and the host outside, which shares a link with the node.
const ADDRESSES: [[&str; 3]; 2] =
    [["192.0.2.1", "10.0.0.2", "192.0.2.2"], ["2001:db8::1", "fd00::2", "2001:db8::2"]];

/// One end of connections; each host serves every port.
struct Host {
    name: &'static str,
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
        let host = |name, namespace, place| Host { name, namespace, addresses: of(place) };
        let bed = Self {
            node: host("node", node, 0),
            workload: host("workload", workload, 1),
            outside: host("outside", outside, 2),
            way_out,
            loaded,
        };
        bed.put(Row::Config(config::Config {
            flags: config::flag::REPORT_OPENED | config::flag::REPORT_ANSWERED | config::flag::REPORT_ENDED,
            ..config::Config::default()
        }));
        bed.introduce(&door);
        bed
    }

    fn introduce(&self, door: &Wired) {
        fixtures::all_addresses().into_iter().for_each(|row| self.put(row));
        self.node.addresses.iter().for_each(|own| self.put(fixtures::address(*own, HOST)));
        for &address in &self.workload.addresses {
            let (interface, mac) = (door.interface, door.mac);
            let info = AddressInfo { interface, mac, ..fixtures::address_info(WORKLOAD) };
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

    /// Opens connections to the port between each two hosts, in both families. Those that the node accepts (`ingress`) and
    /// those that it opens (`egress`) must succeed or fail as expected; all others must succeed. Returns the number of events
    /// of TCP segments that audit mode let pass.
    #[track_caller]
    fn check(&self, policy: &str, port: u16, [ingress, egress]: [bool; 2]) -> usize {
        let Self { node, workload, outside, loaded, .. } = self;
        let mut ring = loaded.events().unwrap();
        let (mut wrong, mut audited) = (Vec::new(), 0);
        for (from, to, is_expected) in [
            (outside, node, ingress),
            (workload, node, ingress),
            (node, outside, egress),
            (node, workload, egress),
            (outside, workload, true),
            (workload, outside, true),
        ] {
            for family in 0..ADDRESSES.len() {
                ring.batch().for_each(drop);
                let patience = if is_expected { MUCH_PATIENCE } else { PATIENCE };
                let is_allowed = from.reaches(to, (family, port), patience);
                let events: Vec<FlowEvent> =
                    ring.batch().filter(|event| event.protocol == protocol::TCP).collect();
                audited += events.iter().filter(|event| event.verdict == PacketVerdict::Audit as u8).count();
                if is_allowed != is_expected {
                    let [expected, seen] = [is_expected, is_allowed].map(verdict_name);
                    let (from, to) = (from.end(family), to.end(family));
                    let events: String = events.iter().map(described).collect();
                    wrong.push(format!(
                        "{from} to {to}, TCP port {port}: {expected} is expected, kernel says {seen}{events}"
                    ));
                }
            }
        }
        assert!(wrong.is_empty(), "{policy}:\n{}", wrong.join("\n"));
        audited
    }
}

fn verdict_name(is_allowed: bool) -> &'static str {
    if is_allowed { "allow" } else { "drop" }
}

/// What one event reports, with the rule that decided.
fn described(event: &FlowEvent) -> String {
    let FlowEvent { verdict, endpoint, policy, rule, .. } = *event;
    let side = if event.direction == Direction::Ingress as u8 { "ingress" } else { "egress" };
    let reason = DropReason::from_number(event.reason).map_or("no reason", DropReason::describe);
    format!(
        "\n  {side} of endpoint {endpoint}: verdict {verdict} by rule {rule} of policy {policy}, {reason}"
    )
}

impl Host {
    /// Name and address.
    fn end(&self, family: usize) -> String {
        format!("{} ({})", self.name, self.addresses[family])
    }

    /// Whether a connection carries a line and its echo.
    fn reaches(&self, to: &Self, (family, port): (usize, u16), patience: Duration) -> bool {
        let address = SocketAddr::new(to.addresses[family], port);
        let listener = to.namespace.enter(|| TcpListener::bind(address)).unwrap().unwrap();
        let stream = self.namespace.enter(|| TcpStream::connect_timeout(&address, patience)).unwrap();
        let Ok(mut stream) = stream else { return false };
        let (mut other, _) = listener.accept().unwrap();
        for end in [&stream, &other] {
            end.set_read_timeout(Some(patience)).unwrap();
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
    bed.check("without a policy", 80, [true, true]);
    bed.guard(flag::ENFORCE);
    bed.check("under a policy without rules", 80, [false, false]);
    bed.allow(WORLD, Direction::Ingress, 81);
    bed.allow(WORKLOAD, Direction::Ingress, 81);
    bed.check("where ingress to 81 is allowed", 81, [true, false]);
    bed.allow(WORLD, Direction::Egress, 82);
    bed.allow(WORKLOAD, Direction::Egress, 82);
    bed.check("where egress to 82 is allowed", 82, [false, true]);
    bed.check("where only other ports are allowed", 80, [false, false]);
    bed.guard(flag::ENFORCE_EGRESS);
    bed.check("where egress alone is enforced", 80, [true, false]);
    bed.guard(0);
    bed.check("where nothing is enforced", 80, [true, true]);
}

#[test]
#[ignore = "needs root"]
fn in_audit_mode_the_node_refuses_nothing() {
    let mut bed = Bed::new();
    bed.guard(flag::ENFORCE | flag::AUDIT);
    let audited = bed.check("in audit mode", 80, [true, true]);
    assert_eq!(audited, 8, "one event for each of four ways and two families");
}
