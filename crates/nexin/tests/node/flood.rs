//! Tests that no flood of refused flows, and no loss of entries, ends the connections of others.

use crate::bed::{Bed, Host, SOON};
use crate::{CONNECTIONS, REQUESTS};
use abi::map;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};

/// More flows than the map of connections has entries.
const FLOWS: u32 = 300_000;

/// Sends two datagrams of each flow, as any program may without privileges. Policy refuses them all at the other end.
///
/// The kernel takes an entry that is looked up again for one in use.
fn flood(from: &Host, to: &Host) {
    let to = to.addresses[0];
    from.enter(|| {
        let mut flows = 0;
        while flows < FLOWS {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            for port in 1..=u16::MAX {
                // A full queue is no reason to stop.
                let sent = [(); 2].map(|()| socket.send_to(&[0], (to, port)).is_ok());
                flows += u32::from(sent == [true; 2]);
            }
        }
    });
}

/// How many entries the maps of connections and of flows without an answer have for an address.
fn entries_of(bed: &Bed, address: IpAddr) -> [usize; 2] {
    let maps = [abi::map::MapId::Conntrack, abi::map::MapId::Openings];
    let pinned = loader::Pinned::open(&loader::pin_directory(&bed.name), &maps).unwrap();
    let address = abi::Address::from(address);
    let connections = pinned.entries(map::Conntrack).unwrap();
    let openings = pinned.entries(map::Openings).unwrap();
    [
        connections.iter().filter(|(key, _)| key.local == address || key.remote == address).count(),
        openings.iter().filter(|(key, _)| key.local == address || key.remote == address).count(),
    ]
}

#[test]
#[ignore = "needs root"]
fn quiet_connections_of_others_outlive_a_flood_of_refused_flows() {
    let bed = Bed::new("ka");
    let (server, client) = (bed.workload("server"), bed.workload("client"));
    let (flooder, outside) = (bed.workload("flooder"), bed.outside());
    outside.serve("outside");
    bed.apply(CONNECTIONS);
    let to_server = (0..20).map(|_| client.connect(&server).unwrap());
    let to_outside = (0..20).map(|_| client.connect(&outside).unwrap());
    let mut quiet: Vec<_> = to_server.chain(to_outside).collect();
    assert!(quiet.iter_mut().all(|connection| connection.fetch("/") == Some(200)));
    flood(&flooder, &server);
    let alive = quiet.iter_mut().filter_map(|connection| connection.fetch("/")).count();
    assert_eq!(alive, quiet.len(), "connections that answer after the flood");
    assert_eq!(client.fetch(&server, "/"), Some(200), "a new connection");
    let [connections, openings] = entries_of(&bed, flooder.addresses[0]);
    assert!(
        connections == 0 && openings > 0,
        "{connections} connections, {openings} flows without an answer"
    );
}

/// Removes the entries of all flows of the node.
fn lose_entries(bed: &Bed) {
    let pins = loader::pin_directory(&bed.name);
    loader::clear(&pins, map::Conntrack).unwrap();
    loader::clear(&pins, map::Openings).unwrap();
}

/// Both ends of a connection to port 80, on which the client has sent and received bytes.
fn pair(from: &Host, to: &Host) -> [TcpStream; 2] {
    let listener = to.enter(|| TcpListener::bind("0.0.0.0:80")).unwrap();
    let client = from.stream_to(SocketAddr::new(to.addresses[0], 80)).unwrap();
    let (server, _) = listener.accept().unwrap();
    server.set_read_timeout(Some(SOON)).unwrap();
    let mut both = [client, server];
    assert!(passes(&mut both) && passes_back(&mut both));
    both
}

/// Whether a byte of one end arrives at the other.
fn arrives(mut from: &TcpStream, mut to: &TcpStream) -> bool {
    let mut byte = [0];
    from.write_all(b"x").is_ok() && to.read_exact(&mut byte).is_ok()
}

fn passes([client, server]: &mut [TcpStream; 2]) -> bool {
    arrives(client, server)
}

fn passes_back([client, server]: &mut [TcpStream; 2]) -> bool {
    arrives(server, client)
}

#[test]
#[ignore = "needs root"]
fn allowed_connections_without_entries_are_taken_up_again() {
    let bed = Bed::new("kb");
    let (server, client, other) =
        (bed.bare_workload("server"), bed.bare_workload("client"), bed.bare_workload("other"));
    let mut allowed = pair(&client, &server);
    let mut refused = pair(&other, &server);
    bed.apply(CONNECTIONS);
    assert!(passes(&mut allowed) && passes_back(&mut allowed));
    lose_entries(&bed);
    assert!(passes(&mut allowed), "the client sends first");
    assert!(passes_back(&mut allowed));
    lose_entries(&bed);
    assert!(passes_back(&mut allowed), "the server sends first");
    assert!(passes(&mut allowed));
    lose_entries(&bed);
    refused[1].set_read_timeout(Some(SOON / 10)).unwrap();
    assert!(!passes(&mut refused), "policy does not allow this connection");
    bed.delete("NetworkPolicy/default/connections");
    assert!(passes_back(&mut allowed) && passes(&mut allowed));
}

#[test]
#[ignore = "needs root"]
fn requests_on_connections_without_entries_are_judged() {
    let bed = Bed::new("kc");
    let (server, client) = (bed.workload("server"), bed.workload("client"));
    bed.apply(REQUESTS);
    let mut open = client.connect(&server).unwrap();
    for _ in 0..2 {
        assert_eq!((open.fetch("/public"), open.fetch("/private")), (Some(200), Some(403)));
        lose_entries(&bed);
    }
}
