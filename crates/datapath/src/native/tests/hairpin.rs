//! A workload that reaches itself through a service.

use super::masquerade::ends;
use super::*;
use crate::craft::flag::{ACK, SYN};

/// Into the client, past its hook.
const INTO_CLIENT: Result<Delivery, DropReason> = Ok(Delivery::Workload(CLIENT.interface));

/// The source that the backend sees.
fn hidden(family: FamilyAddresses) -> IpAddr {
    let source = if family.client.is_ipv4() { "169.254.42.1" } else { "100::a9fe:2a01" };
    source.parse().unwrap()
}

/// A client that may connect nowhere and is the only backend of each of its services.
fn own_backend(family: FamilyAddresses, protocol: u8) -> NativeNode {
    let mut node = NativeNode::new(family);
    node.enforce(CLIENT, family.client, BOTH);
    for service_port in [80, 81] {
        node.serve(protocol, at(family.service, service_port), 1, &[at(family.client, 8080)]);
    }
    node
}

#[test]
fn its_packets_come_back_to_it_and_their_answers_from_the_service_whatever_policy_allows() {
    each_family(|family| {
        let (client, service) = (at(family.client, 4000), at(family.service, 80));
        let (seen, backend) = (at(hidden(family), 4000), at(family.client, 8080));
        let segment = |from, to, flags| craft::tcp(from, to).flags(flags).payload(b"hello");
        let datagram = |from, to, _| craft::udp(from, to).payload(b"hello");
        for (protocol, craft) in [(6, &segment as &dyn Fn(_, _, _) -> craft::Craft), (17, &datagram)] {
            let node = own_backend(family, protocol);
            for (there, back) in [(SYN, SYN | ACK), (ACK, ACK), (ACK, ACK)] {
                let sent = node.from(CLIENT, &craft(client, service, there).frame());
                assert_eq!((sent.verdict, &sent.frame), (INTO_CLIENT, &craft(seen, backend, there).frame()));
                let answer = node.from(CLIENT, &craft(backend, seen, back).frame());
                assert_eq!(
                    (answer.verdict, &answer.frame),
                    (INTO_CLIENT, &craft(service, client, back).frame())
                );
                let opened: Vec<_> = sent.events.iter().map(|event| (event.source, event.service)).collect();
                let expected =
                    if there == SYN { vec![(seen.ip().into(), family.service.into())] } else { vec![] };
                assert_eq!((opened, answer.events.len()), (expected, 0), "the first packet is reported");
            }
        }
    });
}

#[test]
fn answers_come_from_the_service_that_their_flow_was_opened_to_last() {
    each_family(|family| {
        let node = own_backend(family, 17);
        let (client, seen, backend) =
            (at(family.client, 4000), at(hidden(family), 4000), at(family.client, 8080));
        for port in [80, 81, 80] {
            let service = at(family.service, port);
            node.from(CLIENT, &craft::udp(client, service).frame());
            let answer = node.from(CLIENT, &craft::udp(backend, seen).frame());
            assert_eq!(ends(&answer.frame), [service, client]);
        }
    });
}

#[test]
fn an_answer_to_no_such_packet_is_dropped() {
    each_family(|family| {
        let node = own_backend(family, 17);
        let answer =
            node.from(CLIENT, &craft::udp(at(family.client, 8080), at(hidden(family), 4000)).frame());
        dropped(&node, &answer, DropReason::NotEstablished);
    });
}

#[test]
fn no_other_sender_has_the_source_of_such_packets() {
    each_family(|family| {
        let node = own_backend(family, 17);
        let forged = craft::udp(at(hidden(family), 4000), at(family.client, 8080)).frame();
        dropped(&node, &node.from(SERVER, &forged), DropReason::InvalidSource);
        assert!(node.forward(OUTSIDE, CLIENT, &forged).verdict.is_err(), "policy judges it as any other");
    });
}
