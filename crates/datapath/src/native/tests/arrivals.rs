//! Source addresses that a packet may have, by the interface that it came into the node by.

use super::*;
use crate::craft::flag::{ACK, SYN};
use abi::mark;

#[test]
fn a_packet_from_outside_with_a_workloads_source_is_dropped() {
    each_family(|family| {
        let node = NativeNode::new(family);
        let frame = craft::tcp(at(family.client, 4000), at(family.server, 80)).frame();
        for ingress in [OUTSIDE, SERVER.interface] {
            let node = NativeNode::new(family);
            dropped(&node, &node.forward(ingress, SERVER, &frame), DropReason::InvalidSource);
            assert_eq!(node.tables.connections(), [], "nothing is remembered");
        }
        assert_eq!(node.forward(CLIENT.interface, SERVER, &frame).verdict, Ok(Delivery::Pass));
        let own = craft::tcp(at(family.client, 4001), at(family.server, 80)).frame();
        let outcome = node.run(Hook::ToWorkload, SERVER.interface, mark::FROM_PROXY, &own);
        assert_eq!(outcome.verdict, Ok(Delivery::Pass), "the proxy does");
    });
}

/// A node in which the node may connect to the server and the client may not; and a frame to the server with the node's
/// address.
fn forwarding(family: FamilyAddresses) -> (NativeNode, Vec<u8>) {
    let mut node = NativeNode::new(family);
    node.own(family.other);
    node.enforce(SERVER, family.server, BOTH);
    // What policy allows the node does not count for others that have its address.
    node.rule(SERVER, identity::HOST, Direction::Ingress, (6, 80), ALLOW);
    node.rule(SERVER, CLIENT.identity, Direction::Ingress, (6, 80), DENY);
    (node, craft::tcp(at(family.other, 4000), at(family.server, 80)).flags(SYN).frame())
}

#[test]
fn a_packet_with_the_nodes_source_is_the_nodes_only_if_the_node_made_it() {
    each_family(|family| {
        let (node, frame) = forwarding(family);
        dropped(&node, &node.forward(OUTSIDE, SERVER, &frame), DropReason::IdentityUnknown);
        let refused = node.forward(CLIENT.interface, SERVER, &frame);
        dropped(&node, &refused, DropReason::PolicyDeny);
        assert_eq!(refused.events[0].source_identity, CLIENT.identity, "judged as the workload that sent it");
        assert_eq!(node.tables.connections(), [], "nothing is remembered");
        let own = node.to(SERVER, &frame);
        assert_eq!((own.verdict, own.events[0].source_identity), (Ok(Delivery::Pass), identity::HOST));
        // The connection of the node itself lets no one else in.
        let segment = craft::tcp(at(family.other, 4000), at(family.server, 80)).flags(ACK).frame();
        let answer = craft::tcp(at(family.server, 80), at(family.other, 4000)).flags(SYN | ACK).frame();
        assert_eq!(node.from(SERVER, &answer).verdict, Ok(Delivery::Pass));
        assert_eq!(node.to(SERVER, &segment).verdict, Ok(Delivery::Pass));
        assert!(node.forward(OUTSIDE, SERVER, &segment).verdict.is_err());
        assert!(node.forward(CLIENT.interface, SERVER, &segment).verdict.is_err());
    });
}

#[test]
fn without_enforcement_a_packet_with_the_nodes_source_may_come_from_anywhere() {
    each_family(|family| {
        let (mut node, frame) = forwarding(family);
        node.enforce(SERVER, family.server, 0);
        for ingress in [OUTSIDE, CLIENT.interface] {
            assert_eq!(node.forward(ingress, SERVER, &frame).verdict, Ok(Delivery::Pass));
        }
    });
}

#[test]
fn a_workload_behind_the_nodes_address_is_judged_as_itself_also_by_the_answers() {
    each_family(|family| {
        let (mut node, opening) = forwarding(family);
        node.rule(SERVER, CLIENT.identity, Direction::Ingress, (6, 80), ALLOW);
        let answer = craft::tcp(at(family.server, 80), at(family.other, 4000)).flags(SYN | ACK).frame();
        let data = craft::tcp(at(family.server, 80), at(family.other, 4000)).flags(ACK).payload(b"x").frame();
        let more = craft::tcp(at(family.other, 4000), at(family.server, 80)).flags(ACK).frame();
        assert_eq!(node.forward(CLIENT.interface, SERVER, &opening).verdict, Ok(Delivery::Pass));
        assert_eq!(node.from(SERVER, &answer).verdict, Ok(Delivery::Pass));
        assert_eq!(node.forward(CLIENT.interface, SERVER, &more).verdict, Ok(Delivery::Pass));
        assert_eq!(node.from(SERVER, &data).verdict, Ok(Delivery::Pass));
        // The rule goes. The node itself may still connect, but the connection is the client's.
        node.rule(SERVER, CLIENT.identity, Direction::Ingress, (6, 80), DENY);
        node.configure(Config { proxy_interface: PROXY, flags: MEDIUM, epoch: 1, ..Config::default() });
        dropped(&node, &node.from(SERVER, &data), DropReason::PolicyDeny);
        dropped(&node, &node.forward(CLIENT.interface, SERVER, &more), DropReason::PolicyDeny);
    });
}

