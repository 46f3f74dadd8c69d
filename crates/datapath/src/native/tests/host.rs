//! The node as an endpoint: what it receives, what it sends, and what it forwards.

use super::*;
use crate::craft::flag::{ACK, RST, SYN};
use abi::conntrack;
use abi::mark;

const PASS: Result<Delivery, DropReason> = Ok(Delivery::Pass);

/// A node with an address of its own, and a policy of the node that denies what these flags enforce.
fn guarded(family: FamilyAddresses, flags: u8) -> NativeNode {
    let mut node = NativeNode::new(family);
    node.own(family.other);
    node.enforce(NODE, family.other, flags);
    node
}

/// Sends the node a frame from outside.
fn receive(node: &NativeNode, frame: &[u8]) -> Outcome {
    let arrival =
        Arrival { interface: OUTSIDE, ingress: OUTSIDE, frame, now: node.now, ..Arrival::default() };
    node.tables.run(Hook::FromOutside, arrival)
}

/// Sends a frame that came into the node by `ingress` (0: the node's own) outside.
fn send(node: &NativeNode, ingress: u32, frame: &[u8]) -> Outcome {
    let arrival = Arrival { interface: OUTSIDE, ingress, frame, now: node.now, ..Arrival::default() };
    node.tables.run(Hook::ToOutside, arrival)
}

fn segment(from: (IpAddr, u16), to: (IpAddr, u16), flags: u8) -> Vec<u8> {
    craft::tcp(at(from.0, from.1), at(to.0, to.1)).flags(flags).frame()
}

#[test]
fn without_a_policy_of_the_node_nothing_is_judged_or_tracked() {
    each_family(|family| {
        for flags in [None, Some(0), Some(flag::AUDIT)] {
            let mut node = NativeNode::new(family);
            node.own(family.other);
            if let Some(flags) = flags {
                node.enforce(NODE, family.other, flags);
            }
            let outside = segment((family.world, 4000), (family.other, 22), SYN);
            assert_eq!(receive(&node, &outside).verdict, PASS);
            assert_eq!(send(&node, 0, &outside[..7]).verdict, PASS);
            assert_eq!((node.tables.counters(), node.tables.connections()), (vec![], vec![]));
            let inside = segment((family.client, 4000), (family.other, 22), SYN);
            assert_eq!(node.from(CLIENT, &inside).events.len(), 1);
            let back = segment((family.other, 22), (family.client, 4000), SYN | ACK);
            assert_eq!(node.to(CLIENT, &back).events.len(), 1);
            assert_eq!(node.tables.connections().len(), 1, "the workload's row alone");
        }
    });
}

#[test]
fn the_configuration_opens_the_node_and_only_without_it_the_nodes_endpoint_counts() {
    each_family(|family| {
        let mut node = guarded(family, BOTH);
        let frames = [
            segment((family.world, 4000), (family.other, 22), SYN),
            segment((family.other, 22), (family.world, 4000), SYN),
        ];
        let both = |node: &NativeNode| [receive(node, &frames[0]), send(node, 0, &frames[1])];
        for outcome in both(&node) {
            dropped(&node, &outcome, DropReason::PolicyDefaultDeny);
        }
        node.configure(Config { epoch: 1, flags: MEDIUM | config::flag::NODE_OPEN, ..Config::default() });
        for outcome in both(&node) {
            assert_eq!((outcome.verdict, outcome.events.len()), (PASS, 0));
        }
        assert_eq!(node.tables.connections(), []);
    });
}

#[test]
fn an_address_that_becomes_the_nodes_is_judged_from_the_next_epoch_on() {
    each_family(|family| {
        let mut node = guarded(family, BOTH);
        node.rule(NODE, identity::WORLD, Direction::Ingress, (6, 80), DENY);
        let there = segment((family.world, 4000), (family.service, 80), ACK);
        let back = segment((family.service, 80), (family.world, 4000), ACK);
        let both = |node: &NativeNode| {
            // What the node sends on keeps its verdict: it is tracked and not enforced.
            [receive(node, &there), send(node, OUTSIDE, &back)]
        };
        for _ in 0..2 {
            assert!(both(&node).iter().all(|outcome| outcome.verdict == PASS && outcome.events.is_empty()));
        }
        node.own(family.service);
        node.configure(Config { epoch: 1, flags: MEDIUM, ..Config::default() });
        let [received, sent] = both(&node);
        dropped(&node, &received, DropReason::NotEstablished);
        assert_eq!((sent.verdict, sent.events.len()), (PASS, 1));
        // The node's own packets may have an address that is not among its own.
        let own = segment((family.client, 4000), (family.world, 80), ACK);
        assert_eq!(send(&node, OUTSIDE, &own).verdict, PASS);
        dropped(&node, &send(&node, 0, &own), DropReason::NotEstablished);
    });
}

