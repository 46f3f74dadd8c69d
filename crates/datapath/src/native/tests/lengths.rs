//! Lengths of packets: the IP header's, beside those of the frame and of the headers that follow.

use super::*;
use crate::craft::Craft;
use crate::native::ProxySockets;
use abi::mark;

/// Shortest frame on Ethernet; a shorter one is padded.
const ETHERNET_MINIMUM: usize = 60;
/// Longer than the length field can tell.
const BIG: usize = 70_000;

/// Adds to the length in a frame's IP header; the bytes stay.
fn lengthen(frame: &mut [u8], by: i16) {
    let at = if frame[12..14] == [0x08, 0x00] { 16 } else { 18 };
    let length = u16::from_be_bytes([frame[at], frame[at + 1]]).wrapping_add_signed(by);
    frame[at..at + 2].copy_from_slice(&length.to_be_bytes());
}

/// The frame with a packet that ends `by` bytes before the frame does.
fn cut(mut frame: Vec<u8>, by: usize) -> Vec<u8> {
    lengthen(&mut frame, -(by as i16));
    frame
}

/// The frame with a packet whose length is zero.
fn without_length(mut frame: Vec<u8>) -> Vec<u8> {
    let at = if frame[12..14] == [0x08, 0x00] { 16 } else { 18 };
    frame[at..at + 2].fill(0);
    frame
}

/// A packet of each protocol whose header the packet path reads, and how many bytes follow those that it reads.
fn packets(family: FamilyAddresses) -> [(Craft, usize); 4] {
    let [client, server] = [at(family.client, 4000), at(family.server, 80)];
    let echo = if family.client.is_ipv4() { 8 } else { 128 };
    [
        (craft::tcp(client, server), 0),
        (craft::udp(client, server), 0),
        (craft::sctp(client, server), 24),
        (craft::icmp(family.client, family.server, echo, 0), 0),
    ]
}

#[test]
fn ports_in_the_padding_after_a_packet_are_not_the_packets() {
    each_family(|family| {
        for (craft, rest) in packets(family) {
            for missing in 0..=rest + 8 {
                let node = NativeNode::new(family);
                let mut frame = cut(craft.clone().frame(), missing);
                frame.resize(frame.len().max(ETHERNET_MINIMUM), 0);
                let expected = (missing > rest).then_some(DropReason::InvalidPacket);
                assert_eq!(node.from(CLIENT, &frame).verdict.err(), expected, "{missing} bytes less");
                assert_eq!(node.to(SERVER, &frame).verdict.err(), expected, "{missing} bytes less");
            }
        }
    });
}

#[test]
fn the_node_and_the_proxy_read_no_ports_in_the_padding() {
    each_family(|family| {
        let mut node = NativeNode::new(family);
        node.own(family.other);
        node.enforce(NODE, family.other, BOTH);
        node.tables.set_proxy_sockets(ProxySockets { connected: None, listens: true });
        let [world, own] = [at(family.world, 4000), at(family.other, 80)];
        for (hook, interface, mark, source, destination) in [
            (Hook::FromOutside, OUTSIDE, 0, world, own),
            (Hook::ToOutside, OUTSIDE, 0, own, world),
            (Hook::ToProxy, PROXY, mark::TO_PROXY, world, own),
        ] {
            let frame = cut(craft::tcp(source, destination).frame(), 18);
            let outcome = node.run(hook, interface, mark, &frame);
            assert_eq!(outcome.verdict, Err(DropReason::InvalidPacket), "{hook}");
        }
    });
}

#[test]
fn padding_after_a_whole_packet_is_no_fault() {
    each_family(|family| {
        for (craft, _) in packets(family) {
            let node = NativeNode::new(family);
            let mut frame = craft.frame();
            frame.extend([0xff; 20]);
            assert_eq!(node.from(CLIENT, &frame).verdict, Ok(Delivery::Egress(SERVER.interface)));
            assert_eq!(node.to(SERVER, &frame).verdict, Ok(Delivery::Pass));
        }
    });
}

