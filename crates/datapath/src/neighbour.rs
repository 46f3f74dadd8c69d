//! Address resolution on a workload's link (ARP, IPv6 neighbour discovery): the host-side interface answers for every
//! address but the workload's own.

use crate::checksum;
use crate::deliver::{self, Delivered};
use crate::delivery::Delivery;
use crate::found::Found;
use crate::packet::{Bytes, PacketRoute};
use crate::parse::{IP, PacketFlow};
use crate::scratch::Scratch;
use crate::verifier::Fresh;
use abi::endpoint::EndpointInfo;
use abi::protocol::ICMP6;
use abi::{Address, DropReason};

/// ICMPv6 types of multicast listener discovery and of neighbour discovery (RFC 2710, 3810, 4861).
const LISTENER_QUERY: u8 = 130;
const LISTENER_DONE: u8 = 132;
const ROUTER_SOLICITATION: u8 = 133;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const LISTENER_REPORT: u8 = 143;

/// The source address of a sender that has no address yet.
const UNSPECIFIED: Address = Address([0; 16]);

/// Length of a frame with a neighbour advertisement that carries a link-layer address.
const ADVERTISEMENT_FRAME: u32 = IP + 40 + 32;

/// Handles an ARP packet from a workload: a request for any address but the workload's own gets the link-layer address of
/// the host side.
#[inline(never)]
pub(crate) fn answer_arp(
    packet: &mut (impl Bytes + PacketRoute),
    scratch: &mut Scratch,
) -> Result<Delivered, DropReason> {
    let endpoint = &scratch.found.endpoint;
    let [kind @ .., _, operation] = packet.copy::<8>(IP)?;
    if kind != [0, 1, 0x08, 0, 6, 4] {
        return Err(DropReason::InvalidPacket);
    }
    let mac = packet.copy::<6>(IP + 8)?;
    let sender = packet.copy::<4>(IP + 14)?;
    let target = packet.copy::<4>(IP + 24)?;
    // A probe checks whether an address is in use, before the sender uses it (RFC 5227).
    let is_probe = operation == 1 && sender == [0; 4];
    if mac != endpoint.mac || (Address::from_v4(sender) != endpoint.v4 && !is_probe) {
        return Err(DropReason::InvalidSource);
    }
    if operation == 2 || is_probe || target == sender {
        return Ok(deliver::exempt(scratch, Delivery::Pass));
    }
    if operation != 1 {
        return Err(DropReason::InvalidPacket);
    }
    address_to_workload(packet, endpoint)?;
    packet.write(IP + 6, [0, 2])?;
    packet.write(IP + 8, endpoint.host_mac)?;
    packet.write(IP + 14, target)?;
    packet.write(IP + 18, mac)?;
    packet.write(IP + 24, sender)?;
    Ok(deliver::exempt(scratch, Delivery::Egress(packet.interface())))
}

/// Whether a workload's packet is discovery traffic on its link: from a link-local address or its own, and to the link.
/// A solicitation from its own address may go to any address.
#[inline(always)]
pub(crate) fn is_discovery_from_workload(found: &Found) -> bool {
    let Found { endpoint, flow, .. } = found;
    let own = flow.source == endpoint.v6;
    let is_unspecified = flow.source == UNSPECIFIED;
    if flow.protocol != ICMP6 || !(own || is_unspecified || is_link_local(&flow.source)) {
        return false;
    }
    let to_link = is_link_local(&flow.destination) || is_link_multicast(&flow.destination);
    match flow.destination_port[0] {
        SOLICITATION => flow.hop_limit == 255 && flow.transport == IP + 40 && (to_link || !is_unspecified),
        ROUTER_SOLICITATION | ADVERTISEMENT => flow.hop_limit == 255 && to_link,
        LISTENER_QUERY..=LISTENER_DONE | LISTENER_REPORT => to_link,
        _ => false,
    }
}