#[test]
fn a_flow_from_outside_needs_a_rule_and_its_replies_do_not() {
    each_family(|family| {
        let mut node = guarded(family, BOTH);
        node.rule(NODE, identity::WORLD, Direction::Ingress, (6, 22), ALLOW);
        let (client, port) = ((family.world, 4000), |port| (family.other, port));
        let outcome = receive(&node, &segment(client, port(22), SYN));
        let [event] = outcome.events[..] else { panic!("{outcome:?}") };
        assert_eq!((outcome.verdict, event.rule), (PASS, RULE));
        assert_eq!((event.source_identity, event.destination_identity), (identity::WORLD, identity::HOST));
        assert_eq!(send(&node, 0, &segment(port(22), client, SYN | ACK)).verdict, PASS);
        assert_eq!(receive(&node, &segment(client, port(22), ACK)).verdict, PASS);
        dropped(&node, &receive(&node, &segment(client, port(80), SYN)), DropReason::PolicyDefaultDeny);
        dropped(&node, &receive(&node, &segment(client, port(80), ACK)), DropReason::NotEstablished);
        dropped(
            &node,
            &send(&node, 0, &segment(port(22), (family.world, 1), ACK)),
            DropReason::NotEstablished,
        );
    });
}

#[test]
fn a_flow_of_the_node_needs_a_rule_and_its_replies_do_not() {
    each_family(|family| {
        let mut node = guarded(family, BOTH);
        node.rule(NODE, identity::WORLD, Direction::Egress, (17, 53), ALLOW);
        let (own, server) = (at(family.other, 4000), at(family.world, 53));
        dropped(&node, &receive(&node, &craft::udp(server, own).frame()), DropReason::PolicyDefaultDeny);
        assert_eq!(send(&node, 0, &craft::udp(own, server).frame()).verdict, PASS);
        assert_eq!(receive(&node, &craft::udp(server, own).frame()).verdict, PASS);
        let elsewhere = craft::udp(own, at(family.world, 123)).frame();
        dropped(&node, &send(&node, 0, &elsewhere), DropReason::PolicyDefaultDeny);
        let about = craft::udp(own, server).frame();
        let error = craft::icmp_error(family.service, family.other, 3, 0, &about);
        assert_eq!(receive(&node, &error.frame()).verdict, PASS, "an error about a flow of the node");
    });
}

#[test]
fn one_direction_that_is_enforced_leaves_the_other_open_both_ways() {
    each_family(|family| {
        let node = guarded(family, flag::ENFORCE_INGRESS);
        let (own, server) = ((family.other, 4000), (family.world, 443));
        assert_eq!(send(&node, 0, &segment(own, server, SYN)).verdict, PASS);
        assert_eq!(receive(&node, &segment(server, own, SYN | ACK)).verdict, PASS);
        dropped(&node, &receive(&node, &segment(server, own, SYN)), DropReason::PolicyDefaultDeny);
    });
}

#[test]
fn a_flow_to_the_node_needs_the_workloads_policy_and_the_nodes() {
    each_family(|family| {
        let mut node = guarded(family, BOTH);
        node.enforce(CLIENT, family.client, BOTH);
        let opening = segment((family.client, 4000), (family.other, 80), SYN);
        dropped(&node, &node.from(CLIENT, &opening), DropReason::PolicyDefaultDeny);
        assert_eq!(node.tables.connections(), [], "the node's policy is not evaluated");
        node.rule(CLIENT, identity::HOST, Direction::Egress, (6, 80), ALLOW);
        let refused = node.from(CLIENT, &opening);
        assert_eq!(refused.verdict, Err(DropReason::PolicyDefaultDeny));
        let reported: Vec<_> = refused.events.iter().map(|event| (event.endpoint, event.reason)).collect();
        assert_eq!(reported, [(CLIENT.interface, 0), (0, DropReason::PolicyDefaultDeny as u8)]);
        node.rule(NODE, CLIENT.identity, Direction::Ingress, (6, 80), ALLOW);
        assert_eq!(node.from(CLIENT, &segment((family.client, 4001), (family.other, 80), SYN)).verdict, PASS);
        let answer = segment((family.other, 80), (family.client, 4001), SYN | ACK);
        assert_eq!(node.to(CLIENT, &answer).verdict, PASS);
    });
}