#[test]
fn a_packet_that_is_longer_than_its_frame_is_invalid() {
    each_family(|family| {
        for (craft, _) in packets(family) {
            let node = NativeNode::new(family);
            let mut frame = craft.frame();
            lengthen(&mut frame, 1);
            dropped(&node, &node.from(CLIENT, &frame), DropReason::InvalidPacket);
        }
    });
}

#[test]
fn a_merged_packet_that_no_length_field_can_tell_passes() {
    each_family(|family| {
        let segment = craft::tcp(at(family.client, 4000), at(family.server, 80));
        // Before Linux dropped it, IPv6 had a hop-by-hop header with the length.
        let with_header = segment.clone().padded(usize::from(family.client.is_ipv6()));
        for craft in [segment, with_header] {
            let node = NativeNode::new(family);
            let mut frame = without_length(craft.frame());
            frame.resize(BIG, 0);
            assert_eq!(node.from(CLIENT, &frame).verdict, Ok(Delivery::Egress(SERVER.interface)));
            assert_eq!(node.to(SERVER, &frame).verdict, Ok(Delivery::Pass));
            assert_eq!(node.tables.connections().len(), 2, "the ports are read");
        }
    });
}

#[test]
fn a_length_of_zero_is_invalid_where_the_field_could_tell_the_length() {
    each_family(|family| {
        let header = if family.client.is_ipv4() { 14 } else { 54 };
        for length in [ETHERNET_MINIMUM + 20, header + usize::from(u16::MAX)] {
            let node = NativeNode::new(family);
            let mut frame =
                without_length(craft::tcp(at(family.client, 4000), at(family.server, 80)).frame());
            frame.resize(length, 0);
            dropped(&node, &node.from(CLIENT, &frame), DropReason::InvalidPacket);
        }
    });
}

#[test]
fn an_extension_header_in_the_padding_is_not_the_packets() {
    let [_, family] = families();
    let segment = craft::tcp(at(family.client, 4000), at(family.server, 80)).padded(2).frame();
    for missing in [1, 20, 21, 28, 29, 36] {
        let node = NativeNode::new(family);
        dropped(&node, &node.from(CLIENT, &cut(segment.clone(), missing)), DropReason::InvalidPacket);
    }
    // A header that announces more than the packet holds, before a protocol without ports.
    let mut other = craft::other(family.client, family.server, 47).padded(1).payload(&[0; 64]).frame();
    assert_eq!(NativeNode::new(family).from(CLIENT, &other).verdict, Ok(Delivery::Egress(SERVER.interface)));
    other[14 + 40 + 1] = 9;
    let node = NativeNode::new(family);
    dropped(&node, &node.from(CLIENT, &other), DropReason::InvalidPacket);
}

#[test]
fn a_packet_in_the_padding_after_an_error_is_not_the_errors() {
    each_family(|family| {
        let (kind, code) = if family.client.is_ipv4() { (3, 3) } else { (1, 4) };
        let opening = craft::udp(at(family.client, 4000), at(family.server, 53)).frame();
        let error = craft::icmp_error(family.server, family.client, kind, code, &opening).frame();
        let header = if family.client.is_ipv4() { 20 } else { 40 };
        for missing in [1, 8, 9, header + 8] {
            let node = NativeNode::new(family);
            delivered(&node.from(CLIENT, &opening), SERVER);
            let outcome = node.to(CLIENT, &cut(error.clone(), missing));
            assert_eq!(outcome.verdict, Err(DropReason::InvalidPacket), "{missing} bytes less");
        }
    });
}

#[test]
fn a_solicitation_whose_target_is_in_the_padding_is_not_answered() {
    let [_, family] = families();
    let IpAddr::V6(client) = family.client else { unreachable!("the second family is IPv6") };
    let solicitation = craft::neighbour_solicitation(CLIENT.mac, client, "fd00::9".parse().unwrap());
    let mut node = NativeNode::new(family);
    node.enforce(CLIENT, family.client, BOTH);
    let answered = |missing| node.from(CLIENT, &cut(solicitation.clone(), missing)).verdict;
    assert_eq!(answered(0), Ok(Delivery::Egress(CLIENT.interface)));
    assert_eq!(answered(9), Err(DropReason::InvalidPacket));
    assert_eq!(answered(24), Err(DropReason::InvalidPacket));
}
