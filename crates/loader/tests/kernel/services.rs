//! The backends that are chosen for flows to services, in the kernel.

use crate::ground::{ACK, SYN, options, possible, tcp, udp};
use abi::endpoint::{EndpointInfo, EndpointKey};
use abi::fixtures;
use abi::map;
use abi::row::{MapOp, Row};
use abi::service::{BackendInfo, BackendKey, ServiceInfo, ServiceKey};
use abi::{Address, Hook};
use loader::{Capacities, Loaded, Options, ProgramAction};

/// The loopback: test-runs take an interface that is there for the packet's own.
const DOOR: u32 = 1;
const CLIENT: [u8; 4] = [10, 0, 0, 1];
const SERVICE: [u8; 4] = [10, 96, 0, 1];
const PORT: u16 = 80;
const BACKENDS: [[u8; 4]; 2] = [[198, 51, 100, 7], [198, 51, 100, 8]];

/// A node with one workload, where nothing is enforced.
fn node(capacities: Capacities) -> Loaded {
    let loaded = Loaded::open(Options { capacities, ..options() }).unwrap_or_else(|error| panic!("{error}"));
    let client =
        EndpointInfo { id: 1, identity: 256, v4: Address::from_v4(CLIENT), ..EndpointInfo::default() };
    let own = [
        fixtures::address(Address::from_v4(CLIENT), 256),
        Row::Endpoint(EndpointKey { interface: DOOR }, client),
    ];
    let rows = fixtures::all_addresses().into_iter().chain(own);
    loaded.apply(&rows.map(MapOp::Put).collect()).unwrap();
    loaded
}

/// Gives the service one backend, under this set number.
fn serve(loaded: &Loaded, set: u32, backend: [u8; 4]) {
    let rows = [6, 17].map(|protocol| {
        let (address, port) = (Address::from_v4(SERVICE), PORT.to_be_bytes());
        let key = ServiceKey { address, port, protocol, padding: 0 };
        Row::Service(key, ServiceInfo { backends: set, count: 1, flags: 0 })
    });
    let info =
        BackendInfo { address: Address::from_v4(backend), port: 8080u16.to_be_bytes(), padding: [0; 2] };
    let backend = Row::Backend(BackendKey { backends: set, index: 0 }, info);
    loaded.apply(&[backend, rows[0], rows[1]].map(MapOp::Put).into()).unwrap();
}

/// Where the node sends a packet of the workload.
#[track_caller]
fn destination(loaded: &Loaded, frame: &[u8]) -> [u8; 4] {
    let run = loaded.test_run(Hook::FromWorkload, frame, 0, DOOR).unwrap();
    assert_eq!(run.action, ProgramAction::Pass);
    run.frame[30..34].try_into().unwrap()
}

#[test]
fn an_open_connection_keeps_its_backend_and_other_flows_leave_it() {
    if !possible() {
        return;
    }
    let loaded = node(Capacities::SMALL);
    let segment = |port, flags| tcp((CLIENT, port), (SERVICE, PORT), flags);
    let datagram = udp((CLIENT, 4000), (SERVICE, PORT));
    serve(&loaded, 1, BACKENDS[0]);
    for frame in [&segment(4000, SYN), &segment(4001, SYN), &datagram] {
        assert_eq!(destination(&loaded, frame), BACKENDS[0]);
    }
    let choices = loaded.entries(map::Choices).unwrap();
    assert!(choices.iter().all(|(_, choice)| choice.backends == 1), "{choices:?}");
    let connections = loaded.connections().unwrap();
    let backend = Address::from_v4(BACKENDS[0]);
    assert!(connections.iter().all(|(key, _)| key.remote == backend), "{connections:?}");
    assert_eq!((choices.len(), connections.len()), (3, 3));

    serve(&loaded, 2, BACKENDS[1]);
    assert_eq!(destination(&loaded, &segment(4000, ACK)), BACKENDS[0]);
    assert_eq!(destination(&loaded, &segment(4001, SYN)), BACKENDS[1]);
    assert_eq!(destination(&loaded, &datagram), BACKENDS[1]);

    loaded.clear(map::Choices).unwrap();
    assert_eq!(loaded.entries(map::Choices).unwrap(), []);
    assert_eq!(destination(&loaded, &segment(4000, ACK)), SERVICE, "nothing remembers its backend");
}

#[test]
fn a_full_map_of_choices_makes_room_and_connections_stay() {
    if !possible() {
        return;
    }
    let loaded = node(Capacities::SMALL.with(map::Choices, 64));
    serve(&loaded, 1, BACKENDS[0]);
    for port in 0..1000 {
        let datagram = udp((CLIENT, 4000 + port), (SERVICE, PORT));
        assert_eq!(destination(&loaded, &datagram), BACKENDS[0], "{port}");
    }
    let choices = loaded.entries(map::Choices).unwrap().len();
    assert!((1..=64).contains(&choices), "{choices}");
    assert_eq!(loaded.connections().unwrap().len(), 1000);
}
