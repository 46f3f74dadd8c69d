//! Egress of a workload's host-side interface: judges what the workload is sent.

use crate::check::{self, Subject};
use crate::packet::Packet;
use crate::parse::Kind;
use crate::report::{Trace, converge};
use crate::translate::{self, End};
use crate::{Delivery, Maps, deliver, fragment, host, neighbour, parse, related, workload};
use abi::address::AddressKey;
use abi::policy::Direction;
use abi::{DropReason, identity};

/// Judges a packet on its way to the workload behind the packet's interface.
#[inline(always)]
pub fn to_workload(
    packet: &mut impl Packet,
    maps: &impl Maps,
    trace: &mut Trace,
) -> Result<Delivery, DropReason> {
    let trace = trace.begin(Direction::Ingress);
    trace.refusal = judge(packet, maps, trace).err();
    let trace = converge(trace);
    trace.report(packet, maps);
    trace.verdict()
}

#[inline(always)]
fn judge(packet: &mut impl Packet, maps: &impl Maps, trace: &mut Trace) -> Result<(), DropReason> {
    workload::load(packet, maps, trace)?;
    let trace = converge(trace);
    if parse::kind(packet)? == Kind::Arp {
        return Ok(());
    }
    parse::headers(packet, &mut trace.flow)?;
    let trace = converge(trace);
    if neighbour::is_discovery_on_link(&trace.flow) {
        return Ok(());
    }
    if !workload::owns(&trace.endpoint, &trace.flow.destination) {
        return Err(DropReason::InvalidDestination);
    }
    let peer = maps.address(&AddressKey::host(trace.flow.source)).ok_or(DropReason::MapMissing)?;
    trace.peer_identity = peer.identity;
    if !workload::may_send(peer, packet.ingress()) {
        return Err(DropReason::InvalidSource);
    }
    fragment::resolve_ports(maps, &mut trace.flow)?;
    let trace = converge(trace);
    if peer.identity == identity::HOST {
        host::send(packet, maps, trace)?;
    }
    let trace = converge(trace);

    let subject = Subject { peer, direction: Direction::Ingress, proxied: false };
    let permit = check::check(packet, maps, &subject, trace)?;
    let trace = converge(trace);
    translate_back(packet, trace)?;
    deliver::pass(packet, trace, permit);
    Ok(())
}

/// Makes what comes from a backend come from the service that the workload spoke to.
#[inline(always)]
fn translate_back(packet: &mut impl Packet, trace: &Trace) -> Result<(), DropReason> {
    if trace.proxy != 0 || !trace.is_translated() {
        return Ok(());
    }
    if related::is_error(&trace.flow) {
        return translate::rewrite_error(packet, &trace.flow, &trace.service, trace.service_port);
    }
    translate::rewrite(packet, &trace.flow, End::Source, &trace.service, trace.service_port)
}
