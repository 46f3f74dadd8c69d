//! Flows that nothing has answered, and connections whose entries are lost.

use super::*;
use crate::Keep;
use crate::craft::flag::{ACK, FIN, RST, SYN};
use abi::conntrack::{self, ConnKey};
use abi::map;

const TCP: u8 = 6;

fn there(family: FamilyAddresses, flags: u8) -> Vec<u8> {
    craft::tcp(at(family.client, 4000), at(family.server, 80)).flags(flags).frame()
}

fn back(family: FamilyAddresses, flags: u8) -> Vec<u8> {
    craft::tcp(at(family.server, 80), at(family.client, 4000)).flags(flags).frame()
}

/// A node where the client may connect to the server's port 80; both ends enforce the directions in `client` and `server`.
fn node(family: FamilyAddresses, client: u8, server: u8) -> NativeNode {
    let mut node = NativeNode::new(family);
    node.enforce(CLIENT, family.client, client);
    node.enforce(SERVER, family.server, server);
    node.rule(CLIENT, SERVER.identity, Direction::Egress, (TCP, 80), ALLOW);
    node.rule(SERVER, CLIENT.identity, Direction::Ingress, (TCP, 80), ALLOW);
    node
}

/// Sends a segment by the sender's door and the receiver's; both let it pass.
#[track_caller]
fn passes(node: &NativeNode, from: NativeWorkload, to: NativeWorkload, frame: &[u8]) {
    let sent = node.from(from, frame);
    delivered(&sent, to);
    assert_eq!(node.forward(from.interface, to, &sent.frame).verdict, Ok(Delivery::Pass));
}

/// Opens the connection, and sends data both ways.
fn connect(node: &NativeNode, family: FamilyAddresses) {
    passes(node, CLIENT, SERVER, &there(family, SYN));
    passes(node, SERVER, CLIENT, &back(family, SYN | ACK));
    passes(node, CLIENT, SERVER, &there(family, ACK));
    passes(node, SERVER, CLIENT, &back(family, ACK));
}

/// Loses the entry that one door has of the connection.
fn lose(node: &NativeNode, local: (IpAddr, u16), remote: (IpAddr, u16)) {
    let key = ConnKey {
        local: local.0.into(),
        local_port: local.1.to_be_bytes(),
        remote: remote.0.into(),
        remote_port: remote.1.to_be_bytes(),
        protocol: TCP,
        padding: [0; 3],
    };
    let before = node.tables.connections().len();
    Keep::<map::Conntrack>::remove(&node.tables, &key);
    assert_eq!(node.tables.connections().len(), before - 1, "there was an entry");
}

#[test]
fn what_is_refused_behind_the_senders_door_takes_no_room_from_connections() {
    each_family(|family| {
        let node = node(family, flag::ENFORCE_INGRESS, BOTH);
        connect(&node, family);
        let connections = node.tables.entries(map::Conntrack);
        for port in 5000..5100 {
            let datagram = craft::udp(at(family.client, port), at(family.server, 9)).frame();
            delivered(&node.from(CLIENT, &datagram), SERVER);
            dropped(&node, &node.forward(CLIENT.interface, SERVER, &datagram), DropReason::PolicyDefaultDeny);
        }
        assert_eq!(node.tables.entries(map::Conntrack), connections);
        assert_eq!(node.tables.entries(map::Openings).len(), 100);
    });
}

#[test]
fn a_flow_becomes_a_connection_with_its_first_answer_unless_the_answer_ends_it() {
    each_family(|family| {
        let node = node(family, BOTH, BOTH);
        let sizes = |node: &NativeNode| {
            (node.tables.entries(map::Conntrack).len(), node.tables.entries(map::Openings).len())
        };
        node.to(SERVER, &there(family, SYN));
        node.to(SERVER, &there(family, SYN));
        assert_eq!(sizes(&node), (0, 1));
        assert_eq!(node.connection().packets_in, 2);
        assert!(node.from(SERVER, &back(family, RST | ACK)).verdict.is_ok());
        assert_eq!(sizes(&node), (0, 1));
        node.to(SERVER, &there(family, SYN));
        assert!(node.from(SERVER, &back(family, SYN | ACK)).verdict.is_ok());
        assert_eq!(sizes(&node), (1, 0));
        assert_eq!((node.connection().packets_in, node.connection().packets_out), (1, 1));
    });
}

