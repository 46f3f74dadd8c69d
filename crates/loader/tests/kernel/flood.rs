//! Connections beside a flood of flows that nothing answers, and after their entries are lost, in the kernel.

use crate::ground::{ACK, SYN, interface, loaded, possible, tcp, udp};
use abi::endpoint::{EndpointInfo, EndpointKey, flag};
use abi::fixtures::{self, OnePort};
use abi::policy::{Direction, VerdictInfo, action};
use abi::row::{MapOp, Row};
use abi::{Address, Hook, identity, map, protocol};
use loader::{Loaded, PacketContext, ProgramAction};

const QUIET: [u8; 4] = [10, 0, 0, 1];
const FLOODING: [u8; 4] = [10, 0, 0, 2];
/// The loopback: test-runs take interfaces that are there.
const FLOODING_DOOR: u32 = 1;
const WORLD: [u8; 4] = [198, 51, 100, 7];
const ALLOW: VerdictInfo = VerdictInfo { action: action::ALLOW, rule: 1, l7: 0 };
const POLICY: u32 = 9;
const CONNECTIONS: u16 = 50;

/// A node with a workload that may connect to the world's port 443 under this enforcement, behind the interface that is
/// returned, and another one for which nothing is enforced.
fn node(enforced: u8) -> (Loaded, u32) {
    let door = interface();
    let loaded = loaded();
    let endpoint = |id, interface, address: [u8; 4], flags| {
        let own = EndpointInfo { id, identity: 256 + id, policy: POLICY, flags, ..EndpointInfo::default() };
        let row = EndpointInfo { v4: Address::from_v4(address), ..own };
        [
            fixtures::address(Address::from_v4(address), 256 + id),
            Row::Endpoint(EndpointKey { interface }, row),
        ]
    };
    let egress = OnePort {
        policy: POLICY,
        peer: identity::WORLD,
        direction: Direction::Egress,
        protocol: protocol::TCP,
        port: 443,
        verdict: ALLOW,
    };
    let own = [endpoint(1, door, QUIET, enforced), endpoint(2, FLOODING_DOOR, FLOODING, 0)].concat();
    let rows = fixtures::all_addresses().into_iter().chain(own).chain(egress.rows());
    loaded.apply(&rows.map(MapOp::Put).collect()).unwrap();
    (loaded, door)
}

fn there(port: u16, flags: u8) -> Vec<u8> {
    tcp((QUIET, port), (WORLD, 443), flags)
}

fn back(port: u16, flags: u8) -> Vec<u8> {
    tcp((WORLD, 443), (QUIET, port), flags)
}

#[track_caller]
fn passes(loaded: &Loaded, hook: Hook, frame: &[u8], door: u32) {
    assert_eq!(loaded.test_run(hook, frame, 0, door).unwrap().action, ProgramAction::Pass);
}

fn connect(loaded: &Loaded, door: u32) {
    for port in 4000..4000 + CONNECTIONS {
        passes(loaded, Hook::FromWorkload, &there(port, SYN), door);
        passes(loaded, Hook::ToWorkload, &back(port, SYN | ACK), door);
        passes(loaded, Hook::FromWorkload, &there(port, ACK), door);
    }
}

#[test]
fn quiet_connections_outlive_a_flood_of_datagrams_that_nothing_answers() {
    const FLOWS: u32 = 250_000;
    if !possible() {
        return;
    }
    let (loaded, door) = node(flag::ENFORCE);
    connect(&loaded, door);
    for number in 0..FLOWS {
        let [_, host, high, low] = number.to_be_bytes();
        let to = ([203, 0, 113, host], u16::from_be_bytes([high, low]).max(1));
        // The second datagram of a flow makes its entry one that the kernel takes for used.
        let packet = PacketContext { interface: FLOODING_DOOR, ..PacketContext::default() };
        let run = loaded.run(Hook::FromWorkload, &udp((FLOODING, 5000), to), packet, 2).unwrap();
        assert_eq!(run.action, ProgramAction::Pass);
    }
    for port in 4000..4000 + CONNECTIONS {
        passes(&loaded, Hook::FromWorkload, &there(port, ACK), door);
        passes(&loaded, Hook::ToWorkload, &back(port, ACK), door);
    }
    let rows = loaded.entries(map::Openings).unwrap().len();
    assert!(rows > 1000 && rows <= 4096, "{rows} flows that nothing answered");
}

#[test]
fn connections_whose_entries_are_lost_are_taken_up_in_the_kernel() {
    if !possible() {
        return;
    }
    let (loaded, door) = node(flag::ENFORCE_EGRESS);
    connect(&loaded, door);
    let first = [(Hook::FromWorkload, there(4000, ACK)), (Hook::ToWorkload, back(4000, ACK))];
    for (hook, frame) in [first.clone(), [first[1].clone(), first[0].clone()]].concat() {
        loaded.clear(map::Conntrack).unwrap();
        loaded.clear(map::Openings).unwrap();
        passes(&loaded, hook, &frame, door);
        for (hook, frame) in &first {
            passes(&loaded, *hook, frame, door);
        }
    }
    let refused = tcp((QUIET, 4000), (WORLD, 80), ACK);
    let run = loaded.test_run(Hook::FromWorkload, &refused, 0, door).unwrap();
    assert_eq!(run.action, ProgramAction::Drop);
}
