//! The record of a request, from the proxy's process to the agent's clients: numbers of fixed length, then text.

use abi::Address;
use abi::policy::Direction;
use flow::{FlowVerdict, TrafficDirection};
use proxy::{RequestEvent, RequestVerdict};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Maximum number of bytes of a text. A request's head has at most 60 KiB.
const LONGEST_TEXT: usize = 64 * 1024 - 1;

/// The numbers of a record, in the byte order of the host.
#[derive(Clone, Copy, Debug, IntoBytes, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct RecordHeader {
    /// Nanoseconds of the monotonic clock.
    time: u64,
    /// Nanoseconds from the request's head to the response's head.
    latency: u64,
    /// Bytes of the record, with these.
    length: u32,
    source_identity: u32,
    destination_identity: u32,
    /// The policy rule that decided; 0 if none did.
    rule: u32,
    client: Address,
    server: Address,
    client_port: u16,
    server_port: u16,
    /// Status of the response; 0 if there was none.
    status: u16,
    /// 1 for a request that was forwarded.
    is_forwarded: u8,
    /// 1 for the client's policy, 0 for the server's.
    is_egress: u8,
    /// Bytes of each text, in the order of [`RequestRecord::texts`].
    texts: [u16; TEXTS],
    padding: [u8; 6],
}

/// How many texts a record has: method, path, host, protocol, reason.
const TEXTS: usize = 5;

/// A record, as it is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestRecord<'a> {
    header: RecordHeader,
    /// Method, path, host, protocol, and why the request was not forwarded or has no response.
    texts: [&'a str; TEXTS],
}

/// Bytes are not those of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bytes of the proxy are not a record of a request")]
pub(crate) struct MalformedRecord;

/// The bytes of the event's record.
pub(crate) fn length(event: &RequestEvent<'_>) -> usize {
    size_of::<RecordHeader>() + texts(event).iter().map(|text| text.len()).sum::<usize>()
}

/// Appends the record of an event that happened at this time of the monotonic clock.
pub(crate) fn append(event: &RequestEvent<'_>, time: u64, out: &mut Vec<u8>) {
    let decided = event.decisions.last().map(|decision| decision.applied);
    let texts = texts(event);
    let header = RecordHeader {
        time,
        latency: u64::try_from(event.latency.as_nanos()).unwrap_or(u64::MAX),
        length: u32::try_from(length(event)).expect("texts are short"),
        source_identity: event.source_identity,
        destination_identity: event.destination_identity,
        rule: decided.map_or(0, |applied| applied.rule),
        client: event.client.ip().into(),
        server: event.server.ip().into(),
        client_port: event.client.port(),
        server_port: event.server.port(),
        status: event.status.unwrap_or(0),
        is_forwarded: u8::from(event.verdict == RequestVerdict::Forward),
        is_egress: u8::from(decided.is_some_and(|applied| applied.direction == Direction::Egress)),
        texts: texts.map(|text| text.len() as u16),
        padding: [0; 6],
    };
    out.extend_from_slice(header.as_bytes());
    texts.iter().for_each(|text| out.extend_from_slice(text.as_bytes()));
}

fn texts<'a>(event: &'a RequestEvent<'_>) -> [&'a str; TEXTS] {
    [&event.method, &event.path, &event.host, &event.protocol, event.reason]
        .map(|text: &str| &text[..text.floor_char_boundary(LONGEST_TEXT)])
}

/// The length of the record at the start of these bytes; none where they hold no whole record.
pub(crate) fn first(bytes: &[u8]) -> Option<usize> {
    let (header, _) = RecordHeader::read_from_prefix(bytes).ok()?;
    let length = header.length as usize;
    (size_of::<RecordHeader>()..=bytes.len()).contains(&length).then_some(length)
}

/// True for the record of a request that was forwarded.
pub(crate) fn is_forwarded(record: &[u8]) -> bool {
    RecordHeader::read_from_prefix(record).is_ok_and(|(header, _)| header.is_forwarded == 1)
}