#[test]
fn a_flow_to_a_workload_needs_the_nodes_policy_first() {
    each_family(|family| {
        let mut node = guarded(family, BOTH);
        let opening = segment((family.other, 4000), (family.server, 80), SYN);
        dropped(&node, &node.to(SERVER, &opening), DropReason::PolicyDefaultDeny);
        assert_eq!(node.tables.connections(), [], "nothing is tracked");
        node.rule(NODE, SERVER.identity, Direction::Egress, (6, 80), ALLOW);
        let outcome = node.to(SERVER, &opening);
        assert_eq!(outcome.verdict, PASS);
        let reported: Vec<_> = outcome.events.iter().map(|event| (event.endpoint, event.direction)).collect();
        assert_eq!(reported, [(0, Direction::Egress as u8), (SERVER.interface, Direction::Ingress as u8)]);
        let identities =
            outcome.events.iter().map(|event| (event.source_identity, event.destination_identity));
        assert!(identities.into_iter().all(|pair| pair == (identity::HOST, SERVER.identity)));
        let answer = segment((family.server, 80), (family.other, 4000), SYN | ACK);
        assert_eq!(node.from(SERVER, &answer).verdict, PASS);
        assert_eq!(node.to(SERVER, &segment((family.other, 4000), (family.server, 80), ACK)).verdict, PASS);
    });
}

#[test]
fn a_new_policy_of_the_node_cuts_a_connection_at_its_next_packet() {
    each_family(|family| {
        let mut node = guarded(family, BOTH);
        node.rule(NODE, identity::WORLD, Direction::Ingress, (6, 22), ALLOW);
        let (client, server) = ((family.world, 4000), (family.other, 22));
        assert_eq!(receive(&node, &segment(client, server, SYN)).verdict, PASS);
        node.rule(NODE, identity::WORLD, Direction::Ingress, (6, 22), DENY);
        node.configure(Config { epoch: 1, ..Config::default() });
        dropped(&node, &send(&node, 0, &segment(server, client, SYN | ACK)), DropReason::PolicyDeny);
        dropped(&node, &receive(&node, &segment(client, server, ACK)), DropReason::PolicyDeny);
    });
}

#[test]
fn forwarded_packets_are_not_the_nodes() {
    each_family(|family| {
        let node = guarded(family, BOTH);
        let out = segment((family.client, 4000), (family.world, 80), SYN);
        assert_eq!(send(&node, CLIENT.interface, &out).verdict, PASS);
        let back = segment((family.world, 80), (family.client, 4000), SYN | ACK);
        assert_eq!(receive(&node, &back).verdict, PASS);
        let by_proxy = Arrival {
            interface: OUTSIDE,
            mark: mark::FROM_PROXY,
            frame: &out,
            now: node.now,
            ..Arrival::default()
        };
        assert_eq!(node.tables.run(Hook::ToOutside, by_proxy).verdict, PASS);
        assert_eq!(node.from(CLIENT, &out).verdict, PASS);
        assert_eq!(node.forward(OUTSIDE, CLIENT, &back).verdict, PASS);
        assert_eq!(node.tables.connections().len(), 1, "the workload's row alone");
    });
}

#[test]
fn a_masqueraded_flow_may_leave_and_its_replies_may_come() {
    each_family(|family| {
        let node = guarded(family, BOTH);
        let out = |flags| segment((family.other, 61000), (family.world, 80), flags);
        let back = |flags| segment((family.world, 80), (family.other, 61000), flags);
        dropped(&node, &receive(&node, &back(SYN | ACK)), DropReason::NotEstablished);
        for first in [SYN, ACK] {
            assert_eq!(send(&node, CLIENT.interface, &out(first)).verdict, PASS);
            assert_eq!(receive(&node, &back(ACK)).verdict, PASS);
        }
        dropped(&node, &receive(&node, &back(SYN)), DropReason::PolicyDefaultDeny);
    });
}

#[test]
fn a_packet_to_the_node_with_a_local_source_from_outside_is_dropped() {
    each_family(|family| {
        for source in [family.client, family.other] {
            let mut node = guarded(family, BOTH);
            node.rule(NODE, CLIENT.identity, Direction::Ingress, (6, 80), ALLOW);
            let outcome = receive(&node, &segment((source, 4000), (family.other, 80), SYN));
            dropped(&node, &outcome, DropReason::InvalidSource);
            assert_eq!(node.tables.connections(), []);
        }
    });
}

