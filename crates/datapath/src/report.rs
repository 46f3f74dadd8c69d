//! What is told of a packet: a counter always, an event where it is worth one.

use crate::conntrack::Turn;
use crate::packet::Packet;
use crate::parse::Flow;
use crate::{Delivery, Maps};
use abi::config::flag;
use abi::endpoint::EndpointInfo;
use abi::event::{self, FlowEvent, Verdict};
use abi::policy::Direction;
use abi::{Address, DropReason};

/// What the stages found out about a packet, for its event.
pub(crate) struct Trace {
    pub(crate) direction: Direction,
    pub(crate) flow: Flow,
    pub(crate) endpoint: u32,
    pub(crate) identity: u32,
    pub(crate) policy: u32,
    pub(crate) peer_identity: u32,
    pub(crate) rule: u32,
    pub(crate) l7: u32,
    /// All zero where no service was translated.
    pub(crate) service: Address,
    pub(crate) service_port: [u8; 2],
    pub(crate) turn: Turn,
    pub(crate) is_reply: bool,
    pub(crate) to_proxy: bool,
    /// Why it would have been dropped but for audit mode.
    pub(crate) audit: Option<DropReason>,
}

impl Trace {
    #[inline(always)]
    pub(crate) const fn new(direction: Direction) -> Self {
        Self {
            direction,
            flow: Flow::unknown(),
            endpoint: 0,
            identity: 0,
            policy: 0,
            peer_identity: 0,
            rule: 0,
            l7: 0,
            service: Address([0; 16]),
            service_port: [0; 2],
            turn: Turn::None,
            is_reply: false,
            to_proxy: false,
            audit: None,
        }
    }

    /// Notes whose packet it is.
    #[inline(always)]
    pub(crate) fn belongs_to(&mut self, endpoint: &EndpointInfo) {
        self.endpoint = endpoint.id;
        self.identity = endpoint.identity;
        self.policy = endpoint.policy;
    }

    /// Whether a service address was translated.
    #[inline(always)]
    pub(crate) fn is_translated(&self) -> bool {
        self.service_port != [0, 0]
    }

    /// Counts the packet, and reports it if it was refused or is a turn in the life of its flow.
    #[inline(always)]
    pub(crate) fn report(
        &self,
        packet: &impl Packet,
        maps: &impl Maps,
        verdict: Result<Delivery, DropReason>,
    ) {
        let refused = match verdict {
            Ok(_) => 0,
            Err(reason) => reason as u8,
        };
        let length = packet.length();
        maps.count(event::counter_index(refused, self.direction), length);
        let (verdict, reason) = match (verdict, self.audit) {
            (Err(reason), _) => (Verdict::Drop, reason as u8),
            (Ok(_), Some(reason)) => (Verdict::Audit, reason as u8),
            (Ok(_), None) if self.turn == Turn::None || !reports_forwards(maps) => return,
            (Ok(_), None) if self.to_proxy => (Verdict::Redirect, 0),
            (Ok(_), None) => (Verdict::Forward, 0),
        };
        maps.report(self.event(maps.now(), length, verdict, reason));
    }

    #[inline(always)]
    fn event(&self, time: u64, length: u32, verdict: Verdict, reason: u8) -> FlowEvent {
        let (source_identity, destination_identity) = match self.direction {
            Direction::Egress => (self.identity, self.peer_identity),
            Direction::Ingress => (self.peer_identity, self.identity),
        };
        FlowEvent {
            time,
            source: self.flow.source,
            destination: self.flow.destination,
            source_port: self.flow.source_port,
            destination_port: self.flow.destination_port,
            protocol: self.flow.protocol,
            tcp_flags: self.flow.tcp_flags,
            verdict: verdict as u8,
            reason,
            direction: self.direction as u8,
            reply: u8::from(self.is_reply),
            padding: [0; 2],
            length,
            source_identity,
            destination_identity,
            endpoint: self.endpoint,
            policy: self.policy,
            rule: self.rule,
            l7: self.l7,
            service_port: self.service_port,
            padding2: [0; 6],
            service: self.service,
        }
    }
}

#[inline(always)]
fn reports_forwards(maps: &impl Maps) -> bool {
    maps.config().is_some_and(|config| config.flags & flag::REPORT_FORWARDS != 0)
}
