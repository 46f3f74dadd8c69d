//! Events in the rings of the kernel: each is read, or counted as lost, and forwarded packets take no room from denied ones.

use crate::ground::{SYN, loaded, possible, tcp};
use abi::Hook;
use abi::config::{Config, flag};
use abi::endpoint::{EndpointInfo, EndpointKey};
use abi::event::FlowEvent;
use abi::fixtures::{address, all_addresses};
use abi::row::{MapOp, Row};
use abi::{Address, identity};
use loader::{EventRings, Loaded, LostCounts, PacketContext, ProgramAction};

/// The loopback: test-runs take an interface that is there for the packet's own.
const DOOR: u32 = 1;
const WORKLOAD: [u8; 4] = [10, 0, 0, 1];
const WORLD: [u8; 4] = [198, 51, 100, 7];

/// A workload without policy, on a node with these flags.
fn node(flags: u32) -> Loaded {
    let loaded = loaded();
    let workload =
        EndpointInfo { id: 1, identity: 256, v4: Address::from_v4(WORKLOAD), ..EndpointInfo::default() };
    let own = [
        address(Address::from_v4(WORKLOAD), 256),
        address(Address::from_v4(WORLD), identity::WORLD),
        Row::Endpoint(EndpointKey { interface: DOOR }, workload),
        Row::Config(Config { flags, ..Config::default() }),
    ];
    let rows = all_addresses().into_iter().chain(own);
    loaded.apply(&rows.map(MapOp::Put).collect()).unwrap();
    loaded
}

/// Sends the workload the same packet many times.
fn forward(loaded: &Loaded, count: u32) {
    let frame = tcp((WORLD, 4000), (WORKLOAD, 80), SYN);
    let packet = PacketContext { interface: DOOR, ..PacketContext::default() };
    let run = loaded.run(Hook::ToWorkload, &frame, packet, count).unwrap();
    assert_eq!(run.action, ProgramAction::Pass);
}

/// Makes the workload send a packet with another's address many times.
fn deny(loaded: &Loaded, count: u32) {
    let frame = tcp((WORLD, 4000), (WORKLOAD, 80), SYN);
    let packet = PacketContext { interface: DOOR, ..PacketContext::default() };
    let run = loaded.run(Hook::FromWorkload, &frame, packet, count).unwrap();
    assert_eq!(run.action, ProgramAction::Drop);
}

/// How many events of forwarded and of denied packets wait.
fn waiting(events: &mut EventRings) -> [u64; 2] {
    let (denials, forwards): (Vec<FlowEvent>, Vec<FlowEvent>) =
        events.batch().partition(FlowEvent::is_denial);
    [forwards.len() as u64, denials.len() as u64]
}

#[test]
fn every_event_is_read_or_counted() {
    if !possible() {
        return;
    }
    let loaded = node(flag::REPORT_PACKETS);
    let mut events = loaded.events().unwrap();
    let made = [4000, 2000];
    forward(&loaded, 4000);
    deny(&loaded, 2000);
    let seen = waiting(&mut events);
    let LostCounts { forwards, denials } = loaded.counters().lost_events().unwrap();
    assert!(seen.iter().zip(made).all(|(seen, made)| *seen > 0 && *seen < made), "{seen:?}");
    assert_eq!([seen[0] + forwards, seen[1] + denials], made, "seen {seen:?}");

    // There is room again, and nothing more is lost.
    forward(&loaded, 100);
    assert_eq!(waiting(&mut events), [100, 0]);
    assert_eq!(events.lost().unwrap(), LostCounts { forwards, denials });
}

#[test]
fn forwarded_packets_take_no_room_from_denied_ones() {
    if !possible() {
        return;
    }
    let loaded = node(flag::REPORT_PACKETS);
    let mut events = loaded.events().unwrap();
    forward(&loaded, 4000);
    deny(&loaded, 200);
    let LostCounts { forwards, denials } = loaded.counters().lost_events().unwrap();
    assert!(forwards > 0);
    assert_eq!((denials, waiting(&mut events)[1]), (0, 200));
}

#[test]
fn the_configuration_chooses_the_packets_that_are_reported() {
    if !possible() {
        return;
    }
    for (flags, expected) in [
        (0, 0),
        (flag::REPORT_OPENED, 1),
        (flag::REPORT_ANSWERED | flag::REPORT_ENDED, 0),
        (flag::REPORT_PACKETS, 50),
        (flag::REPORT_HOPS, 0),
    ] {
        let loaded = node(flags);
        let mut events = loaded.events().unwrap();
        forward(&loaded, 50);
        assert_eq!(waiting(&mut events), [expected, 0], "{flags:#b}");
    }
}
