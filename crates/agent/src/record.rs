//! Records of the feed: events as they arrived, and how a reader decodes them.

use crate::names::SharedNames;
use crate::request_record::RequestRecord;
use abi::event::{FlowEvent, PacketVerdict};
use flow::{Clock, Flow, LostEvents, Observed, Time};
use rustix::time::{ClockId, clock_gettime};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// An event as it arrived. It stays like this until a client reads it.
#[derive(Clone, Debug)]
pub(crate) enum Record {
    /// A packet.
    Packet(FlowEvent),
    /// A request that was forwarded, as the proxy sent it.
    Request(Arc<[u8]>),
    /// A request that was refused, as the proxy sent it.
    RefusedRequest(Arc<[u8]>),
    /// Events that were lost on their way to the agent.
    Lost(LostEvents, Time),
}

/// The part of the feed that a record has its place in. No part takes room from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Forwarded packets.
    Forwards,
    /// Denied packets and requests, and what was lost.
    Denials,
    /// Forwarded requests.
    Requests,
}

/// Turns records into what clients see, with names and the time of day.
#[derive(Debug)]
pub(crate) struct Decoder<'a> {
    names: &'a SharedNames,
    clock: Clock,
}

/// The time of day.
pub(crate) fn time_of_day() -> Time {
    Time(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64))
}

impl Part {
    /// All parts, each at the index that it has as a number.
    pub(crate) const ALL: [Self; 3] = [Self::Forwards, Self::Denials, Self::Requests];
}

impl Record {
    /// The part that the record has its place in.
    pub(crate) fn part(&self) -> Part {
        const DROP: u8 = PacketVerdict::Drop as u8;
        const AUDIT: u8 = PacketVerdict::Audit as u8;
        match self {
            Self::Packet(FlowEvent { verdict: DROP | AUDIT, .. })
            | Self::RefusedRequest(_)
            | Self::Lost(..) => Part::Denials,
            Self::Packet(_) => Part::Forwards,
            Self::Request(_) => Part::Requests,
        }
    }

    /// Bytes of memory.
    pub(crate) fn size(&self) -> usize {
        /// The allocation's own share.
        const SHARED: usize = 32;
        let shared = match self {
            Self::Request(bytes) | Self::RefusedRequest(bytes) => bytes.len() + SHARED,
            Self::Packet(_) | Self::Lost(..) => 0,
        };
        size_of::<Self>() + shared
    }
}

impl<'a> Decoder<'a> {
    /// A decoder with the clocks as they are now.
    pub(crate) fn new(names: &'a SharedNames) -> Self {
        let now = clock_gettime(ClockId::Monotonic);
        let monotonic = now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64;
        let Time(wall) = time_of_day();
        Self { names, clock: Clock::new(wall, monotonic) }
    }

    /// Decodes a record; none if its bytes are not those of an event.
    pub(crate) fn decode(&self, record: &Record) -> Option<Observed> {
        match record {
            Record::Packet(event) => self.packet(event),
            Record::Request(bytes) | Record::RefusedRequest(bytes) => self.request(bytes),
            Record::Lost(lost, time) => Some(Observed::Lost { lost_events: *lost, time: *time }),
        }
    }

    fn packet(&self, event: &FlowEvent) -> Option<Observed> {
        match Flow::from_packet(event, &self.names.at(event.time), self.clock) {
            Ok(flow) => Some(Observed::Flow(Box::new(flow))),
            Err(error) => {
                tracing::warn!(%error, "an event could not be decoded");
                None
            }
        }
    }

    fn request(&self, bytes: &[u8]) -> Option<Observed> {
        match RequestRecord::parse(bytes) {
            Ok(record) => {
                let request = record.request();
                let flow = Flow::from_request(&request, &self.names.at(request.time), self.clock);
                Some(Observed::Flow(Box::new(flow)))
            }
            Err(error) => {
                tracing::warn!(%error, "an event of the proxy could not be decoded");
                None
            }
        }
    }
}
