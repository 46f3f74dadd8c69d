//! Ingress of an interface that leads out of the node: judges what comes to the node itself.

use crate::check::{self, Subject};
use crate::packet::Packet;
use crate::parse::Kind;
use crate::report::{Trace, converge};
use crate::{Delivery, Maps, deliver, fragment, host, neighbour, parse, workload};
use abi::DropReason;
use abi::address::AddressKey;
use abi::policy::Direction;

/// Judges a packet that came in from outside, if it is for the node itself and the node's policy enforces something.
#[inline(always)]
pub fn from_outside(
    packet: &mut impl Packet,
    maps: &impl Maps,
    trace: &mut Trace,
) -> Result<Delivery, DropReason> {
    let trace = trace.begin(Direction::Ingress);
    trace.refusal = match concerns_node(packet, maps, trace) {
        Ok(false) => return Ok(Delivery::Pass),
        Ok(true) => judge(packet, maps, converge(trace)).err(),
        Err(reason) => Some(reason),
    };
    let trace = converge(trace);
    trace.report(packet, maps);
    trace.verdict()
}

/// Takes down the node and who speaks to whom; false where the node's policy is not asked.
#[inline(always)]
fn concerns_node(packet: &impl Packet, maps: &impl Maps, trace: &mut Trace) -> Result<bool, DropReason> {
    trace.config = *maps.config().ok_or(DropReason::MapMissing)?;
    let trace = converge(trace);
    let Some(node) = host::enforced(maps) else { return Ok(false) };
    trace.endpoint = *node;
    let trace = converge(trace);
    if parse::kind_on_any_vlan(packet)? == Kind::Arp {
        return Ok(false);
    }
    parse::addresses(packet, &mut trace.flow)?;
    let trace = converge(trace);
    host::owns(maps, &trace.flow.destination)
}

#[inline(always)]
fn judge(packet: &mut impl Packet, maps: &impl Maps, trace: &mut Trace) -> Result<(), DropReason> {
    parse::after_addresses(packet, &mut trace.flow)?;
    let trace = converge(trace);
    if neighbour::is_discovery_on_link(&trace.flow) {
        return Ok(());
    }
    let peer = maps.address(&AddressKey::host(trace.flow.source)).ok_or(DropReason::MapMissing)?;
    trace.peer_identity = peer.identity;
    if !workload::may_send(peer, packet.ingress()) {
        return Err(DropReason::InvalidSource);
    }
    fragment::resolve_ports(maps, &mut trace.flow)?;
    let trace = converge(trace);

    let subject = Subject { peer, direction: Direction::Ingress, proxied: false };
    let permit = check::check(packet, maps, &subject, trace)?;
    let trace = converge(trace);
    deliver::pass(packet, trace, permit);
    Ok(())
}
