//! Frames of address resolution.

use super::sums;
use abi::protocol::ICMP6;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An ARP packet: operation 1 requests the link-layer address of `target`, operation 2 replies that `sender` is at `mac`.
pub fn arp(operation: u8, mac: [u8; 6], sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut frame = [&[0xff; 6][..], &mac, &[0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, operation], &mac].concat();
    frame.extend(sender.octets());
    frame.extend([0; 6]);
    frame.extend(target.octets());
    frame
}

/// A neighbour solicitation for `target`, sent to its solicited-node group; from `::` (duplicate address
/// detection) it carries no link-layer address.
pub fn neighbour_solicitation(mac: [u8; 6], source: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let [.., a, b, c] = target.octets();
    let group = Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c]);
    let mut body = vec![135, 0, 0, 0, 0, 0, 0, 0];
    body.extend(target.octets());
    if !source.is_unspecified() {
        body.extend([1, 1]);
        body.extend(mac);
    }
    sums::fill(&mut body, IpAddr::V6(source), IpAddr::V6(group), ICMP6);
    let mut frame = [&[0x33, 0x33, 0xff, a, b, c][..], &mac, &[0x86, 0xdd, 0x60, 0, 0, 0, 0]].concat();
    frame.extend([body.len() as u8, ICMP6, 255]);
    frame.extend(source.octets());
    frame.extend(group.octets());
    frame.extend(body);
    frame
}
