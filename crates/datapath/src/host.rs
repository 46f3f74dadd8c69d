//! The node's own door: its policy is asked about what comes to the node itself and what the node sends.

use crate::check::{self, Subject};
use crate::maps::Maps;
use crate::neighbour::is_link_local;
use crate::packet::Packet;
use crate::report::{Trace, converge};
use crate::{Delivery, workload};
use abi::address::AddressKey;
use abi::endpoint::{EndpointInfo, EndpointKey, flag};
use abi::policy::Direction;
use abi::{Address, DropReason, identity, mark};

/// The node's row, where its policy enforces something: then the flows of both directions are followed, for the answers
/// to what one direction allows come in the other.
#[inline(always)]
pub(crate) fn enforced(maps: &impl Maps) -> Option<&EndpointInfo> {
    maps.endpoint(&EndpointKey::NODE).filter(|node| node.flags & flag::ENFORCE != 0)
}

/// Whether an address is the node's own.
///
/// Link-local ones have no rows: at a door of the node one that is neither end's reaches nobody.
#[inline(always)]
pub(crate) fn owns(maps: &impl Maps, address: &Address) -> Result<bool, DropReason> {
    if is_link_local(address) {
        return Ok(true);
    }
    let info = maps.address(&AddressKey::host(*address)).ok_or(DropReason::MapMissing)?;
    Ok(info.identity == identity::HOST)
}

/// Whether the packet is one of the node proxy's, which speaks in the names of others.
#[inline(always)]
pub(crate) fn is_from_proxy(packet: &impl Packet) -> bool {
    packet.mark() & mark::MASK == mark::FROM_PROXY
}

/// Judges a packet to the node that its workload may send: the second door of two, with a report of its own.
#[inline(always)]
pub(crate) fn receive(packet: &impl Packet, maps: &impl Maps, trace: &mut Trace) {
    let trace = converge(trace);
    let Some(node) = enforced(maps) else { return };
    let trace = trace.turn_to(Direction::Ingress, node);
    let proxied = trace.delivery != Delivery::Pass;
    trace.refusal = check_node(packet, maps, Direction::Ingress, proxied, trace).err();
    let trace = converge(trace);
    trace.report(packet, maps);
}

/// Judges a packet that the node sends the workload behind the packet's interface: the first door of two. What is
/// refused stays the node's in the trace; what may go on is reported, and the workload's again.
#[inline(always)]
pub(crate) fn send(packet: &impl Packet, maps: &impl Maps, trace: &mut Trace) -> Result<(), DropReason> {
    if is_from_proxy(packet) {
        return Ok(());
    }
    let Some(node) = enforced(maps) else { return Ok(()) };
    let trace = trace.turn_to(Direction::Egress, node);
    check_node(packet, maps, Direction::Egress, false, trace)?;
    let trace = converge(trace);
    trace.report(packet, maps);
    let endpoint = workload::endpoint_at(packet, maps)?;
    trace.turn_to(Direction::Ingress, endpoint).peer_identity = identity::HOST;
    Ok(())
}

/// Asks about a packet at a door of the node that is not the only one on its way: leave to deliver it is not had here.
#[inline(always)]
fn check_node(
    packet: &impl Packet,
    maps: &impl Maps,
    direction: Direction,
    proxied: bool,
    trace: &mut Trace,
) -> Result<(), DropReason> {
    let remote = match direction {
        Direction::Ingress => trace.flow.source,
        Direction::Egress => trace.flow.destination,
    };
    let peer = maps.address(&AddressKey::host(remote)).ok_or(DropReason::MapMissing)?;
    trace.peer_identity = peer.identity;
    let trace = converge(trace);
    let subject = Subject { peer, direction, proxied };
    check::check(packet, maps, &subject, trace).map(drop)
}
