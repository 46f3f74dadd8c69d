//! Events that an observer does not see, how many, and why.

use crate::flow::Flow;
use crate::time::Time;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One line of what an observer sees: a flow, or a gap in the flows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Observed {
    /// Events were lost here. The JSON is that of Hubble's `GetFlowsResponse`.
    Lost {
        /// How many, and why.
        lost_events: LostEvents,
        /// When the loss was noticed.
        time: Time,
    },
    /// A flow.
    Flow(Box<Flow>),
}

/// A number of events that were lost for one reason; Hubble's `flow.LostEvent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostEvents {
    /// Where they were lost.
    pub source: LostSource,
    /// How many; a string in JSON, as protobuf's JSON mapping writes 64-bit numbers.
    #[serde(serialize_with = "as_text", deserialize_with = "from_text")]
    pub num_events_lost: u64,
}

/// Where events are lost; Hubble's `flow.LostEventSource`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LostSource {
    /// The ring buffer between the packet path and the agent had no room.
    #[serde(rename = "PERF_EVENT_RING_BUFFER")]
    PacketRing,
    /// The proxy could not hand its events to the agent.
    #[serde(rename = "OBSERVER_EVENTS_QUEUE")]
    Proxy,
    /// The observer read too slowly: newer events had evicted them from the agent's ring buffer.
    #[serde(rename = "HUBBLE_RING_BUFFER")]
    SlowReader,
}

impl Observed {
    /// When it happened.
    pub fn time(&self) -> Time {
        match self {
            Self::Lost { time, .. } => *time,
            Self::Flow(flow) => flow.time,
        }
    }

    /// The flow, if it is one.
    pub fn into_flow(self) -> Option<Flow> {
        match self {
            Self::Lost { .. } => None,
            Self::Flow(flow) => Some(*flow),
        }
    }
}

impl LostSource {
    /// The reason for people: `slow reader`.
    pub fn describe(self) -> &'static str {
        match self {
            Self::PacketRing => "ring full",
            Self::Proxy => "proxy",
            Self::SlowReader => "slow reader",
        }
    }
}

fn as_text<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}

fn from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{dropped_syn, packet_flow};

    #[test]
    fn a_gap_has_the_json_of_hubble_and_a_flow_has_its_own() {
        let lost_events = LostEvents { source: LostSource::SlowReader, num_events_lost: 1234 };
        let gap = Observed::Lost { lost_events, time: Time(0) };
        let json = serde_json::to_value(&gap).unwrap();
        let expected = serde_json::json!({
            "lost_events": {"source": "HUBBLE_RING_BUFFER", "num_events_lost": "1234"},
            "time": "1970-01-01T00:00:00.000000000Z",
        });
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_value::<Observed>(json).unwrap(), gap);

        let flow = packet_flow(&dropped_syn());
        let json = serde_json::to_value(Observed::Flow(Box::new(flow.clone()))).unwrap();
        assert_eq!(json, serde_json::to_value(&flow).unwrap());
        assert_eq!(serde_json::from_value::<Observed>(json).unwrap().into_flow(), Some(flow));
    }
}
