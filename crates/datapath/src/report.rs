//! What is told of a packet: a counter always, an event where it is worth one.

use crate::conntrack::Transition;
use crate::packet::Packet;
use crate::parse::Flow;
use crate::{Delivery, Maps};
use abi::config::{Config, flag};
use abi::endpoint::EndpointInfo;
use abi::event::{self, FlowEvent, Verdict};
use abi::policy::{Direction, VerdictInfo};
use abi::{Address, DropReason};

/// Keeps the compiler from carrying what it knows of a place in memory past this point.
///
/// The kernel's verifier follows every path until it looks like one that it has seen. With each value read afresh
/// from memory, paths look alike as soon as they meet.
#[inline(always)]
pub(crate) fn converge<T>(place: &mut T) -> &mut T {
    core::hint::black_box(place)
}

/// What the stages found out about a packet: whose it is, what holds for it, and all that its event says.
///
/// It is handed in, for the kernel's stack has little room.
pub struct Trace {
    pub(crate) direction: Direction,
    pub(crate) flow: Flow,
    /// What holds for the node, copied before any other row is looked up (see `workload::load`).
    pub(crate) config: Config,
    /// The workload or node whose packet it is, copied too; all zero where it is nobody's.
    pub(crate) endpoint: EndpointInfo,
    pub(crate) peer_identity: u32,
    pub(crate) rule: u32,
    pub(crate) l7: u32,
    /// All zero where no service was translated.
    pub(crate) service: Address,
    pub(crate) service_port: [u8; 2],
    pub(crate) transition: Transition,
    pub(crate) is_reply: bool,
    /// Index of the interface of the proxy that the packet goes to; 0 where it goes straight.
    pub(crate) proxy: u32,
    /// Why the packet is dropped.
    pub(crate) refusal: Option<DropReason>,
    /// Where the packet goes if it is not refused.
    pub(crate) delivery: Delivery,
    /// What policy said, where it was asked.
    pub(crate) ruling: Option<VerdictInfo>,
    /// Why it would have been dropped but for audit mode.
    pub(crate) audit: Option<DropReason>,
}

impl Default for Trace {
    #[inline(always)]
    fn default() -> Self {
        Self {
            direction: Direction::Ingress,
            flow: Flow::unknown(),
            config: Config::default(),
            endpoint: EndpointInfo::default(),
            peer_identity: 0,
            rule: 0,
            l7: 0,
            service: Address([0; 16]),
            service_port: [0; 2],
            transition: Transition::None,
            is_reply: false,
            proxy: 0,
            refusal: None,
            delivery: Delivery::Pass,
            ruling: None,
            audit: None,
        }
    }
}

impl Trace {
    /// Begins with a packet of which nothing is known.
    #[inline(always)]
    pub(crate) fn begin(&mut self, direction: Direction) -> &mut Self {
        *self = Self { direction, ..Self::default() };
        converge(self)
    }

    /// Goes on to another door that the packet passes: of that one all is to be found out anew, but not of the packet
    /// and of what holds for the node.
    #[inline(always)]
    pub(crate) fn turn_to(&mut self, direction: Direction, endpoint: &EndpointInfo) -> &mut Self {
        let Self { flow, config, delivery, .. } = *self;
        *self = Self { direction, flow, config, endpoint: *endpoint, delivery, ..Self::default() };
        converge(self)
    }

    /// Whether a service address was translated.
    #[inline(always)]
    pub(crate) fn is_translated(&self) -> bool {
        self.service_port != [0, 0]
    }

    /// Counts the packet, and reports it if it was refused or is a turn in the life of its flow.
    #[inline(always)]
    pub(crate) fn report(&self, packet: &impl Packet, maps: &impl Maps) {
        let refused = self.refusal.map_or(0, |reason| reason as u8);
        let length = packet.length();
        maps.count(event::counter_index(refused, self.direction), length);
        let (verdict, reason) = match (self.refusal, self.audit) {
            (Some(_), _) => (Verdict::Drop, refused),
            (None, Some(reason)) => (Verdict::Audit, reason as u8),
            (None, None) if self.transition == Transition::None || !self.reports_forwards() => return,
            (None, None) if self.proxy != 0 => (Verdict::Redirect, 0),
            (None, None) => (Verdict::Forward, 0),
        };
        maps.report(self.event(maps.now(), length, verdict, reason));
    }

    /// What the story ends with.
    #[inline(always)]
    pub(crate) fn verdict(&self) -> Result<Delivery, DropReason> {
        match self.refusal {
            Some(reason) => Err(reason),
            None => Ok(self.delivery),
        }
    }

    #[inline(always)]
    fn event(&self, time: u64, length: u32, verdict: Verdict, reason: u8) -> FlowEvent {
        let (source_identity, destination_identity) = match self.direction {
            Direction::Egress => (self.endpoint.identity, self.peer_identity),
            Direction::Ingress => (self.peer_identity, self.endpoint.identity),
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
            endpoint: self.endpoint.id,
            policy: self.endpoint.policy,
            rule: self.rule,
            l7: self.l7,
            service_port: self.service_port,
            padding2: [0; 6],
            service: self.service,
        }
    }

    #[inline(always)]
    fn reports_forwards(&self) -> bool {
        self.config.flags & flag::REPORT_FORWARDS != 0
    }
}