/// Handles discovery traffic from a workload.
///
/// A solicitation for any address but the workload's own gets the link-layer address of the host side. The host's stack
/// receives the rest, and does not forward it.
#[inline(never)]
pub(crate) fn answer_discovery(
    packet: &mut (impl Bytes + PacketRoute),
    scratch: &mut Scratch,
) -> Result<Delivered, DropReason> {
    let Found { endpoint, flow, .. } = &scratch.found;
    if flow.destination_port[0] == SOLICITATION && flow.source != UNSPECIFIED {
        let mut target = Address(flow.copy::<16>(packet, IP + 48)?);
        let target = Fresh::new(&mut target);
        if *target == endpoint.v6 {
            return Err(DropReason::InvalidPacket);
        }
        advertise(packet, endpoint, &flow.source, &target)?;
        return Ok(deliver::exempt(scratch, Delivery::Egress(packet.interface())));
    }
    Ok(deliver::exempt(scratch, Delivery::Pass))
}

/// Whether the packet is discovery traffic between the ends of a link: the hop limit shows that no router forwarded it, and
/// listener messages go to groups of the link, which no router forwards.
#[inline(always)]
pub(crate) fn is_discovery_on_link(flow: &PacketFlow) -> bool {
    if flow.protocol != ICMP6 {
        return false;
    }
    match flow.destination_port[0] {
        ROUTER_SOLICITATION..=ADVERTISEMENT => flow.hop_limit == 255,
        LISTENER_QUERY..=LISTENER_DONE | LISTENER_REPORT => is_link_multicast(&flow.destination),
        _ => false,
    }
}

/// Turns the solicitation into an advertisement that `target` is at the host side.
#[inline(always)]
fn advertise(
    packet: &mut impl Bytes,
    endpoint: &EndpointInfo,
    source: &Address,
    target: &Address,
) -> Result<(), DropReason> {
    // Type and code; router, solicited and override; option and its length.
    const WORDS: u32 = 0x8800 + 0xe000 + 0x0201;
    const LENGTH: u32 = 32;
    let target_sum = sum(target);
    let pseudo = LENGTH + ICMP6 as u32 + target_sum + sum(source);
    let body = WORDS + target_sum + checksum::sum(&endpoint.host_mac);
    let [high, low] = (!checksum::fold(pseudo + body)).to_be_bytes();
    let [a, b, c, d, e, f] = endpoint.host_mac;

    packet.resize(ADVERTISEMENT_FRAME)?;
    address_to_workload(packet, endpoint)?;
    packet.write(IP + 4, [0, LENGTH as u8, ICMP6, 255])?;
    packet.write(IP + 8, target.0)?;
    packet.write(IP + 24, source.0)?;
    packet.write(IP + 40, [ADVERTISEMENT, 0, high, low, 0xe0, 0, 0, 0])?;
    packet.write(IP + 48, target.0)?;
    packet.write(IP + 64, [2, 1, a, b, c, d, e, f])
}

/// The sum of an address. A function of its own in the kernel: the compiler would spill each byte of both addresses to the
/// stack.
#[inline(never)]
fn sum(address: &Address) -> u32 {
    checksum::sum(&address.0)
}

/// Addresses the frame from the host side to the workload.
#[inline(always)]
fn address_to_workload(packet: &mut impl Bytes, endpoint: &EndpointInfo) -> Result<(), DropReason> {
    let [a, b, c, d, e, f] = endpoint.mac;
    let [g, h, i, j, k, l] = endpoint.host_mac;
    packet.write(0, [a, b, c, d, e, f, g, h, i, j, k, l])
}

/// Whether an address is valid on its link only.
#[inline(always)]
pub(crate) fn is_link_local(address: &Address) -> bool {
    address.0[0] == 0xfe && address.0[1] & 0xc0 == 0x80
}

#[inline(always)]
fn is_link_multicast(address: &Address) -> bool {
    address.0[0] == 0xff && address.0[1] & 0x0f <= 2
}
