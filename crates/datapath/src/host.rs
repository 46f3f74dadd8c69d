//! The node as an endpoint: its policy judges what the node itself is sent and sends.

use crate::check::{self, EndpointTraffic};
use crate::deliver::{self, Delivered};
use crate::delivery::Delivery;
use crate::maps::Maps;
use crate::neighbour::is_link_local;
use crate::packet::{Bytes, Mark, PacketRoute};
use crate::scratch::Scratch;
use crate::verifier::Fresh;
use crate::{report, workload};
use abi::address::AddressKey;
use abi::endpoint::{EndpointInfo, EndpointKey, flag};
use abi::policy::Direction;
use abi::{Address, DropReason, config, identity};

/// The node's row, where its policy enforces something: then the flows of both directions are tracked, since the answers to
/// what one direction allows come in the other.
#[inline(always)]
pub(crate) fn enforced(maps: &impl Maps) -> Option<&EndpointInfo> {
    maps.endpoint(&EndpointKey::NODE).filter(|node| node.flags & flag::ENFORCE != 0)
}

/// Whether the configuration says that the node's policy enforces nothing.
#[inline(always)]
pub(crate) fn is_open(maps: &impl Maps) -> bool {
    maps.config().is_some_and(|config| config.flags & config::flag::NODE_OPEN != 0)
}

/// Whether an address is the node's own.
///
/// Link-local addresses have no rows. A packet at a hook of the node with such an address is the node's: no router
/// forwards it.
#[inline(always)]
pub(crate) fn owns(maps: &impl Maps, address: &Address) -> Result<bool, DropReason> {
    if is_link_local(address) {
        return Ok(true);
    }
    let info = maps.address(&AddressKey::host(*address)).ok_or(DropReason::MapMissing)?;
    Ok(info.identity == identity::HOST)
}

/// Turns to the node as the packet's endpoint, if the node's policy enforces something.
#[inline(always)]
pub(crate) fn turn_to(maps: &impl Maps, direction: Direction, scratch: &mut Scratch) -> bool {
    let Some(node) = enforced(maps) else { return false };
    scratch.turn_to(direction, node);
    true
}

/// Judges a packet to the node that the sending workload's policy allows: the second of two endpoints on the packet's way.
///
/// A function of its own in the kernel, as is [`send`]: most packets pass one endpoint.
#[inline(never)]
pub(crate) fn receive(
    packet: &mut (impl Bytes + Mark),
    maps: &impl Maps,
    scratch: &mut Fresh<'_, Scratch>,
) -> Result<Delivered, DropReason> {
    let source = AddressKey::host(scratch.found.flow.source);
    let peer = maps.address(&source).ok_or(DropReason::MapMissing)?;
    scratch.found.peer_identity = peer.identity;
    let proxied = scratch.delivery != Delivery::Pass;
    let traffic = EndpointTraffic { peer, direction: Direction::Ingress, proxied };
    check::check(packet, maps, &traffic, scratch).map(deliver::keep)
}

/// Judges a packet that the node sends the workload behind the packet's interface: the first of two endpoints. A packet
/// that the node's policy refuses stays the node's in `scratch`. One that it allows is reported, and then the workload's
/// again.
#[inline(never)]
pub(crate) fn send(
    packet: &(impl Bytes + Mark + PacketRoute),
    maps: &impl Maps,
    scratch: &mut Fresh<'_, Scratch>,
) -> Result<(), DropReason> {
    if packet.is_from_proxy() || !turn_to(maps, Direction::Egress, scratch) {
        return Ok(());
    }
    let destination = AddressKey::host(scratch.found.flow.destination);
    let peer = maps.address(&destination).ok_or(DropReason::MapMissing)?;
    scratch.found.peer_identity = peer.identity;
    let traffic = EndpointTraffic { peer, direction: Direction::Egress, proxied: false };
    // The workload's policy grants the permit to deliver.
    let _ = check::check(packet, maps, &traffic, scratch)?;
    report::report(packet, maps, scratch);
    let endpoint = workload::endpoint_at(packet, maps)?;
    scratch.turn_to(Direction::Ingress, endpoint);
    scratch.found.peer_identity = identity::HOST;
    Ok(())
}
