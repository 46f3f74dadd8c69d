//! Flows of workloads to the world under the node's address.

use super::*;
use crate::craft::flag::{ACK, FIN, RST, SYN};
use crate::native::frame::Frame;
use abi::map;
use abi::masquerade::MasqueradeConfig;
use std::collections::HashSet;

const PASS: Result<Delivery, DropReason> = Ok(Delivery::Pass);
/// The ports that flows get.
const FIRST: u16 = 20_000;

/// A node that masquerades with the family's `other` address and this many ports.
fn masquerading(family: FamilyAddresses, ports: u16) -> NativeNode {
    let mut node = NativeNode::new(family);
    node.own(family.other);
    configure(&mut node, family.other, ports, 0);
    node
}

fn configure(node: &mut NativeNode, address: IpAddr, ports: u16, epoch: u32) {
    let flags = MEDIUM | config::flag::NODE_OPEN | config::flag::MASQUERADE;
    let masquerade = with_address(address, ports);
    node.configure(Config { epoch, flags, masquerade, ..Config::default() });
}

fn with_address(address: IpAddr, ports: u16) -> MasqueradeConfig {
    let masquerade = MasqueradeConfig { first_port: FIRST, ports, ..MasqueradeConfig::default() };
    match address {
        IpAddr::V4(_) => MasqueradeConfig { v4: address.into(), ..masquerade },
        IpAddr::V6(_) => MasqueradeConfig { v6: address.into(), ..masquerade },
    }
}

/// An ICMP error up to the ports of the packet in it. The message's checksum depends on that of the packet in it, which a
/// receiver does not check.
fn without_sums(error: &[u8]) -> [&[u8]; 2] {
    let header = if error[14] >> 4 == 4 { 20 } else { 40 };
    let message = 14 + header;
    [&error[14..message + 2], &error[message + 4..message + 8 + header + 4]]
}

/// An echo request, or the reply to one.
fn echo(from: IpAddr, to: IpAddr, identifier: u16, is_reply: bool) -> Vec<u8> {
    let kind = match (from, is_reply) {
        (IpAddr::V4(_), false) => 8,
        (IpAddr::V4(_), true) => 0,
        (IpAddr::V6(_), false) => 128,
        (IpAddr::V6(_), true) => 129,
    };
    craft::icmp(from, to, kind, 0).identifier(identifier).frame()
}

/// The packet as it leaves the node, after the hooks of its workload and of the way out.
pub(super) fn leave(node: &NativeNode, of: NativeWorkload, frame: &[u8]) -> Outcome {
    let sent = node.from(of, frame);
    assert_eq!(sent.verdict, PASS, "{sent:?}");
    out(node, of.interface, &sent.frame)
}

pub(super) fn out(node: &NativeNode, ingress: u32, frame: &[u8]) -> Outcome {
    let arrival = Arrival { interface: OUTSIDE, ingress, frame, now: node.now, ..Arrival::default() };
    node.tables.run(Hook::ToOutside, arrival)
}

/// The packet as it comes into the node.
pub(super) fn come(node: &NativeNode, frame: &[u8]) -> Outcome {
    let arrival =
        Arrival { interface: OUTSIDE, ingress: OUTSIDE, frame, now: node.now, ..Arrival::default() };
    node.tables.run(Hook::FromOutside, arrival)
}

/// The ends of a packet, source first.
pub(super) fn ends(frame: &[u8]) -> [SocketAddr; 2] {
    assert_eq!(craft::check(frame), Ok(()));
    let mut flow = crate::parse::PacketFlow::unknown();
    let arrival = Arrival { frame, ..Arrival::default() };
    let packet = Frame::new(arrival, Default::default(), HashSet::new());
    crate::parse::headers(&packet, &mut flow).unwrap();
    let destination_port = if flow.is_icmp() { [0; 2] } else { flow.destination_port };
    [(flow.source, flow.source_port), (flow.destination, destination_port)]
        .map(|(address, port)| SocketAddr::new(address.into(), u16::from_be_bytes(port)))
}

