//! Ingress and egress of an interface that leads out of the node: judges what the node itself is sent and sends.

use crate::check::{self, EndpointTraffic};
use crate::deliver::{self, Delivered};
use crate::delivery::Delivery;
use crate::found::FlowWay;
use crate::maps::Maps;
use crate::packet::{Bytes, Mark, PacketRoute};
use crate::parse::{self, Kind};
use crate::scratch::Scratch;
use crate::verifier::Fresh;
use crate::{established, fragment, host, neighbour, pipeline, workload};
use abi::DropReason;
use abi::address::AddressKey;
use abi::endpoint::flag;
use abi::policy::Direction;

/// Judges a packet that came in from outside, if it is for the node itself and the node's policy enforces something.
#[inline(always)]
pub fn from_outside(
    packet: &mut (impl Bytes + Mark + PacketRoute),
    maps: &impl Maps,
    scratch: &mut Scratch,
) -> Result<Delivery, DropReason> {
    if let Some(delivery) = established::at_node(packet, maps, &mut scratch.key, Direction::Ingress) {
        return Ok(delivery);
    }
    if !begin(maps, Direction::Ingress, scratch) {
        return Ok(Delivery::Pass);
    }
    pipeline::run_apart(packet, maps, scratch, |packet, maps, scratch| {
        judge(packet, maps, Direction::Ingress, scratch)
    });
    pipeline::verdict(scratch)
}

/// Judges a packet that goes out, if the node itself sends it and the node's policy enforces something.
#[inline(always)]
pub fn to_outside(
    packet: &mut (impl Bytes + Mark + PacketRoute),
    maps: &impl Maps,
    scratch: &mut Scratch,
) -> Result<Delivery, DropReason> {
    if let Some(delivery) = established::at_node(packet, maps, &mut scratch.key, Direction::Egress) {
        return Ok(delivery);
    }
    if !begin(maps, Direction::Egress, scratch) {
        return Ok(Delivery::Pass);
    }
    pipeline::run_apart(packet, maps, scratch, |packet, maps, scratch| {
        judge(packet, maps, Direction::Egress, scratch)
    });
    pipeline::verdict(scratch)
}

/// Begins with a packet at a hook of the node; false while the node's policy enforces nothing, and every packet passes.
#[inline(always)]
fn begin(maps: &impl Maps, direction: Direction, scratch: &mut Scratch) -> bool {
    let Some(node) = host::enforced(maps) else { return false };
    scratch.found.endpoint = *node;
    scratch.begin(direction);
    true
}

#[inline(always)]
fn judge(
    packet: &mut (impl Bytes + Mark + PacketRoute),
    maps: &impl Maps,
    direction: Direction,
    scratch: &mut Fresh<'_, Scratch>,
) -> Result<Delivered, DropReason> {
    scratch.found.config = *maps.config().ok_or(DropReason::MapMissing)?;
    if parse::kind_on_any_vlan(packet)? == Kind::Arp {
        return Ok(deliver::ignore());
    }
    parse::addresses(packet, &mut scratch.found.flow)?;
    if !concerns_node(packet, maps, direction, scratch)? {
        return Ok(deliver::ignore());
    }
    scratch.found.read_clock(maps);
    parse::after_addresses(packet, &mut scratch.found.flow)?;
    if neighbour::is_discovery_on_link(&scratch.found.flow) {
        return Ok(deliver::exempt(scratch, Delivery::Pass));
    }
    scratch.found.way = FlowWay { is_known: true, local: 0, interface: packet.ingress() };
    let remote = match direction {
        Direction::Ingress => scratch.found.flow.source,
        Direction::Egress => scratch.found.flow.destination,
    };
    let peer = maps.address(&AddressKey::host(remote)).ok_or(DropReason::MapMissing)?;
    scratch.found.peer_identity = peer.identity;
    if direction == Direction::Ingress && !workload::may_send(peer, packet.ingress()) {
        return Err(DropReason::InvalidSource);
    }
    fragment::resolve_ports(maps, &mut scratch.found.flow)?;
    let permit = check::check(packet, maps, &EndpointTraffic { peer, direction, proxied: false }, scratch)?;
    Ok(deliver::pass(packet, scratch, permit))
}

/// Whether the node itself sends or receives the packet.
///
/// What the node sends on for others in its own name (masquerading) may always go out. Such a flow is tracked without
/// enforcement, since its answers come to the node.
#[inline(always)]
fn concerns_node(
    packet: &(impl Mark + PacketRoute),
    maps: &impl Maps,
    direction: Direction,
    scratch: &mut Scratch,
) -> Result<bool, DropReason> {
    if direction == Direction::Ingress {
        return host::owns(maps, &scratch.found.flow.destination);
    }
    if packet.ingress() == 0 && !packet.is_from_proxy() {
        return Ok(true);
    }
    scratch.found.endpoint.flags &= !flag::ENFORCE;
    host::owns(maps, &scratch.found.flow.source)
}
