//! Service addresses: there to a backend, and back.

use super::*;
use crate::craft::flag::{ACK, SYN};

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
            let mut node = Node::new(family);
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
    let mut node = Node::new(family);
    node.serve(17, at(family.service, 53), 1, &[at(family.server, 5353)]);
    let datagram = craft::udp(at(family.client, 4000), at(family.service, 53)).without_checksum();
    let sent = node.from(CLIENT, &datagram.frame());
    delivered(&sent, SERVER);
    assert_eq!(sent.frame[14 + 20 + 6..][..2], [0, 0]);
}

#[test]
fn flows_spread_over_backends() {
    each_family(|family| {
        let mut node = Node::new(family);
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
fn a_connection_stays_with_its_backend_and_a_new_one_leaves_it() {
    each_family(|family| {
        let mut node = Node::new(family);
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

#[test]
fn a_datagram_leaves_a_set_that_is_no_longer_the_services() {
    each_family(|family| {
        let mut node = Node::new(family);
        let service = at(family.service, 53);
        let ask = craft::udp(at(family.client, 4000), service).frame();
        node.serve(17, service, 1, &[at(family.server, 53)]);
        delivered(&node.from(CLIENT, &ask), SERVER);
        delivered(&node.from(CLIENT, &ask), SERVER);
        node.serve(17, service, 2, &[at(family.other, 53)]);
        let outcome = node.from(CLIENT, &ask);
        assert_eq!(outcome.events[0].destination, family.other.into());
    });
}

#[test]
fn policy_judges_the_backend_not_the_service() {
    each_family(|family| {
        let mut node = Node::new(family);
        node.enforce(CLIENT, family.client, BOTH);
        node.serve(6, at(family.service, 80), 1, &[at(family.server, 8080)]);
        node.rule(CLIENT, SERVER.identity, Direction::Egress, (6, 8080), ALLOW);
        delivered(
            &node.from(CLIENT, &craft::tcp(at(family.client, 4000), at(family.service, 80)).frame()),
            SERVER,
        );
    });
}
