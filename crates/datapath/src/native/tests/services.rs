//! Service addresses: there to a backend, and back.

use super::*;
use crate::craft::flag::{ACK, FIN, RST, SYN};
use abi::capacity::Capacities;
use abi::map;
use abi::service::{ChoiceInfo, choice_flag, service_flag};

/// A packet of each protocol that services have.
fn request(protocol: u8, from: SocketAddr, to: SocketAddr) -> craft::Craft {
    match protocol {
        6 => craft::tcp(from, to),
        17 => craft::udp(from, to),
        _ => craft::sctp(from, to),
    }
}

#[test]
fn a_request_goes_to_the_backend_and_its_answer_comes_from_the_service() {
    each_family(|family| {
        for (protocol, service_port, port) in [(6, 80, 8080), (17, 53, 5353), (132, 9, 9), (6, 80, 80)] {
            let mut node = NativeNode::new(family);
            node.serve(protocol, at(family.service, service_port), 1, &[at(family.server, port)]);
            let (client, server) = (at(family.client, 4000), at(family.server, port));
            let service = at(family.service, service_port);

            let sent = node.from(CLIENT, &request(protocol, client, service).payload(b"hello").frame());
            delivered(&sent, SERVER);
            let expected = request(protocol, client, server).payload(b"hello");
            assert_eq!(sent.frame, expected.hop_limit(63).link(HOST_MAC, SERVER.mac).frame());
            assert_eq!(sent.events[0].service, Address::from(family.service));
            assert_eq!(sent.events[0].destination, Address::from(family.server));

            let mut back = request(protocol, server, client).payload(b"hi");
            let mut seen = request(protocol, service, client).payload(b"hi");
            if protocol == 6 {
                (back, seen) = (back.flags(SYN | ACK), seen.flags(SYN | ACK));
            }
            let outcome = node.to(CLIENT, &back.frame());
            assert_eq!(outcome.verdict, Ok(Delivery::Pass));
            assert_eq!(outcome.frame, seen.frame());
        }
    });
}

#[test]
fn a_datagram_without_checksum_stays_without() {
    let [family, _] = families();
    let mut node = NativeNode::new(family);
    node.serve(17, at(family.service, 53), 1, &[at(family.server, 5353)]);
    let datagram = craft::udp(at(family.client, 4000), at(family.service, 53)).without_checksum();
    let sent = node.from(CLIENT, &datagram.frame());
    delivered(&sent, SERVER);
    assert_eq!(sent.frame[14 + 20 + 6..][..2], [0, 0]);
}

#[test]
fn flows_spread_over_backends() {
    each_family(|family| {
        let mut node = NativeNode::new(family);
        node.serve(6, at(family.service, 80), 1, &[at(family.server, 80), at(family.other, 80)]);
        let to_server = (0..200)
            .filter(|port| {
                let syn = craft::tcp(at(family.client, 4000 + port), at(family.service, 80)).frame();
                node.from(CLIENT, &syn).events[0].destination == family.server.into()
            })
            .count();
        assert!((60..140).contains(&to_server), "{to_server} of 200");
    });
}

#[test]
fn all_flows_of_a_client_reach_one_backend_of_a_service_that_keeps_its_clients() {
    each_family(|family| {
        let mut node = NativeNode::new(family);
        let service = at(family.service, 80);
        node.serve(6, service, 1, &[at(family.server, 80), at(family.other, 80)]);
        let key = ServiceKey { address: family.service.into(), port: [0, 80], protocol: 6, padding: 0 };
        let flags = service_flag::ONE_BACKEND_OF_CLIENT;
        node.put(Row::Service(key, ServiceInfo { backends: 1, count: 2, flags }));
        let backends = (0..50).map(|port| {
            let syn = craft::tcp(at(family.client, 4000 + port), service).frame();
            node.from(CLIENT, &syn).events[0].destination
        });
        let backends: std::collections::HashSet<Address> = backends.collect();
        assert_eq!(backends.len(), 1);
    });
}

#[test]
fn a_connection_stays_with_its_backend_and_a_new_one_leaves_it() {
    each_family(|family| {
        let mut node = NativeNode::new(family);
        let service = at(family.service, 80);
        node.serve(6, service, 1, &[at(family.server, 80)]);
        let syn = craft::tcp(at(family.client, 4000), service);
        delivered(&node.from(CLIENT, &syn.clone().frame()), SERVER);
        node.serve(6, service, 2, &[at(family.other, 80)]);
        delivered(&node.from(CLIENT, &syn.clone().flags(ACK).frame()), SERVER);
        let anew = node.from(CLIENT, &syn.frame());
        assert_eq!(anew.events[0].destination, family.other.into());
    });
}

/// A node whose service has the server as its backend, and got one datagram of the client: with the service's address and
/// the datagram's frame.
fn after_a_datagram(family: FamilyAddresses) -> (NativeNode, SocketAddr, Vec<u8>) {
    let mut node = NativeNode::new(family);
    let service = at(family.service, 53);
    let ask = craft::udp(at(family.client, 4000), service).frame();
    node.serve(17, service, 1, &[at(family.server, 53)]);
    delivered(&node.from(CLIENT, &ask), SERVER);
    (node, service, ask)
}