#[test]
fn a_flow_gets_the_nodes_address_and_its_answers_the_workloads() {
    each_family(|family| {
        let node = masquerading(family, 1000);
        let (client, world) = (at(family.client, 4000), at(family.world, 443));
        let segment = |from, to, flags| craft::tcp(from, to).flags(flags);
        let datagram = |from, to, _| craft::udp(from, to);
        for craft in [&segment as &dyn Fn(_, _, _) -> craft::Craft, &datagram] {
            let sent = leave(&node, CLIENT, &craft(client, world, SYN).frame());
            assert_eq!((sent.verdict, sent.events.len()), (PASS, 0));
            let [source, destination] = ends(&sent.frame);
            assert_eq!((source.ip(), destination), (family.other, world));
            assert!((FIRST..FIRST + 1000).contains(&source.port()), "{source}");
            let answered = come(&node, &craft(world, source, SYN | ACK).frame());
            assert_eq!((answered.verdict, ends(&answered.frame)), (PASS, [world, client]));
            let received = node.forward(OUTSIDE, CLIENT, &answered.frame);
            assert_eq!(received.verdict, PASS);
            // The packets after these are rewritten by one lookup.
            for _ in 0..2 {
                let sent = leave(&node, CLIENT, &craft(client, world, ACK).payload(b"again").frame());
                assert_eq!(ends(&sent.frame), [source, world]);
                let answered = come(&node, &craft(world, source, ACK).payload(b"answer").frame());
                assert_eq!(ends(&answered.frame), [world, client]);
            }
        }
    });
}

#[test]
fn what_is_not_a_workloads_or_stays_in_the_cluster_keeps_its_address() {
    each_family(|family| {
        let mut node = masquerading(family, 1000);
        let addresses = match family.client {
            IpAddr::V4(_) => ["10.9.9.9", "192.0.2.9", "203.0.113.9"],
            IpAddr::V6(_) => ["fd00:9::9", "2001:db8:9::9", "2001:db8:8::9"],
        };
        let [pod, other, kept]: [IpAddr; 3] = addresses.map(|address| address.parse().unwrap());
        node.put(fixtures::address(pod, identity::UNKNOWN));
        node.put(fixtures::address(other, identity::REMOTE_NODE));
        node.put(Row::Unmasqueraded(AddressKey::host(kept.into()), 1));
        for to in [pod, other, kept] {
            for _ in 0..2 {
                let frame = craft::tcp(at(family.client, 4000), at(to, 80)).frame();
                assert_eq!(ends(&leave(&node, CLIENT, &frame).frame), [at(family.client, 4000), at(to, 80)]);
            }
        }
        // The node itself, and others that send through the node.
        for (ingress, source) in [(0, family.other), (0, family.client), (OUTSIDE, family.world)] {
            let frame = craft::tcp(at(source, 4000), at(family.world, 80)).frame();
            assert_eq!(ends(&out(&node, ingress, &frame).frame)[0], at(source, 4000));
        }
        let broken = craft::tcp(at(family.world, 4000), at(family.world, 80)).frame();
        assert_eq!(out(&node, OUTSIDE, &broken[..40]).verdict, PASS, "what others send is theirs");
        assert_eq!(node.tables.entries(map::Masquerades), []);
    });
}

#[test]
fn an_answer_to_a_flow_from_outside_keeps_the_workloads_address() {
    each_family(|family| {
        let node = masquerading(family, 1000);
        let (world, server) = (at(family.world, 4000), at(family.server, 80));
        let opening = craft::tcp(world, server).frame();
        assert_eq!(come(&node, &opening).frame, opening);
        assert_eq!(node.forward(OUTSIDE, SERVER, &opening).verdict, PASS);
        let answer = craft::tcp(server, world).flags(SYN | ACK).frame();
        assert_eq!(ends(&leave(&node, SERVER, &answer).frame), [server, world]);
        let error = craft::icmp_error(family.server, family.world, 3, 4, &opening).frame();
        assert_eq!(leave(&node, SERVER, &error).frame, error);
        assert_eq!(node.tables.entries(map::Masquerades), []);
    });
}

