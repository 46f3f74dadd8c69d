//! Packets at the hooks of one node: two workloads, a service, and the world.

mod arrivals;
mod audit;
mod drops;
mod established;
mod flows;
mod fragments;
mod hairpin;
mod host;
mod host_ports;
mod lengths;
mod masquerade;
mod neighbours;
mod openings;
mod processes;
mod proxied;
mod related;
mod services;

use super::{Arrival, Outcome, Tables};
use crate::Delivery;
use crate::craft;
use abi::address::{AddressInfo, AddressKey};
use abi::config::{self, Config};
use abi::conntrack::ConnInfo;
use abi::endpoint::{EndpointInfo, EndpointKey, flag};
use abi::event::FlowEvent;
use abi::fixtures::{self, OnePort, address_info, all_addresses};
use abi::policy::{Direction, VerdictInfo, action};
use abi::row::{MapOp, Row, RowKey};
use abi::service::{BackendInfo, BackendKey, ServiceInfo, ServiceKey};
use abi::{Address, DropReason, Hook, identity};
use std::net::{IpAddr, SocketAddr};

const SECOND: u64 = 1_000_000_000;
const CLIENT: NativeWorkload = NativeWorkload { interface: 10, identity: 1000, mac: [2, 0, 0, 0, 10, 1] };
const SERVER: NativeWorkload = NativeWorkload { interface: 20, identity: 2000, mac: [2, 0, 0, 0, 20, 1] };
/// The node itself. It has the address `FamilyAddresses::other` where a test gives it that (see `NativeNode::own`).
const NODE: NativeWorkload = NativeWorkload { interface: 0, identity: identity::HOST, mac: [0; 6] };
/// An interface of the node that belongs to no workload.
const OUTSIDE: u32 = 5;
const HOST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xaa];
const PROXY: u32 = 99;
const RULE: u32 = 77;

/// A workload of the node, whose policy has the number of its interface.
#[derive(Clone, Copy)]
struct NativeWorkload {
    interface: u32,
    identity: u32,
    mac: [u8; 6],
}

/// The addresses of one family.
#[derive(Clone, Copy)]
struct FamilyAddresses {
    client: IpAddr,
    server: IpAddr,
    other: IpAddr,
    service: IpAddr,
    world: IpAddr,
}

/// The addresses of each family.
fn families() -> [FamilyAddresses; 2] {
    let family = |[client, server, other, service, world]: [&str; 5]| FamilyAddresses {
        client: client.parse().unwrap(),
        server: server.parse().unwrap(),
        other: other.parse().unwrap(),
        service: service.parse().unwrap(),
        world: world.parse().unwrap(),
    };
    [
        family(["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.96.0.1", "198.51.100.7"]),
        family(["fd00::1", "fd00::2", "fd00::3", "fd96::1", "2001:db8::7"]),
    ]
}

/// Runs the same case with the addresses of each family.
fn each_family(case: impl Fn(FamilyAddresses)) {
    families().into_iter().for_each(case);
}

fn at(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address, port)
}

/// What a node reports by default.
const MEDIUM: u32 = config::flag::REPORT_OPENED | config::flag::REPORT_ANSWERED | config::flag::REPORT_ENDED;

/// A node with client and server, and nothing enforced.
struct NativeNode {
    tables: Tables,
    now: u64,
}

impl NativeNode {
    fn new(family: FamilyAddresses) -> Self {
        Self::with_tables(family, Tables::new())
    }

    fn with_tables(family: FamilyAddresses, tables: Tables) -> Self {
        let mut node = Self { tables, now: 1000 * SECOND };
        node.configure(Config { proxy_interface: PROXY, flags: MEDIUM, ..Config::default() });
        all_addresses().into_iter().for_each(|row| node.put(row));
        for (workload, address) in [(CLIENT, family.client), (SERVER, family.server)] {
            node.enforce(workload, address, 0);
            let NativeWorkload { interface, identity, mac } = workload;
            let info = AddressInfo { interface, mac, ..address_info(identity) };
            node.put(Row::Address(AddressKey::host(address.into()), info));
        }
        node
    }

    fn put(&mut self, row: Row) {
        self.tables.apply(MapOp::Put(row));
    }

    fn configure(&mut self, config: Config) {
        self.put(Row::Config(config));
    }

    /// Replaces the workload's row by one with these flags.
    fn enforce(&mut self, workload: NativeWorkload, address: IpAddr, flags: u8) {
        let mut info = EndpointInfo {
            id: workload.interface,
            identity: workload.identity,
            policy: workload.interface,
            flags,
            mac: workload.mac,
            host_mac: HOST_MAC,
            ..EndpointInfo::default()
        };
        if address.is_ipv4() {
            info.v4 = address.into();
        } else {
            info.v6 = address.into();
        }
        self.put(Row::Endpoint(EndpointKey { interface: workload.interface }, info));
    }