#[test]
fn a_datagram_leaves_a_set_that_is_no_longer_the_services() {
    each_family(|family| {
        let (mut node, service, ask) = after_a_datagram(family);
        delivered(&node.from(CLIENT, &ask), SERVER);
        node.serve(17, service, 2, &[at(family.other, 53)]);
        let outcome = node.from(CLIENT, &ask);
        assert_eq!(outcome.events[0].destination, family.other.into());
    });
}

#[test]
fn policy_judges_the_backend_not_the_service() {
    each_family(|family| {
        let mut node = NativeNode::new(family);
        node.enforce(CLIENT, family.client, BOTH);
        node.serve(6, at(family.service, 80), 1, &[at(family.server, 8080)]);
        node.rule(CLIENT, SERVER.identity, Direction::Egress, (6, 8080), ALLOW);
        delivered(
            &node.from(CLIENT, &craft::tcp(at(family.client, 4000), at(family.service, 80)).frame()),
            SERVER,
        );
    });
}

/// The one choice there is.
fn choice(node: &NativeNode) -> ChoiceInfo {
    let [(_, choice)] = node.tables.entries(map::Choices)[..] else {
        panic!("one choice is expected: {:?}", node.tables.entries(map::Choices))
    };
    choice
}

#[test]
fn a_choice_is_no_connection() {
    each_family(|family| {
        for protocol in [6, 17] {
            let mut node = NativeNode::new(family);
            let (client, service) = (at(family.client, 4000), at(family.service, 80));
            node.serve(protocol, service, 7, &[at(family.server, 8080)]);
            delivered(&node.from(CLIENT, &request(protocol, client, service).frame()), SERVER);
            let [(key, choice)] = node.tables.entries(map::Choices)[..] else { panic!("one choice") };
            assert_eq!((key.client, key.client_port), (family.client.into(), 4000u16.to_be_bytes()));
            assert_eq!((key.service, key.service_port), (family.service.into(), 80u16.to_be_bytes()));
            assert_eq!((choice.backends, choice.flags), (7, 0));
            assert_eq!(choice.backend.address, family.server.into());
            let [(connection, _)] = node.tables.connections()[..] else { panic!("one connection") };
            assert_eq!(connection.remote, family.server.into());
        }
    });
}

#[test]
fn a_connection_keeps_its_backend_until_it_is_over() {
    each_family(|family| {
        for end in [FIN | ACK, RST] {
            let mut node = NativeNode::new(family);
            let service = at(family.service, 80);
            let segment = |flags| craft::tcp(at(family.client, 4000), service).flags(flags).frame();
            node.serve(6, service, 1, &[at(family.server, 80)]);
            delivered(&node.from(CLIENT, &segment(SYN)), SERVER);
            delivered(&node.from(CLIENT, &segment(ACK)), SERVER);
            for (set, backend) in [(2, family.other), (3, family.world)] {
                node.serve(6, service, set, &[at(backend, 80)]);
                node.wait(3600);
                delivered(&node.from(CLIENT, &segment(ACK)), SERVER);
            }
            delivered(&node.from(CLIENT, &segment(end)), SERVER);
            assert_eq!(choice(&node).flags, choice_flag::CLOSED);
            node.wait(59);
            delivered(&node.from(CLIENT, &segment(ACK)), SERVER);
            node.wait(61);
            let late = node.from(CLIENT, &segment(ACK));
            assert_eq!(late.events[0].destination, family.service.into(), "no choice counts any more");
            let anew = node.from(CLIENT, &segment(SYN));
            assert_eq!(anew.events[0].destination, family.world.into());
        }
    });
}

#[test]
fn datagrams_keep_their_backend_while_they_follow_one_another() {
    each_family(|family| {
        let (mut node, service, ask) = after_a_datagram(family);
        // Another backend under the same number: the choice counts, not what a lookup would find.
        node.serve(17, service, 1, &[at(family.other, 53)]);
        for _ in 0..3 {
            node.wait(59);
            delivered(&node.from(CLIENT, &ask), SERVER);
        }
        node.wait(61);
        node.from(CLIENT, &ask);
        assert_eq!(choice(&node).backend.address, family.other.into());
    });
}

#[test]
fn a_full_map_of_choices_makes_room_and_a_flow_in_use_stays() {
    each_family(|family| {
        let capacities = Capacities::DEFAULT.with(map::Choices, 4);
        let mut node = NativeNode::with_tables(family, Tables::with_capacities(&capacities));
        let (tcp, udp) = (at(family.service, 80), at(family.service, 53));
        node.serve(6, tcp, 1, &[at(family.server, 80)]);
        node.serve(17, udp, 2, &[at(family.server, 53)]);
        let segment = |port, flags| craft::tcp(at(family.client, port), tcp).flags(flags).frame();
        delivered(&node.from(CLIENT, &segment(4000, SYN)), SERVER);
        delivered(&node.from(CLIENT, &segment(4001, SYN)), SERVER);
        node.serve(6, tcp, 3, &[at(family.other, 80)]);
        for port in 5000..5050 {
            delivered(&node.from(CLIENT, &segment(4000, ACK)), SERVER);
            delivered(&node.from(CLIENT, &craft::udp(at(family.client, port), udp).frame()), SERVER);
        }
        assert_eq!(node.tables.entries(map::Choices).len(), 4);
        assert!(node.tables.connections().len() > 50, "connections have room of their own");
        let idle = node.from(CLIENT, &segment(4001, ACK));
        assert_eq!(idle.events[0].destination, family.service.into(), "its choice made room");
    });
}
