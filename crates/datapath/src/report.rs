//! Reports a packet: a counter always, an event where a drop or a change of the connection's state is worth one.

use crate::conntrack::Transition;
use crate::maps::Maps;
use crate::packet::Bytes;
use crate::scratch::Scratch;
use abi::config::flag;
use abi::event::{self, FlowEvent, PacketVerdict};
use abi::policy::Direction;

/// Counts the packet, and reports it if it was refused or changed the state of its connection.
#[inline(always)]
pub(crate) fn report(packet: &impl Bytes, maps: &impl Maps, scratch: &Scratch) {
    let Scratch { found, decision, refusal, .. } = scratch;
    let refused = refusal.map_or(0, |reason| reason as u8);
    let length = packet.length();
    maps.count(event::counter_index(refused, found.direction), length);
    let is_worth_an_event = decision.transition == Transition::Notable && reports_forwards(scratch);
    if refused != 0 || decision.audit.is_some() || is_worth_an_event {
        send(maps, scratch, length);
    }
}

/// Sends the packet's event. A function of its own in the kernel: most packets have none.
#[inline(never)]
fn send(maps: &impl Maps, scratch: &Scratch, length: u32) {
    let Scratch { found, decision, refusal, .. } = scratch;
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
    let time = if found.time == 0 { maps.now() } else { found.time };
    maps.report(FlowEvent {
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
    });
}

#[inline(always)]
fn reports_forwards(scratch: &Scratch) -> bool {
    scratch.found.config.flags & flag::REPORT_FORWARDS != 0
}
