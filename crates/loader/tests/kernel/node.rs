//! The node's own policy in the kernel: packets to and from the node, the world's and a workload's.

use crate::ground::{SYN, loaded, possible, tcp};
use abi::endpoint::{EndpointInfo, EndpointKey, flag};
use abi::event::{DropReason, PacketVerdict};
use abi::fixtures::{OnePort, address, all_addresses};
use abi::hook::Site;
use abi::policy::{Direction, VerdictInfo, action};
use abi::row::{MapOp, Row};
use abi::{Address, Hook, identity, protocol};
use loader::{EventRings, Loaded, ProgramAction};

/// The loopback: test-runs take an interface that is there for the packet's own.
const DOOR: u32 = 1;
const WORKLOAD: [u8; 4] = [10, 0, 0, 1];
const NODE: [u8; 4] = [10, 0, 0, 2];
const WORLD: [u8; 4] = [198, 51, 100, 7];

fn syn(source: ([u8; 4], u16), destination: ([u8; 4], u16)) -> Vec<u8> {
    tcp(source, destination, SYN)
}

/// A node with one workload. Only the node's own policy is enforced, in the directions of the flags.
fn node(flags: u8) -> Loaded {
    let loaded = loaded();
    let own = EndpointInfo { identity: identity::HOST, policy: 9, flags, ..EndpointInfo::default() };
    let workload =
        EndpointInfo { id: 1, identity: 256, v4: Address::from_v4(WORKLOAD), ..EndpointInfo::default() };
    let own = [
        address(Address::from_v4(WORKLOAD), 256),
        address(Address::from_v4(NODE), identity::HOST),
        Row::Endpoint(EndpointKey { interface: DOOR }, workload),
        Row::Endpoint(EndpointKey::NODE, own),
    ];
    let rows = all_addresses().into_iter().chain(own);
    loaded.apply(&rows.map(MapOp::Put).collect()).unwrap();
    loaded
}

/// Allows the peer one TCP port, by rule 7 of the node's policy.
fn allow(loaded: &Loaded, peer: u32, direction: Direction, port: u16) {
    let verdict = VerdictInfo { action: action::ALLOW, rule: 7, l7: 0 };
    let rows = OnePort { policy: 9, peer, direction, protocol: protocol::TCP, port, verdict }.rows();
    loaded.apply(&rows.map(MapOp::Put).into()).unwrap();
}

/// The action on a segment, and the verdict, reason and rule of each event.
fn run(
    loaded: &Loaded,
    events: &mut EventRings,
    hook: Hook,
    frame: &[u8],
) -> (ProgramAction, Vec<(u8, u8, u32)>) {
    let action = loaded.test_run(hook, frame, 0, DOOR).unwrap().action;
    (action, events.batch().map(|event| (event.verdict, event.reason, event.rule)).collect())
}

const REFUSED: (u8, u8, u32) = (PacketVerdict::Drop as u8, DropReason::PolicyDefaultDeny as u8, 0);

#[test]
fn the_nodes_policy_applies_at_every_hook_in_the_kernel() {
    if !possible() {
        return;
    }
    let loaded = node(flag::ENFORCE);
    let mut events = loaded.events().unwrap();
    let doors = [
        (Hook::FromOutside, syn((WORLD, 4000), (NODE, 22)), identity::WORLD, Direction::Ingress, 22),
        (Hook::ToOutside, syn((NODE, 4000), (WORLD, 443)), identity::WORLD, Direction::Egress, 443),
        (Hook::FromWorkload, syn((WORKLOAD, 4000), (NODE, 80)), 256, Direction::Ingress, 80),
        (Hook::ToWorkload, syn((NODE, 4000), (WORKLOAD, 81)), 256, Direction::Egress, 81),
    ];
    for (hook, frame, peer, direction, port) in doors {
        assert_eq!(run(&loaded, &mut events, hook, &frame), (ProgramAction::Drop, vec![REFUSED]), "{hook}");
        allow(&loaded, peer, direction, port);
        assert_eq!(run(&loaded, &mut events, hook, &frame), (ProgramAction::Pass, vec![]), "{hook}");
    }
    let passing = syn((WORLD, 4000), (WORKLOAD, 22));
    assert_eq!(run(&loaded, &mut events, Hook::FromOutside, &passing), (ProgramAction::Pass, vec![]));
}

#[test]
fn audit_mode_of_the_node_drops_nothing_in_the_kernel() {
    if !possible() {
        return;
    }
    let loaded = node(flag::ENFORCE | flag::AUDIT);
    let mut events = loaded.events().unwrap();
    let audited = (PacketVerdict::Audit as u8, DropReason::PolicyDefaultDeny as u8, 0);
    let doors = [
        (Hook::FromOutside, syn((WORLD, 4000), (NODE, 22))),
        (Hook::ToOutside, syn((NODE, 4000), (WORLD, 443))),
        (Hook::FromWorkload, syn((WORKLOAD, 4000), (NODE, 80))),
        (Hook::ToWorkload, syn((NODE, 4000), (WORKLOAD, 81))),
    ];
    for (hook, frame) in doors {
        assert_eq!(run(&loaded, &mut events, hook, &frame), (ProgramAction::Pass, vec![audited]), "{hook}");
    }
}

#[test]
fn without_a_policy_for_the_node_every_packet_passes_in_the_kernel() {
    if !possible() {
        return;
    }
    let loaded = node(0);
    let mut events = loaded.events().unwrap();
    for hook in Hook::of_site(Site::Outside) {
        let run = run(&loaded, &mut events, hook, &syn((WORLD, 4000), (NODE, 22)));
        assert_eq!(run, (ProgramAction::Pass, vec![]), "{hook}");
    }
    assert_eq!(loaded.connections().unwrap(), []);
}

#[test]
fn ports_in_the_padding_after_a_packet_are_not_the_packets_in_the_kernel() {
    if !possible() {
        return;
    }
    let loaded = node(flag::ENFORCE);
    let mut events = loaded.events().unwrap();
    allow(&loaded, identity::WORLD, Direction::Ingress, 22);
    let invalid = (PacketVerdict::Drop as u8, DropReason::InvalidPacket as u8, 0);
    let doors = [
        (Hook::FromOutside, syn((WORLD, 4000), (NODE, 22))),
        (Hook::ToOutside, syn((NODE, 4000), (WORLD, 443))),
        (Hook::FromWorkload, syn((WORKLOAD, 4000), (NODE, 80))),
        (Hook::ToWorkload, syn((NODE, 4000), (WORKLOAD, 81))),
    ];
    for (hook, mut frame) in doors {
        frame.resize(frame.len().max(60), 0);
        for total in [22_u16, 39] {
            frame[16..18].copy_from_slice(&total.to_be_bytes());
            let run = run(&loaded, &mut events, hook, &frame);
            assert_eq!(run, (ProgramAction::Drop, vec![invalid]), "{hook}, {total} bytes");
        }
    }
    let mut whole = syn((WORLD, 4000), (NODE, 22));
    whole.extend([0; 20]);
    assert_eq!(run(&loaded, &mut events, Hook::FromOutside, &whole), (ProgramAction::Pass, vec![]));
}