impl<'a> RequestRecord<'a> {
    /// Reads a record. The proxy reads untrusted input, so that its bytes may be any.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, MalformedRecord> {
        let (header, mut rest) = RecordHeader::read_from_prefix(bytes).map_err(|_| MalformedRecord)?;
        let mut texts = [""; TEXTS];
        for (text, length) in texts.iter_mut().zip(header.texts) {
            let (bytes, after) = rest.split_at_checked(length.into()).ok_or(MalformedRecord)?;
            *text = str::from_utf8(bytes).map_err(|_| MalformedRecord)?;
            rest = after;
        }
        if header.length as usize == bytes.len() && rest.is_empty() {
            Ok(Self { header, texts })
        } else {
            Err(MalformedRecord)
        }
    }

    /// The request, for a flow.
    pub(crate) fn request(&self) -> flow::ProxiedRequest {
        let Self { header, texts } = self;
        let [method, path, host, protocol, reason] = texts.map(str::to_owned);
        let (forwarded, egress) = (header.is_forwarded == 1, header.is_egress == 1);
        flow::ProxiedRequest {
            time: header.time,
            verdict: if forwarded { FlowVerdict::Forwarded } else { FlowVerdict::Dropped },
            source: SocketAddr::new(IpAddr::from(header.client), header.client_port),
            destination: SocketAddr::new(IpAddr::from(header.server), header.server_port),
            source_identity: header.source_identity,
            destination_identity: header.destination_identity,
            endpoint: 0,
            direction: if egress { TrafficDirection::Egress } else { TrafficDirection::Ingress },
            rule: header.rule,
            method,
            path,
            host,
            protocol,
            reason,
            status: Some(header.status).filter(|status| *status != 0),
            latency: Some(Duration::from_nanos(header.latency)),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proxy::{AppliedRuleSet, RuleSetDecision};
    use std::time::Instant;

    /// A request for this path.
    pub(crate) fn event(verdict: RequestVerdict, path: &str) -> RequestEvent<'_> {
        let applied = AppliedRuleSet { set: 1, rule: 7, direction: Direction::Egress };
        RequestEvent {
            time: Instant::now(),
            client: "10.0.0.1:40000".parse().unwrap(),
            server: "[fd00::2]:80".parse().unwrap(),
            source_identity: 256,
            destination_identity: 257,
            method: "GET".into(),
            path: path.into(),
            host: "server".into(),
            protocol: "HTTP/1.1".into(),
            status: Some(200),
            verdict,
            reason: "",
            decisions: vec![RuleSetDecision { applied, http_rule: Some(0) }].into(),
            latency: Duration::from_micros(20),
        }
    }

    #[test]
    fn a_record_holds_what_the_event_holds() {
        let mut bytes = Vec::new();
        append(&event(RequestVerdict::Forward, "/a?b=ü"), 5, &mut bytes);
        assert_eq!(first(&bytes), Some(bytes.len()));
        assert!(is_forwarded(&bytes));
        let request = RequestRecord::parse(&bytes).unwrap().request();
        assert_eq!((request.time, request.verdict, request.rule), (5, FlowVerdict::Forwarded, 7));
        assert_eq!(
            (request.source, request.destination.to_string()),
            ("10.0.0.1:40000".parse().unwrap(), "[fd00::2]:80".into())
        );
        assert_eq!((request.source_identity, request.destination_identity), (256, 257));
        assert_eq!((&*request.method, &*request.path, &*request.host), ("GET", "/a?b=ü", "server"));
        assert_eq!((&*request.protocol, &*request.reason, request.status), ("HTTP/1.1", "", Some(200)));
        assert_eq!(request.direction, TrafficDirection::Egress);
        assert_eq!(request.latency, Some(Duration::from_micros(20)));
    }

    #[test]
    fn a_request_without_a_decision_or_a_response_is_one_of_the_servers_side() {
        let refused = RequestEvent {
            status: None,
            reason: "this is not HTTP",
            decisions: Vec::new().into(),
            ..event(RequestVerdict::Refuse, "")
        };
        let mut bytes = Vec::new();
        append(&refused, 5, &mut bytes);
        assert!(!is_forwarded(&bytes));
        let request = RequestRecord::parse(&bytes).unwrap().request();
        assert_eq!((request.verdict, request.rule, request.status), (FlowVerdict::Dropped, 0, None));
        assert_eq!((request.direction, &*request.reason), (TrafficDirection::Ingress, "this is not HTTP"));
    }

    #[test]
    fn bytes_that_are_not_a_record_are_refused() {
        let mut bytes = Vec::new();
        append(&event(RequestVerdict::Deny, "/a"), 5, &mut bytes);
        for length in 0..bytes.len() {
            assert_eq!(first(&bytes[..length]), None, "{length}");
            assert_eq!(RequestRecord::parse(&bytes[..length]).unwrap_err(), MalformedRecord, "{length}");
        }
        for place in 0..bytes.len() {
            // Any byte may be any: no index is out of bounds.
            let mut changed = bytes.clone();
            changed[place] = 0xff;
            let _ = (first(&changed), RequestRecord::parse(&changed).map(|record| record.request()));
        }
        bytes.push(0);
        assert_eq!(RequestRecord::parse(&bytes).unwrap_err(), MalformedRecord);
    }
}