#[test]
fn echoes_and_errors_are_translated_both_ways() {
    each_family(|family| {
        let node = masquerading(family, 1000);
        let sent = leave(&node, CLIENT, &echo(family.client, family.world, 7, false));
        let [source, _] = ends(&sent.frame);
        assert_eq!(source.ip(), family.other);
        let answer = echo(family.world, family.other, source.port(), true);
        let answered = come(&node, &answer);
        assert_eq!(ends(&answered.frame), [at(family.world, 7), at(family.client, 0)]);
        assert_eq!(node.forward(OUTSIDE, CLIENT, &answered.frame).verdict, PASS);
        // A router reports that a datagram is too big, or that the port is closed.
        let (client, world) = (at(family.client, 4000), at(family.world, 53));
        let sent = leave(&node, CLIENT, &craft::udp(client, world).frame());
        let [source, _] = ends(&sent.frame);
        let (kind, code) = if family.client.is_ipv4() { (3, 3) } else { (1, 4) };
        let error = craft::icmp_error(family.service, family.other, kind, code, &sent.frame).frame();
        let reported = come(&node, &error);
        let inside = craft::udp(client, world).frame();
        let expected = craft::icmp_error(family.service, family.client, kind, code, &inside).frame();
        assert_eq!(without_sums(&reported.frame), without_sums(&expected));
        assert_eq!(craft::check(&reported.frame), Ok(()));
        assert_eq!(node.forward(OUTSIDE, CLIENT, &reported.frame).verdict, PASS);
        // The workload refuses an answer.
        let late = come(&node, &craft::udp(world, source).frame());
        let refusal = craft::icmp_error(family.client, family.world, kind, code, &late.frame).frame();
        let refused = leave(&node, CLIENT, &refusal);
        assert_eq!(craft::check(&refused.frame), Ok(()));
        let inside = craft::udp(world, source).frame();
        let expected = craft::icmp_error(family.other, family.world, kind, code, &inside).frame();
        assert_eq!(without_sums(&refused.frame), without_sums(&expected));
    });
}

#[test]
fn two_workloads_with_the_same_ports_get_different_ones_and_the_last_one_none() {
    each_family(|family| {
        let mut node = masquerading(family, 2);
        let world = at(family.world, 443);
        let flows = [(CLIENT, at(family.client, FIRST)), (SERVER, at(family.server, FIRST))];
        let mut ports: Vec<u16> = flows
            .iter()
            .map(|(of, from)| ends(&leave(&node, *of, &craft::tcp(*from, world).frame()).frame)[0].port())
            .collect();
        assert_eq!(ports[0], FIRST, "its own port, as long as that is free");
        ports.sort_unstable();
        assert_eq!(ports, [FIRST, FIRST + 1]);
        let third = craft::tcp(at(family.client, 9), world).frame();
        let refused = out(&node, CLIENT.interface, &node.from(CLIENT, &third).frame);
        dropped(&node, &refused, DropReason::NoPort);
        assert_eq!(refused.events[0].endpoint, CLIENT.interface);
        // Another end outside has all ports.
        let elsewhere = craft::tcp(at(family.client, 9), at(family.world, 80)).frame();
        assert_eq!(leave(&node, CLIENT, &elsewhere).verdict, PASS);
        // The entries of connections that nothing answers expire.
        node.wait(61);
        assert_eq!(leave(&node, CLIENT, &third).verdict, PASS);
    });
}

#[test]
fn a_port_of_the_nodes_own_sockets_is_not_taken() {
    each_family(|family| {
        let mut node = masquerading(family, 2);
        node.tables.take_port(6, FIRST);
        let frame = craft::tcp(at(family.client, FIRST), at(family.world, 443)).frame();
        assert_eq!(ends(&leave(&node, CLIENT, &frame).frame)[0].port(), FIRST + 1);
        let datagram = craft::udp(at(family.client, FIRST), at(family.world, 443)).frame();
        assert_eq!(ends(&leave(&node, CLIENT, &datagram).frame)[0].port(), FIRST, "of another protocol");
    });
}

#[test]
fn a_packet_to_the_node_itself_is_the_nodes() {
    each_family(|family| {
        let mut node = masquerading(family, 1000);
        node.enforce(NODE, family.other, BOTH);
        let flags = MEDIUM | config::flag::MASQUERADE;
        let masquerade = with_address(family.other, 1000);
        node.configure(Config { epoch: 1, flags, masquerade, ..Config::default() });
        for port in [22, FIRST + 1] {
            let frame = craft::tcp(at(family.world, 4000), at(family.other, port)).frame();
            dropped(&node, &come(&node, &frame), DropReason::PolicyDefaultDeny);
        }
        let sent = leave(&node, CLIENT, &craft::tcp(at(family.client, 1), at(family.world, 443)).frame());
        let [source, world] = ends(&sent.frame);
        let answer = come(&node, &craft::tcp(world, source).flags(SYN | ACK).frame());
        assert_eq!(answer.verdict, PASS, "the node's policy does not judge what is a workload's");
    });
}

