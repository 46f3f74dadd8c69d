//! Egress of a workload's host-side interface: judges what the workload is sent.

use crate::check::{self, EndpointTraffic};
use crate::decision::PacketDecision;
use crate::deliver::{self, Delivered};
use crate::delivery::Delivery;
use crate::found::{FlowWay, Found, Sender};
use crate::maps::Maps;
use crate::packet::{Bytes, Checksums, Mark, PacketRoute};
use crate::parse::{self, Kind};
use crate::scratch::Scratch;
use crate::translate::{self, PacketEnd};
use crate::verifier::Fresh;
use crate::{established, fragment, host, neighbour, origin, pipeline, related, workload};
use abi::address::AddressKey;
use abi::policy::Direction;
use abi::{DropReason, identity};

/// Judges a packet on its way to the workload behind the packet's interface; one from the node, by the node's policy first.
#[inline(always)]
pub fn to_workload(
    packet: &mut (impl Bytes + Checksums + Mark + PacketRoute),
    maps: &impl Maps,
    scratch: &mut Scratch,
) -> Result<Delivery, DropReason> {
    if let Some(delivery) = established::to_workload(packet, maps, &mut scratch.key) {
        return Ok(delivery);
    }
    scratch.begin(Direction::Ingress);
    pipeline::run_apart(packet, maps, scratch, judge);
    pipeline::verdict(scratch)
}

#[inline(always)]
fn judge(
    packet: &mut (impl Bytes + Checksums + Mark + PacketRoute),
    maps: &impl Maps,
    scratch: &mut Fresh<'_, Scratch>,
) -> Result<Delivered, DropReason> {
    workload::load(packet, maps, &mut scratch.found)?;
    if parse::kind(packet)? == Kind::Arp {
        return Ok(deliver::exempt(scratch, Delivery::Pass));
    }
    parse::headers_apart(packet, &mut scratch.found.flow)?;
    if neighbour::is_discovery_on_link(&scratch.found.flow) {
        return Ok(deliver::exempt(scratch, Delivery::Pass));
    }
    if !workload::owns_destination(&scratch.found) {
        return Err(DropReason::InvalidDestination);
    }
    let peer = maps.address(&AddressKey::host(scratch.found.flow.source)).ok_or(DropReason::MapMissing)?;
    scratch.found.peer_identity = peer.identity;
    scratch.found.way = FlowWay {
        // A packet from the node passes the node's policy too.
        is_known: peer.identity != identity::HOST,
        local: packet.interface(),
        interface: packet.ingress(),
    };
    // A packet that a workload's hook hands over has no entry there.
    scratch.found.is_routed =
        packet.ingress() != 0 && peer.interface == packet.ingress() && packet.opener().is_some();
    let mut peer = peer;
    if !workload::may_send(peer, packet.ingress()) {
        if peer.identity != identity::HOST {
            return Err(DropReason::InvalidSource);
        }
        match origin::find(packet, maps, scratch) {
            Some(sender) => peer = sender,
            None => origin::refuse_unknown(scratch)?,
        }
    }
    fragment::resolve_ports(maps, &mut scratch.found.flow)?;
    if peer.identity == identity::HOST && scratch.found.sender == Sender::Source {
        host::send(packet, maps, scratch)?;
    }

    let traffic = EndpointTraffic { peer, direction: Direction::Ingress, proxied: false };
    let permit = check::check(packet, maps, &traffic, scratch)?;
    let decision = &scratch.decision;
    if decision.service.is_set() && decision.proxy == 0 {
        translate_back(packet, scratch)?;
    }
    Ok(deliver::pass(packet, scratch, permit))
}

/// Gives a packet from a backend the address of the service that the workload sent its packets to. A function of its own in
/// the kernel: most flows have no service.
#[inline(never)]
fn translate_back(packet: &mut (impl Bytes + Checksums), scratch: &Scratch) -> Result<(), DropReason> {
    let Scratch { found: Found { flow, .. }, decision: PacketDecision { service, .. }, .. } = scratch;
    if related::is_error(flow) {
        return translate::rewrite_error(
            packet,
            flow,
            PacketEnd::Destination,
            &service.address,
            service.port,
        );
    }
    translate::rewrite(packet, flow, PacketEnd::Source, &service.address, service.port)
}
