//! Source addresses that a packet may have, by the interface that it came into the node by.

use super::*;
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

#[test]
fn a_packet_from_outside_with_the_nodes_source_is_dropped() {
    each_family(|family| {
        let mut node = NativeNode::new(family);
        node.own(family.other);
        let frame = craft::tcp(at(family.other, 4000), at(family.server, 80)).frame();
        for ingress in [OUTSIDE, CLIENT.interface] {
            dropped(&node, &node.forward(ingress, SERVER, &frame), DropReason::InvalidSource);
        }
        assert_eq!(node.to(SERVER, &frame).verdict, Ok(Delivery::Pass));
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
