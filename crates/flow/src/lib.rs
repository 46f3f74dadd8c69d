//! Flows: events of the packet path and of the proxy, decoded, named, filtered, buffered and printed.
//!
//! Data passes one way: an event enters a [`RingBuffer`] as it arrived. For a reader, it becomes a [`Flow`]
//! ([`Flow::from_packet`], [`Flow::from_request`]) with names from a [`Names`], is matched by a [`Filter`], and is printed
//! by [`line()`] or as JSON. The JSON has the field names of Hubble's `flow.Flow`; it deserializes into the same value.
//! Between flows a reader sees gaps, each with the number of events that were lost ([`Observed`]).
#![forbid(unsafe_code)]

mod decode;
mod filter;
mod flow;
mod lost;
mod names;
mod print;
mod ring;
mod tcp;
mod time;

pub use decode::{Clock, DecodeError, ProxiedRequest, packet};
pub use filter::{Filter, FilterError};
pub use flow::{
    Flow, FlowDecision, FlowEndpoint, FlowType, FlowVerdict, Http, IcmpMessage, IpPair, IpVersion, Layer4,
    Layer7, PortPair, Segment, TrafficDirection,
};
pub use lost::{LostEvents, LostSource, Observed};
pub use names::{FlowService, FlowWorkload, Names, RuleName};
pub use print::{Paint, gap, line};
pub use ring::{Missed, RingBuffer};
pub use tcp::TcpFlags;
pub use time::{Time, TimeError};

#[cfg(test)]
mod testing;
