//! Address resolution: ARP and neighbour discovery.

use super::*;
use std::net::{Ipv4Addr, Ipv6Addr};

const V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
const V6: &str = "fd00::1";
const BACK: Result<Delivery, DropReason> = Ok(Delivery::Egress(CLIENT.interface));
const PASS: Result<Delivery, DropReason> = Ok(Delivery::Pass);

/// A node whose client has this address.
fn node(address: &str) -> NativeNode {
    let mut all = families().into_iter();
    let family = all.find(|family| family.client.to_string() == address).expect("one family has it");
    let mut node = NativeNode::new(family);
    node.enforce(CLIENT, family.client, BOTH);
    node
}

fn v6(address: &str) -> Ipv6Addr {
    address.parse().unwrap()
}

#[test]
fn a_request_is_answered_with_the_hosts_side() {
    let node = node("10.0.0.1");
    for target in [GATEWAY, Ipv4Addr::new(10, 0, 0, 2)] {
        let outcome = node.from(CLIENT, &craft::arp(1, CLIENT.mac, V4, target));
        assert_eq!(outcome.verdict, BACK);
        let mut expected = craft::arp(2, HOST_MAC, target, V4);
        expected[..6].copy_from_slice(&CLIENT.mac);
        expected[32..38].copy_from_slice(&CLIENT.mac);
        assert_eq!(outcome.frame, expected);
        assert_eq!(
            node.to(CLIENT, &outcome.frame).verdict,
            PASS,
            "and the answer comes through the other hook"
        );
    }
}

#[test]
fn an_announcement_of_its_own_address_passes_to_the_stack() {
    let node = node("10.0.0.1");
    for (operation, sender, target) in [(1, V4, V4), (1, Ipv4Addr::UNSPECIFIED, V4), (2, V4, GATEWAY)] {
        let frame = craft::arp(operation, CLIENT.mac, sender, target);
        let outcome = node.from(CLIENT, &frame);
        assert_eq!((outcome.verdict, outcome.frame), (PASS, frame));
    }
}

#[test]
fn a_workload_announces_its_own_address_only() {
    let node = node("10.0.0.1");
    let other = Ipv4Addr::new(10, 0, 0, 3);
    for (operation, mac, sender) in [
        (1, CLIENT.mac, other),
        (2, CLIENT.mac, other),
        (2, CLIENT.mac, Ipv4Addr::UNSPECIFIED),
        (1, SERVER.mac, V4),
    ] {
        let outcome = node.from(CLIENT, &craft::arp(operation, mac, sender, GATEWAY));
        dropped(&node, &outcome, DropReason::InvalidSource);
    }
    dropped(&node, &node.from(CLIENT, &craft::arp(3, CLIENT.mac, V4, GATEWAY)), DropReason::InvalidPacket);
}

#[test]
fn a_solicitation_is_answered_with_the_hosts_side() {
    let node = node(V6);
    for source in [V6, "fe80::5"] {
        let outcome =
            node.from(CLIENT, &craft::neighbour_solicitation(CLIENT.mac, v6(source), v6("fe80::1")));
        assert_eq!(outcome.verdict, BACK);
        assert_eq!(craft::check(&outcome.frame), Ok(()));
        let frame = outcome.frame;
        assert_eq!(frame.len(), 86);
        assert_eq!((&frame[..6], &frame[6..12]), (&CLIENT.mac[..], &HOST_MAC[..]));
        assert_eq!(frame[14 + 4..14 + 8], [0, 32, 58, 255]);
        assert_eq!(frame[14 + 8..14 + 24], v6("fe80::1").octets());
        assert_eq!(frame[14 + 24..14 + 40], v6(source).octets());
        assert_eq!((frame[54], frame[58]), (136, 0xe0));
        assert_eq!(frame[62..78], v6("fe80::1").octets());
        assert_eq!((&frame[78..80], &frame[80..]), (&[2, 1][..], &HOST_MAC[..]));
        assert_eq!(node.to(CLIENT, &frame).verdict, PASS);
    }
}

#[test]
fn duplicate_address_detection_is_not_answered() {
    let node = node(V6);
    for target in [V6, "fe80::5", "fd00::2"] {
        let frame = craft::neighbour_solicitation(CLIENT.mac, v6("::"), v6(target));
        let outcome = node.from(CLIENT, &frame);
        assert_eq!((outcome.verdict, outcome.frame), (PASS, frame));
    }
}

#[test]
fn from_a_link_local_address_discovery_passes_and_nothing_else() {
    let node = node(V6);
    let judged = |kind: u8, source: &str, destination: &str, hops: u8| {
        let craft = craft::icmp(v6(source).into(), v6(destination).into(), kind, 0);
        node.from(CLIENT, &craft.hop_limit(hops).frame()).verdict
    };
    let invalid = Err(DropReason::InvalidSource);
    for (kind, source, destination, hops, expected) in [
        (133, "fe80::5", "ff02::2", 255, PASS),
        (136, "fe80::5", "fe80::1", 255, PASS),
        (143, "::", "ff02::16", 1, PASS),
        (131, "fe80::5", "ff02::fb", 1, PASS),
        // A workload is no router.
        (134, "fe80::5", "ff02::1", 255, invalid),
        // Not to the link, or forwarded by a router.
        (136, "fe80::5", "fd00::2", 255, invalid),
        (133, "fe80::5", "ff02::2", 254, invalid),
        (128, "fe80::5", "fe80::1", 255, invalid),
        (135, "fd00::3", "ff02::1", 255, invalid),
        (143, V6, "2001:db8::7", 1, Err(DropReason::PolicyDefaultDeny)),
    ] {
        assert_eq!(judged(kind, source, destination, hops), expected, "{kind} {source} {destination} {hops}");
    }
}

#[test]
fn a_workload_receives_discovery_of_its_link_and_nothing_forwarded() {
    let node = node(V6);
    let verdict = |kind: u8, destination: &str, hops: u8| {
        let craft = craft::icmp(v6("fe80::1").into(), v6(destination).into(), kind, 0);
        node.to(CLIENT, &craft.hop_limit(hops).frame()).verdict
    };
    assert_eq!(verdict(135, "ff02::1:ff00:1", 255), PASS);
    assert_eq!(verdict(134, "ff02::1", 255), PASS);
    assert_eq!(verdict(130, "ff02::1", 1), PASS);
    assert_eq!(verdict(143, "ff02::16", 1), PASS);
    assert_eq!(verdict(135, "ff02::1:ff00:1", 254), Err(DropReason::InvalidDestination));
    assert_eq!(verdict(130, V6, 1), Err(DropReason::PolicyDefaultDeny));
    assert_eq!(verdict(137, V6, 255), Err(DropReason::PolicyDefaultDeny));
}