#[test]
fn the_next_connection_between_the_same_ports_is_an_opening_again() {
    each_family(|family| {
        let node = node(family, BOTH, BOTH);
        connect(&node, family);
        passes(&node, CLIENT, SERVER, &there(family, FIN | ACK));
        passes(&node, SERVER, CLIENT, &back(family, FIN | ACK));
        let connections = node.tables.entries(map::Conntrack);
        passes(&node, CLIENT, SERVER, &there(family, SYN));
        assert_eq!(node.tables.entries(map::Conntrack), connections, "until it is accepted");
        assert_eq!(node.tables.entries(map::Openings).len(), 2);
        passes(&node, SERVER, CLIENT, &back(family, SYN | ACK));
        for (_, row) in node.tables.entries(map::Conntrack) {
            assert_eq!((row.packets_in, row.packets_out), (1, 1));
        }
        assert_eq!(node.tables.entries(map::Openings), []);
    });
}

#[test]
fn a_refusal_of_the_next_connection_between_the_same_ports_is_its_end() {
    each_family(|family| {
        let node = node(family, BOTH, BOTH);
        connect(&node, family);
        passes(&node, CLIENT, SERVER, &there(family, FIN | ACK));
        passes(&node, SERVER, CLIENT, &back(family, FIN | ACK));
        passes(&node, CLIENT, SERVER, &there(family, SYN));
        let refusal = back(family, RST | ACK);
        delivered(&node.from(SERVER, &refusal), CLIENT);
        let refused = node.forward(SERVER.interface, CLIENT, &refusal);
        assert_eq!((refused.verdict, refused.events.len()), (Ok(Delivery::Pass), 1));
        let openings = node.tables.entries(map::Openings);
        assert!(openings.iter().all(|(_, row)| row.flags & conntrack::flag::RESET != 0), "{openings:?}");
        // The segment opens yet another one.
        assert_eq!(node.from(CLIENT, &there(family, SYN)).events.len(), 1);
    });
}

#[test]
fn a_connection_stays_while_a_new_one_between_its_ports_has_no_answer() {
    each_family(|family| {
        let mut node = node(family, BOTH, BOTH);
        connect(&node, family);
        let connections = node.tables.entries(map::Conntrack);
        for events in [1, 0] {
            assert_eq!(node.from(CLIENT, &there(family, SYN)).events.len(), events);
        }
        assert_eq!(node.tables.entries(map::Conntrack), connections);
        passes(&node, SERVER, CLIENT, &back(family, ACK));
        // What policy refuses opens nothing, and a reset ends the connection.
        node.rule(CLIENT, SERVER.identity, Direction::Egress, (6, 80), DENY);
        node.wait(61);
        dropped(&node, &node.from(CLIENT, &there(family, SYN)), DropReason::PolicyDeny);
        passes(&node, CLIENT, SERVER, &there(family, RST));
        for (_, row) in node.tables.entries(map::Conntrack) {
            assert_ne!(row.flags & conntrack::flag::RESET, 0);
        }
    });
}

#[test]
fn a_connection_whose_entries_are_lost_is_taken_up_by_either_end() {
    const INGRESS: u8 = flag::ENFORCE_INGRESS;
    const EGRESS: u8 = flag::ENFORCE_EGRESS;
    each_family(|family| {
        for (client, server) in [(0, INGRESS), (EGRESS, 0), (EGRESS, INGRESS)] {
            for flags in [ACK, FIN | ACK, SYN | ACK] {
                let mut node = node(family, client, server);
                connect(&node, family);
                node.tables.forget();
                passes(&node, SERVER, CLIENT, &back(family, flags));
                passes(&node, CLIENT, SERVER, &there(family, ACK));
                node.tables.forget();
                passes(&node, CLIENT, SERVER, &there(family, ACK));
                passes(&node, SERVER, CLIENT, &back(family, ACK));
                assert_eq!(node.tables.entries(map::Conntrack).len(), 2);
            }
        }
    });
}

