//! Reports a packet: a counter always, an event for a denial and for what the node's configuration asks for.

use crate::delivery::Delivery;
use crate::maps::Maps;
use crate::packet::Bytes;
use crate::scratch::Scratch;
use abi::config::flag;
use abi::event::{self, FlowEvent, PacketVerdict};
use abi::policy::Direction;

/// Counts the packet, and reports it if it was denied or is worth an event.
#[inline(always)]
pub(crate) fn report(packet: &impl Bytes, maps: &impl Maps, scratch: &mut Scratch) {
    let Scratch { found, decision, refusal, .. } = &*scratch;
    let refused = refusal.map_or(0, |reason| reason as u8);
    let length = packet.length();
    maps.count(event::counter_index(refused, found.direction), length);
    if refused != 0 || decision.audit.is_some() || is_worth_an_event(scratch) {
        send(maps, scratch, length);
    }
}

/// Sends the packet's event. A function of its own in the kernel: most packets have none.
#[inline(never)]
fn send(maps: &impl Maps, scratch: &mut Scratch, length: u32) {
    let Scratch { found, decision, refusal, event, .. } = scratch;
    let (verdict, reason) = match (*refusal, decision.audit) {
        (Some(reason), _) => (PacketVerdict::Drop, reason as u8),
        (None, Some(reason)) => (PacketVerdict::Audit, reason as u8),
        (None, None) if decision.proxy != 0 => (PacketVerdict::Redirect, 0),
        (None, None) => (PacketVerdict::Forward, 0),
    };
    let (source_identity, destination_identity) = match found.direction {
        Direction::Egress => (found.endpoint.identity, found.peer_identity),
        Direction::Ingress => (found.peer_identity, found.endpoint.identity),
    };
    let service = if decision.service.is_set() { decision.service } else { found.service };
    // Most packets that need no clock have no event.
    let time = if found.time == 0 { maps.clock().0 } else { found.time };
    *event = FlowEvent {
        time,
        source: found.flow.source,
        destination: found.flow.destination,
        source_port: found.flow.source_port,
        destination_port: found.flow.destination_port,
        protocol: found.flow.protocol,
        tcp_flags: found.flow.tcp_flags,
        verdict: verdict as u8,
        reason,
        direction: found.direction as u8,
        reply: u8::from(decision.is_reply),
        padding: [0; 2],
        length,
        source_identity,
        destination_identity,
        endpoint: found.endpoint.id,
        policy: found.endpoint.policy,
        rule: decision.rule,
        l7: decision.l7,
        service_port: service.port,
        padding2: [0; 6],
        service: service.address,
    };
    maps.report(event);
}

/// Whether the configuration asks for an event of a packet that passes.
///
/// Each hook reports the verdict that opens a connection. What the two ends do in the connection is reported once, by the last
/// hook that judges the packet.
#[inline(always)]
fn is_worth_an_event(scratch: &Scratch) -> bool {
    let Scratch { found, decision, delivery, .. } = scratch;
    // The hook of the workload that a packet goes to judges the packet next.
    let is_last = !matches!(delivery, Delivery::Egress(_));
    let transition = decision.transition as u32;
    let wanted = if is_last {
        transition | flag::REPORT_PACKETS
    } else {
        transition & flag::REPORT_OPENED | flag::REPORT_HOPS
    };
    found.config.flags & wanted != 0
}