#[test]
fn discovery_passes_and_link_local_addresses_are_the_nodes() {
    let [four, six] = families();
    let node = guarded(four, BOTH);
    let arp = craft::arp(1, [2; 6], [10, 0, 0, 9].into(), [10, 0, 0, 3].into());
    assert_eq!((receive(&node, &arp).verdict, send(&node, 0, &arp).verdict), (PASS, PASS));
    let node = guarded(six, BOTH);
    let (near, own) = ("fe80::9".parse().unwrap(), "fe80::3".parse().unwrap());
    let advertise = |hops| craft::icmp(near, own, 136, 0).hop_limit(hops).frame();
    assert_eq!(
        (receive(&node, &advertise(255)).verdict, send(&node, 0, &advertise(255)).verdict),
        (PASS, PASS)
    );
    dropped(&node, &receive(&node, &advertise(254)), DropReason::PolicyDefaultDeny);
    let opening = segment((near, 4000), (own, 22), SYN);
    dropped(&node, &receive(&node, &opening), DropReason::PolicyDefaultDeny);
}

#[test]
fn what_is_neither_ip_nor_arp_is_dropped_where_the_node_enforces() {
    each_family(|family| {
        let node = guarded(family, BOTH);
        let mut frame = segment((family.world, 4000), (family.other, 22), SYN);
        for kind in [[0x81, 0x00], [0x88, 0x64]] {
            frame[12..14].copy_from_slice(&kind);
            dropped(&node, &receive(&node, &frame), DropReason::UnsupportedProtocol);
            dropped(&node, &send(&node, 0, &frame), DropReason::UnsupportedProtocol);
        }
    });
}

#[test]
fn the_ports_of_fragments_to_the_node_are_known() {
    each_family(|family| {
        let mut node = guarded(family, BOTH);
        node.rule(NODE, identity::WORLD, Direction::Ingress, (17, 53), ALLOW);
        let datagram = craft::udp(at(family.world, 4000), at(family.other, 53)).payload(&[7; 64]);
        let pieces = datagram.fragments(32);
        dropped(&node, &receive(&node, &pieces[1]), DropReason::UnknownFragment);
        assert_eq!(receive(&node, &pieces[0]).verdict, PASS);
        assert_eq!(receive(&node, &pieces[1]).verdict, PASS);
    });
}

#[test]
fn a_proxied_flow_to_the_node_is_judged_for_both_endpoints() {
    each_family(|family| {
        let mut node = guarded(family, BOTH);
        node.enforce(CLIENT, family.client, flag::ENFORCE_EGRESS);
        node.rule(CLIENT, identity::HOST, Direction::Egress, (6, 80), PROXIED);
        let (client, server) = ((family.client, 4000), (family.other, 80));
        let opening = segment(client, server, SYN);
        assert_eq!(node.from(CLIENT, &opening).verdict, Err(DropReason::PolicyDefaultDeny));
        node.rule(NODE, CLIENT.identity, Direction::Ingress, (6, 80), ALLOW);
        assert_eq!(node.from(CLIENT, &opening).verdict, Ok(Delivery::Ingress(PROXY)));
        let rows = node.tables.connections();
        assert!(rows.iter().all(|(_, row)| row.flags & conntrack::flag::PROXIED != 0), "{rows:?}");
        let answer = segment(server, client, SYN | ACK);
        let reply = node.run(Hook::ToWorkload, CLIENT.interface, mark::FROM_PROXY, &answer);
        assert_eq!(reply.verdict, PASS, "the proxy replies with the node's address");
        assert_eq!(
            node.to(CLIENT, &answer).verdict,
            Ok(Delivery::Ingress(PROXY)),
            "the node answers the proxy"
        );
        node.to(CLIENT, &segment(server, client, RST));
        let alive = |row: &ConnInfo| row.flags & conntrack::flag::RESET == 0;
        assert!(node.tables.connections().iter().all(|(_, row)| alive(row)), "only the proxy's leg is over");
    });
}

#[test]
fn a_redirect_in_the_nodes_policy_is_refused() {
    each_family(|family| {
        let mut node = guarded(family, BOTH);
        node.rule(NODE, identity::WORLD, Direction::Ingress, (6, 80), PROXIED);
        let opening = segment((family.world, 4000), (family.other, 80), SYN);
        dropped(&node, &receive(&node, &opening), DropReason::ProxyUnavailable);
    });
}

#[test]
fn a_packet_to_the_node_that_is_cut_short_is_dropped() {
    each_family(|family| {
        let whole = segment((family.world, 4000), (family.other, 22), SYN);
        for length in 0..whole.len() {
            let node = guarded(family, BOTH);
            dropped(&node, &receive(&node, &whole[..length]), DropReason::InvalidPacket);
            dropped(&node, &send(&node, 0, &whole[..length]), DropReason::InvalidPacket);
        }
    });
}
