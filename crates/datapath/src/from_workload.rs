//! Ingress of a workload's host-side interface: judges what the workload sends.

use crate::check::{self, Subject};
use crate::packet::Packet;
use crate::parse::Kind;
use crate::report::{Trace, converge};
use crate::{Delivery, Maps, deliver, fragment, host, neighbour, parse, service, workload};
use abi::address::AddressKey;
use abi::policy::Direction;
use abi::{DropReason, identity, mark};

/// Judges a packet that the workload behind the packet's interface sent.
#[inline(always)]
pub fn from_workload(
    packet: &mut impl Packet,
    maps: &impl Maps,
    trace: &mut Trace,
) -> Result<Delivery, DropReason> {
    let trace = trace.begin(Direction::Egress);
    trace.refusal = judge(packet, maps, trace).err();
    let trace = converge(trace);
    trace.report(packet, maps);
    let trace = converge(trace);
    if trace.refusal.is_some() || trace.peer_identity != identity::HOST {
        return trace.verdict();
    }
    host::receive(packet, maps, trace);
    converge(trace).verdict()
}

#[inline(always)]
fn judge(packet: &mut impl Packet, maps: &impl Maps, trace: &mut Trace) -> Result<(), DropReason> {
    workload::load(packet, maps, trace)?;
    let trace = converge(trace);
    strip_marks(packet);
    if parse::kind(packet)? == Kind::Arp {
        return neighbour::answer_arp(packet, trace);
    }
    parse::headers(packet, &mut trace.flow)?;
    let trace = converge(trace);
    if neighbour::is_discovery_from_workload(&trace.endpoint, &trace.flow) {
        return neighbour::answer_discovery(packet, trace);
    }
    if !workload::owns(&trace.endpoint, &trace.flow.source) {
        return Err(DropReason::InvalidSource);
    }
    fragment::resolve_ports(maps, &mut trace.flow)?;
    let trace = converge(trace);
    service::translate(packet, maps, trace)?;
    let trace = converge(trace);

    let peer = maps.address(&AddressKey::host(trace.flow.destination)).ok_or(DropReason::MapMissing)?;
    trace.peer_identity = peer.identity;
    let subject = Subject { peer, direction: Direction::Egress, proxied: false };
    let permit = check::check(packet, maps, &subject, trace)?;
    let trace = converge(trace);
    deliver::route(packet, trace, peer, permit)
}

/// Takes off marks that only the node may set; a workload cannot, but nothing here should rest on that.
#[inline(always)]
fn strip_marks(packet: &mut impl Packet) {
    let given = packet.mark();
    if given & mark::MASK != 0 {
        packet.set_mark(given & !mark::MASK);
    }
}
