//! Ingress of a workload's host-side interface: judges what the workload sends.

use crate::check::{self, EndpointTraffic};
use crate::deliver::{self, Delivered};
use crate::delivery::Delivery;
use crate::found::FlowWay;
use crate::maps::Maps;
use crate::packet::{Bytes, Checksums, Mark, PacketRoute};
use crate::parse::{self, Kind};
use crate::scratch::Scratch;
use crate::verifier::Fresh;
use crate::{established, fragment, hairpin, host, neighbour, pipeline, service, workload};
use abi::address::AddressKey;
use abi::policy::Direction;
use abi::{DropReason, identity, mark};

/// Judges a packet that the workload behind the packet's interface sent; one to the node, by the node's policy too.
#[inline(always)]
pub fn from_workload(
    packet: &mut (impl Bytes + Checksums + Mark + PacketRoute),
    maps: &impl Maps,
    scratch: &mut Scratch,
) -> Result<Delivery, DropReason> {
    if let Some(delivery) = established::from_workload(packet, maps, &mut scratch.key) {
        return Ok(delivery);
    }
    pass_stages(packet, maps, scratch);
    pipeline::verdict(scratch)
}

/// Judges a packet by all stages. A function of its own in the kernel, as at the other hooks: most packets belong to an
/// established flow.
#[inline(never)]
fn pass_stages(
    packet: &mut (impl Bytes + Checksums + Mark + PacketRoute),
    maps: &impl Maps,
    scratch: &mut Scratch,
) {
    scratch.begin(Direction::Egress);
    let scratch = &mut Fresh::new(scratch);
    let verdict = pipeline::run(packet, maps, scratch, judge);
    if verdict.is_ok()
        && scratch.found.peer_identity == identity::HOST
        && host::turn_to(maps, Direction::Ingress, scratch)
    {
        let _ = pipeline::run(packet, maps, scratch, host::receive);
    }
}

#[inline(always)]
fn judge(
    packet: &mut (impl Bytes + Checksums + Mark + PacketRoute),
    maps: &impl Maps,
    scratch: &mut Fresh<'_, Scratch>,
) -> Result<Delivered, DropReason> {
    workload::load(packet, maps, &mut scratch.found)?;
    strip_marks(packet);
    if parse::kind(packet)? == Kind::Arp {
        return neighbour::answer_arp(packet, scratch);
    }
    parse::headers_apart(packet, &mut scratch.found.flow)?;
    if neighbour::is_discovery_from_workload(&scratch.found) {
        return neighbour::answer_discovery(packet, scratch);
    }
    if !workload::owns_source(&scratch.found) {
        return Err(DropReason::InvalidSource);
    }
    fragment::resolve_ports(maps, &mut scratch.found.flow)?;
    if hairpin::is_answer(&scratch.found.flow) {
        return hairpin::from_backend(packet, maps, scratch);
    }
    service::translate(packet, maps, &mut scratch.found)?;
    if hairpin::is_to_self(&scratch.found) {
        return hairpin::to_backend(packet, maps, scratch);
    }

    let remote = AddressKey::host(scratch.found.flow.destination);
    let peer = maps.address(&remote).ok_or(DropReason::MapMissing)?;
    scratch.found.peer_identity = peer.identity;
    // A packet to the node passes the node's policy too, and the next connection to a frontend is translated.
    if peer.identity != identity::HOST && !service::is_to_frontend(maps, &scratch.found.flow) {
        scratch.found.way = FlowWay { is_known: true, local: packet.interface(), interface: peer.interface };
    }
    let traffic = EndpointTraffic { peer, direction: Direction::Egress, proxied: false };
    let permit = check::check(packet, maps, &traffic, scratch)?;
    deliver::route(packet, scratch, peer, permit)
}

/// Takes off marks that only the node may set. A workload cannot set marks; this hook does not rely on that.
#[inline(always)]
fn strip_marks(packet: &mut impl Mark) {
    let given = packet.mark();
    if given & mark::MASK != 0 {
        packet.set_mark(given & !mark::MASK);
    }
}