    /// Makes an address the node's own.
    fn own(&mut self, address: IpAddr) {
        self.put(fixtures::address(address, identity::HOST));
    }

    /// Adds a verdict on `peer` at one port to the policy that has the number of the workload's interface.
    fn rule(
        &mut self,
        of: NativeWorkload,
        peer: u32,
        direction: Direction,
        port: (u8, u16),
        verdict: VerdictInfo,
    ) {
        let (protocol, port) = port;
        let rows = OnePort { policy: of.interface, peer, direction, protocol, port, verdict }.rows();
        rows.into_iter().for_each(|row| self.put(row));
    }

    /// A service with these backends, as set number `set`.
    fn serve(&mut self, protocol: u8, service: SocketAddr, set: u32, backends: &[SocketAddr]) {
        let count = backends.len() as u32;
        let port = service.port().to_be_bytes();
        let key = ServiceKey { address: service.ip().into(), port, protocol, padding: 0 };
        self.put(Row::Service(key, ServiceInfo { backends: set, count, flags: 0 }));
        for (index, backend) in (0..).zip(backends) {
            let port = backend.port().to_be_bytes();
            let info = BackendInfo { address: backend.ip().into(), port, padding: [0; 2] };
            self.put(Row::Backend(BackendKey { backends: set, index }, info));
        }
    }

    fn run(&self, hook: Hook, interface: u32, mark: u32, frame: &[u8]) -> Outcome {
        self.tables.run(hook, Arrival { interface, mark, frame, now: self.now, ..Arrival::default() })
    }

    /// Sends a workload a frame that came into the node by interface `ingress`.
    fn forward(&self, ingress: u32, to: NativeWorkload, frame: &[u8]) -> Outcome {
        let arrival =
            Arrival { interface: to.interface, ingress, frame, now: self.now, ..Arrival::default() };
        self.tables.run(Hook::ToWorkload, arrival)
    }

    /// Sends a workload a frame from outside, which the kernel translated: the flow was opened from `opener`.
    fn translated(&self, opener: IpAddr, to: NativeWorkload, frame: &[u8]) -> Outcome {
        let (interface, opener) = (to.interface, Some(opener.into()));
        let arrival =
            Arrival { interface, ingress: OUTSIDE, opener, frame, now: self.now, ..Arrival::default() };
        self.tables.run(Hook::ToWorkload, arrival)
    }

    fn from(&self, workload: NativeWorkload, frame: &[u8]) -> Outcome {
        self.run(Hook::FromWorkload, workload.interface, 0, frame)
    }

    fn to(&self, workload: NativeWorkload, frame: &[u8]) -> Outcome {
        self.run(Hook::ToWorkload, workload.interface, 0, frame)
    }

    fn wait(&mut self, seconds: u64) {
        self.now += seconds * SECOND;
    }

    /// The one connection there is.
    fn connection(&self) -> ConnInfo {
        let rows = self.tables.connections();
        assert_eq!(rows.len(), 1, "one connection is expected: {rows:?}");
        rows[0].1
    }
}

const ALLOW: VerdictInfo = VerdictInfo { action: action::ALLOW, rule: RULE, l7: 0 };
const DENY: VerdictInfo = VerdictInfo { action: action::DENY, rule: RULE, l7: 0 };
const PROXIED: VerdictInfo = VerdictInfo { action: action::REDIRECT, rule: RULE, l7: 5 };
const BOTH: u8 = flag::ENFORCE_INGRESS | flag::ENFORCE_EGRESS;

/// Asserts that the packet went out of the workload's interface, addressed to the workload.
fn delivered(outcome: &Outcome, to: NativeWorkload) {
    assert_eq!(outcome.verdict, Ok(Delivery::Egress(to.interface)));
    assert_eq!(outcome.frame[..6], to.mac);
    assert_eq!(outcome.frame[6..12], HOST_MAC);
    assert_eq!(craft::check(&outcome.frame), Ok(()));
}

/// Takes away all that a packet is judged by.
fn forget_all(node: &mut NativeNode, family: FamilyAddresses) {
    for address in [family.client, family.server] {
        node.tables.apply(MapOp::Delete(RowKey::Address(AddressKey::host(address.into()))));
    }
    for NativeWorkload { interface, .. } in [CLIENT, SERVER] {
        node.tables.apply(MapOp::Delete(RowKey::Endpoint(EndpointKey { interface })));
    }
}

/// Asserts that the packet was dropped, counted and reported for this reason, and nothing else happened.
fn dropped(node: &NativeNode, outcome: &Outcome, reason: DropReason) {
    assert_eq!(outcome.verdict, Err(reason));
    let reported: Vec<u8> = outcome.events.iter().map(|event: &FlowEvent| event.reason).collect();
    assert_eq!(reported, [reason as u8]);
    let counted = node.tables.counters();
    assert!(counted.iter().any(|&(index, row)| index / 2 == reason as u32 && row.packets > 0), "{counted:?}");
}
