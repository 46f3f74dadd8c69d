//! A workload that reaches itself through a service: the backend of its flow is the workload.
//!
//! The workload's own stack refuses a packet with its own address as the source, and would answer within the workload, past
//! the service's address. So packets to the backend have [`SOURCE`] as their source, and the answers to that address get the
//! service's. Both go straight into the workload, past the hook of packets to it. No policy judges them, as in Kubernetes: no
//! workload can block access to itself.

use crate::conntrack::{self, Transition};
use crate::deliver::{self, Delivered};
use crate::delivery::Delivery;
use crate::found::{Found, ServiceAddress};
use crate::maps::Maps;
use crate::packet::{Bytes, Checksums, PacketRoute};
use crate::parse::PacketFlow;
use crate::scratch::Scratch;
use crate::translate::{self, PacketEnd};
use abi::policy::Direction;
use abi::service::ForwardInfo;
use abi::{Address, DropReason, map};

/// The source of packets to the backend, in each family: the address that Cilium uses (`loopback-ip`), and the same number in
/// the block that no router forwards (RFC 6666). Workloads route both to their gateway.
const SOURCE: [Address; 2] =
    [Address::from_v4([169, 254, 42, 1]), Address([1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 169, 254, 42, 1])];

/// Whether the packet goes to a service whose backend for the flow is the sender.
#[inline(always)]
pub(crate) fn is_to_self(found: &Found) -> bool {
    found.service.is_set() && found.flow.source == found.flow.destination
}

/// Whether the packet answers one to the backend.
#[inline(always)]
pub(crate) fn is_answer(flow: &PacketFlow) -> bool {
    SOURCE.contains(&flow.destination)
}

/// Delivers a packet to the backend, and keeps the service's address for the answers.
#[inline(never)]
pub(crate) fn to_backend(
    packet: &mut (impl Bytes + Checksums + PacketRoute),
    maps: &impl Maps,
    scratch: &mut Scratch,
) -> Result<Delivered, DropReason> {
    let Found { flow, service, .. } = &mut scratch.found;
    let source = SOURCE[usize::from(!flow.source.is_v4())];
    translate::rewrite(packet, flow, PacketEnd::Source, &source, flow.source_port)?;
    flow.source = source;
    scratch.key = conntrack::key(flow, Direction::Ingress);
    let forward = ForwardInfo { address: service.address, port: service.port, padding: [0; 2] };
    let is_known = maps.lookup_mut(map::Forwards, &scratch.key).is_some_and(|known| *known == forward);
    if !is_known {
        if !maps.update(map::Forwards, &scratch.key, &forward) {
            return Err(DropReason::ConntrackFull);
        }
        scratch.decision.transition = Transition::Opened;
    }
    scratch.found.peer_identity = scratch.found.endpoint.identity;
    Ok(deliver::exempt(scratch, Delivery::Workload(packet.interface())))
}

/// Delivers an answer of the backend: from the service, to the address that the workload sent the first packet from.
#[inline(never)]
pub(crate) fn from_backend(
    packet: &mut (impl Bytes + Checksums + PacketRoute),
    maps: &impl Maps,
    scratch: &mut Scratch,
) -> Result<Delivered, DropReason> {
    let Found { flow, service, peer_identity, endpoint, .. } = &mut scratch.found;
    scratch.key = conntrack::key(flow, Direction::Egress);
    {
        let Some(forward) = maps.lookup_mut(map::Forwards, &scratch.key) else {
            return Err(DropReason::NotEstablished);
        };
        *service = ServiceAddress { address: forward.address, port: forward.port };
    }
    *peer_identity = endpoint.identity;
    scratch.decision.is_reply = true;
    let own = flow.source;
    translate::rewrite(packet, flow, PacketEnd::Source, &service.address, service.port)?;
    translate::rewrite(packet, flow, PacketEnd::Destination, &own, flow.destination_port)?;
    Ok(deliver::exempt(scratch, Delivery::Workload(packet.interface())))
}
