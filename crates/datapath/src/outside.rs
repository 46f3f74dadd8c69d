//! Ingress and egress of an interface that leads out of the node: judges what the node itself is sent and sends.

use crate::check::{self, EndpointTraffic};
use crate::deliver::{self, Delivered};
use crate::delivery::Delivery;
use crate::found::FlowWay;
use crate::maps::{AddressFact, Maps};
use crate::packet::{Bytes, Checksums, Mark, PacketRoute};
use crate::parse::{self, Kind};
use crate::scratch::Scratch;
use crate::to_proxy::Sockets;
use crate::verifier::Fresh;
use crate::{established, fragment, host, masquerade, neighbour, pipeline, workload};
use abi::DropReason;
use abi::address::AddressKey;
use abi::endpoint::flag;
use abi::policy::Direction;

/// Judges a packet that came in from outside, if it is for the node itself and the node's policy enforces something. One that
/// answers a masqueraded flow gets the address of the flow's workload, whose policy judges it later.
#[inline(always)]
pub fn from_outside(
    packet: &mut (impl Bytes + Checksums + Mark + PacketRoute),
    maps: &impl Maps,
    scratch: &mut Scratch,
) -> Result<Delivery, DropReason> {
    if masquerade::inward(packet, maps, scratch)? {
        return Ok(Delivery::Pass);
    }
    run(packet, maps, Direction::Ingress, scratch)
}

/// Judges a packet that goes out, if the node itself sends it and the node's policy enforces something. One of a workload is
/// masqueraded.
#[inline(always)]
pub fn to_outside(
    packet: &mut (impl Bytes + Checksums + Mark + PacketRoute + Sockets),
    maps: &impl Maps,
    scratch: &mut Scratch,
) -> Result<Delivery, DropReason> {
    run(packet, maps, Direction::Egress, scratch)?;
    masquerade::outward(packet, maps, scratch)
}

#[inline(always)]
fn run(
    packet: &mut (impl Bytes + Mark + PacketRoute),
    maps: &impl Maps,
    direction: Direction,
    scratch: &mut Scratch,
) -> Result<Delivery, DropReason> {
    if host::is_open(maps) {
        return Ok(Delivery::Pass);
    }
    if let Some(delivery) = established::at_node(packet, maps, &mut scratch.key, direction) {
        return Ok(delivery);
    }
    let Some(node) = host::enforced(maps) else { return Ok(Delivery::Pass) };
    scratch.found.endpoint = *node;
    scratch.begin(direction);
    pipeline::run_apart(packet, maps, scratch, |packet, maps, scratch| {
        judge(packet, maps, direction, scratch)
    });
    pipeline::verdict(scratch)
}

#[inline(always)]
fn judge(
    packet: &mut (impl Bytes + Mark + PacketRoute),
    maps: &impl Maps,
    direction: Direction,
    scratch: &mut Fresh<'_, Scratch>,
) -> Result<Delivered, DropReason> {
    match identify(packet, maps, direction, scratch)? {
        Concern::Others => return Ok(deliver::ignore()),
        Concern::Link => return Ok(deliver::exempt(scratch, Delivery::Pass)),
        Concern::Node => {}
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

/// The endpoint that a packet at a hook of the node concerns.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Concern {
    /// Another one: the node forwards the packet.
    Others,
    /// None: the packet resolves addresses of a link.
    Link,
    /// The node, which sends or receives the packet.
    Node,
}

/// Parses a packet that may be the node's. A function of its own in the kernel: the paths of both families become one.
#[inline(never)]
fn identify(
    packet: &(impl Bytes + Mark + PacketRoute),
    maps: &impl Maps,
    direction: Direction,
    scratch: &mut Scratch,
) -> Result<Concern, DropReason> {
    let scratch = &mut Fresh::new(scratch);
    scratch.found.config = *maps.config().ok_or(DropReason::MapMissing)?;
    if parse::kind_on_any_vlan(packet)? == Kind::Arp {
        return Ok(Concern::Others);
    }
    parse::addresses(packet, &mut scratch.found.flow)?;
    if !is_nodes(packet, maps, direction, scratch)? {
        return Ok(Concern::Others);
    }
    scratch.found.read_clock(maps);
    parse::after_addresses(packet, &mut scratch.found.flow)?;
    Ok(if neighbour::is_discovery_on_link(&scratch.found.flow) { Concern::Link } else { Concern::Node })
}

/// Whether the node itself sends or receives the packet.
///
/// What the node sends on for others in its own name (masquerading) may always go out. Such a flow is tracked without
/// enforcement, since its answers come to the node.
#[inline(always)]
fn is_nodes(
    packet: &(impl Mark + PacketRoute),
    maps: &impl Maps,
    direction: Direction,
    scratch: &mut Scratch,
) -> Result<bool, DropReason> {
    let local = match direction {
        Direction::Ingress => scratch.found.flow.destination,
        Direction::Egress if packet.ingress() == 0 && !packet.is_from_proxy() => return Ok(true),
        Direction::Egress => {
            scratch.found.endpoint.flags &= !flag::ENFORCE;
            scratch.found.flow.source
        }
    };
    let is_own = host::owns(maps, &local)?;
    if !is_own {
        maps.remember(AddressFact::Foreign, &local, scratch.found.config.epoch);
    }
    Ok(is_own)
}
