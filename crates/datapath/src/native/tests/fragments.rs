//! Fragmented packets.

use super::*;

#[test]
fn later_fragments_have_the_ports_of_the_first() {
    each_family(|family| {
        let mut node = NativeNode::new(family);
        node.enforce(SERVER, family.server, BOTH);
        node.rule(SERVER, CLIENT.identity, Direction::Ingress, (17, 53), ALLOW);
        let craft = craft::udp(at(family.client, 4000), at(family.server, 53)).payload(&[7; 100]);
        for piece in craft.clone().fragments(40) {
            assert_eq!(node.to(SERVER, &piece).verdict, Ok(Delivery::Pass));
        }
        assert_eq!(node.connection().packets_in, 3);
        let other = craft.identification(2).fragments(40);
        dropped(&node, &node.to(SERVER, &other[1]), DropReason::UnknownFragment);
    });
}

#[test]
fn a_spoofed_first_fragment_sets_no_ports() {
    each_family(|family| {
        let node = NativeNode::new(family);
        let pieces =
            craft::udp(at(family.other, 4000), at(family.server, 53)).payload(&[7; 64]).fragments(32);
        dropped(&node, &node.from(CLIENT, &pieces[0]), DropReason::InvalidSource);
        dropped(&node, &node.to(SERVER, &pieces[1]), DropReason::UnknownFragment);
    });
}

#[test]
fn a_translated_packet_in_fragments_keeps_its_checksum() {
    each_family(|family| {
        let mut node = NativeNode::new(family);
        node.serve(17, at(family.service, 53), 1, &[at(family.server, 5353)]);
        let craft = craft::udp(at(family.client, 4000), at(family.service, 53)).payload(&[7; 100]);
        let whole = craft::udp(at(family.client, 4000), at(family.server, 5353)).payload(&[7; 100]);
        let expected = whole.hop_limit(63).link(HOST_MAC, SERVER.mac).fragments(40);
        let sent: Vec<_> = craft.fragments(40).iter().map(|piece| node.from(CLIENT, piece).frame).collect();
        assert_eq!(sent, expected);
    });
}