#[test]
fn a_flow_lasts_while_either_end_sends_and_ends_with_its_connection() {
    each_family(|family| {
        let mut node = masquerading(family, 1000);
        let (client, world) = (at(family.client, 4000), at(family.world, 443));
        let sent = leave(&node, CLIENT, &craft::tcp(client, world).frame());
        let [source, _] = ends(&sent.frame);
        come(&node, &craft::tcp(world, source).flags(SYN | ACK).frame());
        let last = |node: &NativeNode| -> Vec<u32> {
            let entries = node.tables.entries(map::Masquerades);
            entries.iter().map(|(_, entry)| entry.expires - (node.now / SECOND) as u32).collect()
        };
        assert_eq!(last(&node), [8000, 8000], "both entries live as long");
        node.wait(5000);
        come(&node, &craft::tcp(world, source).flags(ACK).frame());
        assert_eq!(last(&node), [8000, 8000]);
        node.wait(5000);
        out(&node, CLIENT.interface, &craft::tcp(client, world).flags(ACK).frame());
        assert_eq!(last(&node), [8000, 8000]);
        for flag in [FIN | ACK, RST] {
            come(&node, &craft::tcp(world, source).flags(flag).frame());
            assert_eq!(last(&node), [120, 120]);
        }
        let again = leave(&node, CLIENT, &craft::tcp(client, world).frame());
        assert_eq!((ends(&again.frame)[0], last(&node)), (source, vec![60, 60]), "the same port again");
    });
}

#[test]
fn a_flow_gets_another_address_once_the_node_has_and_without_one_nothing_leaves() {
    each_family(|family| {
        let mut node = masquerading(family, 1000);
        let frame = craft::udp(at(family.client, 4000), at(family.world, 53)).frame();
        assert_eq!(ends(&leave(&node, CLIENT, &frame).frame)[0].ip(), family.other);
        configure(&mut node, family.service, 1000, 1);
        assert_eq!(ends(&leave(&node, CLIENT, &frame).frame)[0].ip(), family.service);
        let of_the_other_family = if family.client.is_ipv4() { "2001:db8::1" } else { "192.0.2.1" };
        configure(&mut node, of_the_other_family.parse().unwrap(), 1000, 2);
        let refused = out(&node, CLIENT.interface, &node.from(CLIENT, &frame).frame);
        dropped(&node, &refused, DropReason::NoNodeAddress);
    });
}

#[test]
fn fragments_follow_the_first_one_both_ways() {
    each_family(|family| {
        let node = masquerading(family, 1000);
        let (client, world) = (at(family.client, 4000), at(family.world, 53));
        let pieces = craft::udp(client, world).payload(&[7; 64]).fragments(32);
        let sent: Vec<Outcome> = pieces.iter().map(|piece| leave(&node, CLIENT, piece)).collect();
        assert!(sent.iter().all(|sent| sent.verdict == PASS));
        let [source, _] = ends(&leave(&node, CLIENT, &craft::udp(client, world).frame()).frame);
        let pieces = craft::udp(world, source).payload(&[7; 64]).fragments(32);
        for piece in &pieces {
            let came = come(&node, piece);
            assert_eq!(came.verdict, PASS);
            assert_eq!(node.forward(OUTSIDE, CLIENT, &came.frame).verdict, PASS);
        }
    });
}

#[test]
fn a_checksum_that_covers_ports_keeps_the_port() {
    each_family(|family| {
        let node = masquerading(family, 1000);
        let world = at(family.world, 80);
        let first = leave(&node, CLIENT, &craft::sctp(at(family.client, 9), world).frame());
        assert_eq!(ends(&first.frame)[0], at(family.other, 9));
        let second = node.from(SERVER, &craft::sctp(at(family.server, 9), world).frame());
        dropped(&node, &out(&node, SERVER.interface, &second.frame), DropReason::NoPort);
    });
}