#[test]
fn where_both_directions_are_enforced_the_entry_of_the_other_end_shows_who_opened() {
    each_family(|family| {
        let node = node(family, BOTH, BOTH);
        connect(&node, family);
        let [client, server] = [(family.client, 4000), (family.server, 80)];
        lose(&node, client, server);
        passes(&node, SERVER, CLIENT, &back(family, ACK));
        lose(&node, server, client);
        passes(&node, CLIENT, SERVER, &there(family, ACK));
        passes(&node, SERVER, CLIENT, &back(family, ACK));
        let opened = |(key, row): (ConnKey, ConnInfo)| {
            (key.local, row.flags & (conntrack::flag::LOCAL_OPENED | conntrack::flag::TAKEN_UP))
        };
        let opened: Vec<_> = node.tables.connections().into_iter().map(opened).collect();
        let expected = [(family.client.into(), conntrack::flag::LOCAL_OPENED), (family.server.into(), 0)];
        assert_eq!(opened, expected);
        lose(&node, client, server);
        lose(&node, server, client);
        dropped(&node, &node.from(CLIENT, &there(family, ACK)), DropReason::NotEstablished);
        dropped(&node, &node.from(SERVER, &back(family, ACK)), DropReason::NotEstablished);
    });
}

#[test]
fn neither_end_chooses_the_direction_whose_rules_allow_a_connection() {
    each_family(|family| {
        // What the server may open itself is no way around the rule that cuts the connection to it.
        for (server, own) in [(flag::ENFORCE_INGRESS, false), (BOTH, true)] {
            let mut node = node(family, 0, server);
            connect(&node, family);
            node.rule(SERVER, CLIENT.identity, Direction::Ingress, (TCP, 80), DENY);
            if own {
                node.rule(SERVER, CLIENT.identity, Direction::Egress, (TCP, 4000), ALLOW);
            }
            node.tables.forget();
            dropped(&node, &node.from(SERVER, &back(family, ACK)), DropReason::NotEstablished);
            dropped(&node, &node.to(SERVER, &there(family, ACK)), DropReason::NotEstablished);
            // An entry that the other end made for a segment of its own is no proof.
            delivered(&node.from(CLIENT, &there(family, ACK)), SERVER);
            assert_eq!(node.to(CLIENT, &back(family, ACK)).verdict, Ok(Delivery::Pass));
            dropped(&node, &node.from(SERVER, &back(family, ACK)), DropReason::NotEstablished);
        }
        // What others may open to the client is no way around the rule that the client may not send.
        let mut node = node(family, BOTH, 0);
        node.rule(CLIENT, SERVER.identity, Direction::Ingress, (TCP, 4000), ALLOW);
        node.rule(CLIENT, SERVER.identity, Direction::Egress, (TCP, 80), DENY);
        dropped(&node, &node.from(CLIENT, &there(family, ACK)), DropReason::NotEstablished);
        dropped(&node, &node.to(CLIENT, &back(family, ACK)), DropReason::NotEstablished);
    });
}

#[test]
fn the_rules_of_both_directions_apply_to_a_connection_that_was_taken_up() {
    each_family(|family| {
        for direction in [Direction::Ingress, Direction::Egress] {
            let mut node = NativeNode::new(family);
            node.enforce(SERVER, family.server, BOTH);
            node.rule(SERVER, CLIENT.identity, Direction::Ingress, (TCP, 80), ALLOW);
            node.rule(SERVER, CLIENT.identity, Direction::Egress, (TCP, 4000), ALLOW);
            for first in [true, false] {
                let (to, from) = (there(family, ACK), back(family, ACK));
                let pass = |node: &NativeNode| match first {
                    true => [node.to(SERVER, &to), node.from(SERVER, &from)],
                    false => [node.from(SERVER, &from), node.to(SERVER, &to)],
                };
                node.tables.forget();
                assert!(pass(&node).iter().all(|outcome| outcome.verdict.is_ok()));
                let port = if direction == Direction::Ingress { 80 } else { 4000 };
                node.rule(SERVER, CLIENT.identity, direction, (TCP, port), DENY);
                node.configure(Config { epoch: 1 + u32::from(first), ..Config::default() });
                for outcome in pass(&node) {
                    dropped(&node, &outcome, DropReason::PolicyDeny);
                }
                node.rule(SERVER, CLIENT.identity, direction, (TCP, port), ALLOW);
            }
        }
    });
}