#[test]
fn a_sender_outside_behind_the_nodes_address_is_judged_by_its_own() {
    each_family(|family| {
        let (mut node, opening) = forwarding(family);
        node.rule(SERVER, identity::WORLD, Direction::Ingress, (6, 80), ALLOW);
        let answer = craft::tcp(at(family.server, 80), at(family.other, 4000)).flags(SYN | ACK).frame();
        let data = craft::tcp(at(family.server, 80), at(family.other, 4000)).flags(ACK).payload(b"x").frame();
        let more = craft::tcp(at(family.other, 4000), at(family.server, 80)).flags(ACK).frame();
        let passed = node.translated(family.world, SERVER, &opening);
        assert_eq!(passed.verdict, Ok(Delivery::Pass));
        assert_eq!(passed.events[0].source_identity, identity::WORLD);
        assert_eq!(node.from(SERVER, &answer).verdict, Ok(Delivery::Pass));
        assert_eq!(node.translated(family.world, SERVER, &more).verdict, Ok(Delivery::Pass));
        // The connection lets no other sender in that has its port of the node later.
        for (sender, reason) in
            [(family.client, DropReason::IdentityUnknown), (family.other, DropReason::IdentityUnknown)]
        {
            dropped(&node, &node.translated(sender, SERVER, &more), reason);
        }
        dropped(&node, &node.forward(OUTSIDE, SERVER, &more), DropReason::IdentityUnknown);
        assert_eq!(node.from(SERVER, &data).verdict, Ok(Delivery::Pass));
        node.rule(SERVER, identity::WORLD, Direction::Ingress, (6, 80), DENY);
        node.configure(Config { proxy_interface: PROXY, flags: MEDIUM, epoch: 1, ..Config::default() });
        dropped(&node, &node.from(SERVER, &data), DropReason::PolicyDeny);
        dropped(&node, &node.translated(family.world, SERVER, &more), DropReason::PolicyDeny);
    });
}

#[test]
fn the_answer_of_a_backend_behind_the_nodes_address_belongs_to_the_flow_that_the_workload_opened() {
    each_family(|family| {
        let (mut node, _) = forwarding(family);
        node.rule(SERVER, identity::HOST, Direction::Egress, (6, 30_080), ALLOW);
        node.rule(SERVER, identity::HOST, Direction::Ingress, (6, 80), ALLOW);
        let opening = craft::tcp(at(family.server, 80), at(family.other, 30_080)).flags(SYN).frame();
        let answer = craft::tcp(at(family.other, 30_080), at(family.server, 80)).flags(SYN | ACK).frame();
        let refused = node.translated(family.server, SERVER, &answer);
        dropped(&node, &refused, DropReason::IdentityUnknown);
        assert_eq!(node.tables.connections(), [], "an answer opens nothing, whatever the node may do");
        assert_eq!(node.from(SERVER, &opening).verdict, Ok(Delivery::Pass));
        assert_eq!(node.translated(family.server, SERVER, &answer).verdict, Ok(Delivery::Pass));
        // The next packet under another policy is judged as one of the flow that the workload opened.
        node.rule(SERVER, identity::HOST, Direction::Ingress, (6, 80), DENY);
        node.configure(Config { proxy_interface: PROXY, flags: MEDIUM, epoch: 1, ..Config::default() });
        assert_eq!(node.translated(family.server, SERVER, &answer).verdict, Ok(Delivery::Pass));
        node.rule(SERVER, identity::HOST, Direction::Egress, (6, 30_080), DENY);
        node.configure(Config { proxy_interface: PROXY, flags: MEDIUM, epoch: 2, ..Config::default() });
        dropped(&node, &node.translated(family.server, SERVER, &answer), DropReason::PolicyDeny);
    });
}

#[test]
fn a_packet_of_the_world_may_come_by_any_interface() {
    each_family(|family| {
        let node = NativeNode::new(family);
        let frame = craft::tcp(at(family.world, 4000), at(family.server, 80)).frame();
        assert_eq!(node.forward(OUTSIDE, SERVER, &frame).verdict, Ok(Delivery::Pass));
    });
}

#[test]
fn a_spoofed_first_fragment_from_outside_sets_no_ports() {
    each_family(|family| {
        let node = NativeNode::new(family);
        let frame = craft::udp(at(family.client, 4000), at(family.server, 53)).payload(&[7; 64]);
        let pieces = frame.fragments(32);
        dropped(&node, &node.forward(OUTSIDE, SERVER, &pieces[0]), DropReason::InvalidSource);
        dropped(&node, &node.forward(CLIENT.interface, SERVER, &pieces[1]), DropReason::UnknownFragment);
    });
}

#[test]
fn answers_to_a_workload_whose_packets_the_stack_routed_go_to_the_stack() {
    each_family(|family| {
        let node = NativeNode::new(family);
        let (client, server) = (at(family.client, 4000), at(family.server, 80));
        let routed = |flags| {
            let frame = craft::tcp(client, server).flags(flags).frame();
            let (interface, ingress) = (SERVER.interface, CLIENT.interface);
            let opener = Some(family.client.into());
            let arrival =
                Arrival { interface, ingress, opener, frame: &frame, now: node.now, ..Arrival::default() };
            node.tables.run(Hook::ToWorkload, arrival).verdict
        };
        let answer = |flags| node.from(SERVER, &craft::tcp(server, client).flags(flags).frame()).verdict;
        for (there, back) in [(SYN, SYN | ACK), (ACK, ACK), (ACK, ACK), (ACK, ACK)] {
            assert_eq!((routed(there), answer(back)), (Ok(Delivery::Pass), Ok(Delivery::Pass)));
        }
        // A packet that the client's hook handed over.
        let direct = craft::tcp(at(family.client, 4001), server).flags(SYN).frame();
        assert_eq!(node.forward(CLIENT.interface, SERVER, &direct).verdict, Ok(Delivery::Pass));
        let back = craft::tcp(server, at(family.client, 4001)).flags(SYN | ACK).frame();
        delivered(&node.from(SERVER, &back), CLIENT);
    });
}
