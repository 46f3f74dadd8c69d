//! Events become flows: bytes are checked, numbers get their names.

use crate::flow::{
    Decision, Flow, FlowEndpoint, FlowType, FlowVerdict, Http, IcmpMessage, IpPair, IpVersion, Layer4,
    Layer7, PortPair, Segment, TrafficDirection,
};
use crate::names::Names;
use crate::tcp::TcpFlags;
use crate::time::Time;
use abi::event::FlowEvent;
use abi::protocol;
use abi::{Address, DropReason};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use zerocopy::FromBytes;

/// Tells the time of day from the monotonic clock that events carry.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    wall: u64,
    monotonic: u64,
}

/// A request as the node proxy judged it.
#[derive(Clone, Debug)]
pub struct ProxiedRequest {
    /// Nanoseconds of the monotonic clock.
    pub time: u64,
    /// Forwarded or dropped.
    pub verdict: FlowVerdict,
    /// The client's own address and port.
    pub source: SocketAddr,
    /// The server's address and port.
    pub destination: SocketAddr,
    /// Identity of the client.
    pub source_identity: u32,
    /// Identity of the server.
    pub destination_identity: u32,
    /// The endpoint whose policy was asked.
    pub endpoint: u32,
    /// Which way the request went, seen from `endpoint`.
    pub direction: TrafficDirection,
    /// The rule that allowed it; 0 where none did.
    pub rule: u32,
    /// Method as sent.
    pub method: String,
    /// Path with query.
    pub path: String,
    /// Authority; empty where there is none.
    pub host: String,
    /// The protocol that was spoken, with its version: `HTTP/1.1`.
    pub protocol: String,
    /// Why it was not forwarded, or why there is no answer of the server; empty where all is well.
    pub reason: String,
    /// Status of the answer, once there is one.
    pub status: Option<u16>,
    /// From the request's head to the answer's.
    pub latency: Option<Duration>,
}

/// Why bytes are no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// They have another length than an event.
    Length(usize),
    /// The verdict has a number that means nothing.
    Verdict(u8),
    /// The drop reason has a number that means nothing.
    Reason(u8),
    /// The direction has a number that means nothing.
    Direction(u8),
}

/// Reads an entry of the event ring.
pub fn packet(bytes: &[u8]) -> Result<FlowEvent, DecodeError> {
    FlowEvent::read_from_bytes(bytes).map_err(|_| DecodeError::Length(bytes.len()))
}

impl Clock {
    /// A clock that was at `wall` (nanoseconds since 1970) when the monotonic one was at `monotonic`.
    pub fn new(wall: u64, monotonic: u64) -> Self {
        Self { wall, monotonic }
    }

    fn time(&self, monotonic: u64) -> Time {
        Time(self.wall.wrapping_add(monotonic).wrapping_sub(self.monotonic))
    }
}

impl Flow {
    /// The flow that a packet's event tells of.
    pub fn from_packet(event: &FlowEvent, names: &impl Names, clock: Clock) -> Result<Self, DecodeError> {
        let verdict = verdict(event.verdict)?;
        let reason = reason(event.reason)?;
        let direction = direction(event.direction)?;
        let ip = pair(event.source.into(), event.destination.into());
        let identities = [event.source_identity, event.destination_identity];
        let [source, destination] = ends(&ip, identities, (direction, event.endpoint), names);
        let service = (event.service != Address::default()).then(|| IpAddr::from(event.service));
        let service_port = u16::from_be_bytes(event.service_port);
        Ok(Self {
            time: clock.time(event.time),
            verdict,
            drop_reason: reason.map(|reason| reason as u8),
            drop_reason_desc: reason.map(reason_name),
            l4: layer4(event),
            source,
            destination,
            kind: FlowType::Packet,
            l7: None,
            destination_service: service.and_then(|at| names.service(at, service_port, event.protocol)),
            traffic_direction: direction,
            is_reply: event.reply != 0,
            decision: decision(event.rule, direction, reason.is_some(), names),
            policy_log: names.log(event.rule).into_iter().collect(),
            ip,
        })
    }

    /// The flow that a request at the node proxy tells of.
    pub fn from_request(request: &ProxiedRequest, names: &impl Names, clock: Clock) -> Self {
        let ip = pair(request.source.ip(), request.destination.ip());
        let identities = [request.source_identity, request.destination_identity];
        let [source, destination] = ends(&ip, identities, (request.direction, request.endpoint), names);
        let ports =
            PortPair { source_port: request.source.port(), destination_port: request.destination.port() };
        let refused = request.verdict == FlowVerdict::Dropped;
        Self {
            time: clock.time(request.time),
            verdict: request.verdict,
            drop_reason: None,
            drop_reason_desc: None,
            l4: Layer4::Tcp(Segment { ports, flags: TcpFlags::default() }),
            source,
            destination,
            kind: FlowType::Request,
            l7: Some(layer7(request)),
            destination_service: None,
            traffic_direction: request.direction,
            is_reply: false,
            decision: decision(request.rule, request.direction, refused, names),
            policy_log: names.log(request.rule).into_iter().collect(),
            ip,
        }
    }
}

fn verdict(number: u8) -> Result<FlowVerdict, DecodeError> {
    use abi::event::Verdict as Number;
    const FORWARD: u8 = Number::Forward as u8;
    const DROP: u8 = Number::Drop as u8;
    const REDIRECT: u8 = Number::Redirect as u8;
    const AUDIT: u8 = Number::Audit as u8;
    match number {
        FORWARD => Ok(FlowVerdict::Forwarded),
        DROP => Ok(FlowVerdict::Dropped),
        REDIRECT => Ok(FlowVerdict::Redirected),
        AUDIT => Ok(FlowVerdict::Audit),
        other => Err(DecodeError::Verdict(other)),
    }
}

fn reason(number: u8) -> Result<Option<DropReason>, DecodeError> {
    match number {
        0 => Ok(None),
        number => DropReason::from_number(number).map(Some).ok_or(DecodeError::Reason(number)),
    }
}

fn direction(number: u8) -> Result<TrafficDirection, DecodeError> {
    match number {
        0 => Ok(TrafficDirection::Ingress),
        1 => Ok(TrafficDirection::Egress),
        other => Err(DecodeError::Direction(other)),
    }
}

fn pair(source: IpAddr, destination: IpAddr) -> IpPair {
    let version = if source.is_ipv4() { IpVersion::V4 } else { IpVersion::V6 };
    IpPair { source, destination, version }
}

/// Source and destination, with the number of the endpoint at the end that was asked. A reply goes the other way, but
/// the end whose hook judged it is still the one that its direction says.
fn ends(
    ip: &IpPair,
    identities: [u32; 2],
    (direction, asked): (TrafficDirection, u32),
    names: &impl Names,
) -> [FlowEndpoint; 2] {
    let mut source = endpoint(ip.source, identities[0], names);
    let mut destination = endpoint(ip.destination, identities[1], names);
    match direction {
        TrafficDirection::Ingress => destination.id = asked,
        TrafficDirection::Egress => source.id = asked,
    }
    [source, destination]
}

fn endpoint(address: IpAddr, identity: u32, names: &impl Names) -> FlowEndpoint {
    let workload = names.workload(address);
    let (namespace, pod_name) = workload.map(|workload| (workload.namespace, workload.name)).unzip();
    let labels = match abi::identity::reserved_name(identity) {
        Some(name) => vec![format!("reserved:{name}")],
        None => names.labels(identity),
    };
    FlowEndpoint { id: 0, identity, namespace, pod_name, labels }
}

fn layer4(event: &FlowEvent) -> Layer4 {
    let ports = PortPair {
        source_port: u16::from_be_bytes(event.source_port),
        destination_port: u16::from_be_bytes(event.destination_port),
    };
    let [kind, code] = event.destination_port;
    match event.protocol {
        protocol::ICMP => Layer4::Icmp4(IcmpMessage { kind, code }),
        protocol::TCP => Layer4::Tcp(Segment { ports, flags: TcpFlags(event.tcp_flags) }),
        protocol::UDP => Layer4::Udp(ports),
        protocol::ICMP6 => Layer4::Icmp6(IcmpMessage { kind, code }),
        protocol::SCTP => Layer4::Sctp(ports),
        other => Layer4::Other(other),
    }
}

fn layer7(request: &ProxiedRequest) -> Layer7 {
    let scheme = if request.host.is_empty() { "" } else { "http://" };
    Layer7 {
        kind: "REQUEST".into(),
        latency_ns: request.latency.map(|latency| latency.as_nanos().to_string()),
        reason: Some(request.reason.clone()).filter(|reason| !reason.is_empty()),
        http: Http {
            code: request.status,
            method: request.method.clone(),
            url: format!("{scheme}{}{}", request.host, request.path),
            protocol: request.protocol.clone(),
        },
    }
}

fn decision(rule: u32, direction: TrafficDirection, refused: bool, names: &impl Names) -> Option<Decision> {
    let rule = [names.rule(rule).filter(|_| rule != 0)?];
    Some(match (direction, refused) {
        (TrafficDirection::Ingress, false) => Decision::IngressAllowedBy(rule),
        (TrafficDirection::Ingress, true) => Decision::IngressDeniedBy(rule),
        (TrafficDirection::Egress, false) => Decision::EgressAllowedBy(rule),
        (TrafficDirection::Egress, true) => Decision::EgressDeniedBy(rule),
    })
}

/// The field's own spelling where it has the same reason; ours, in the same style, where it has none.
fn reason_name(reason: DropReason) -> String {
    match reason {
        DropReason::PolicyDefaultDeny => "POLICY_DENIED".into(),
        DropReason::PolicyDeny => "POLICY_DENY".into(),
        DropReason::InvalidSource => "INVALID_SOURCE_IP".into(),
        DropReason::InvalidPacket => "INVALID_PACKET_DROPPED".into(),
        DropReason::UnsupportedProtocol => "UNSUPPORTED_L3_PROTOCOL".into(),
        DropReason::UnknownFragment => "FIRST_LOGICAL_DATAGRAM_FRAGMENT_NOT_FOUND".into(),
        DropReason::NoBackend => "SERVICE_BACKEND_NOT_FOUND".into(),
        DropReason::ConntrackFull => "CT_MAP_INSERTION_FAILED".into(),
        DropReason::TimeExceeded => "TTL_EXCEEDED".into(),
        ours => screaming(&format!("{ours:?}")),
    }
}

/// `MapMissing` as `MAP_MISSING`.
fn screaming(name: &str) -> String {
    let mut out = String::new();
    for (index, c) in name.char_indices() {
        if index > 0 && c.is_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_uppercase());
    }
    out
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(length) => write!(f, "an event has {} bytes, not {length}", size_of::<FlowEvent>()),
            Self::Verdict(number) => write!(f, "{number} is no verdict of an event"),
            Self::Reason(number) => write!(f, "{number} is no drop reason of an event"),
            Self::Direction(number) => write!(f, "{number} is no direction of an event"),
        }
    }
}

impl std::error::Error for DecodeError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestNames, clock, dropped_syn, request};
    use serde_json::json;
    use zerocopy::IntoBytes;

    #[test]
    fn a_dropped_packet_has_the_json_that_people_know() {
        let flow = Flow::from_packet(&dropped_syn(), &TestNames, clock()).unwrap();
        let expected = json!({
            "time": "2026-11-22T16:40:01.123000000Z",
            "verdict": "DROPPED",
            "drop_reason": 1,
            "drop_reason_desc": "POLICY_DENIED",
            "IP": {"source": "10.0.0.3", "destination": "10.0.0.1", "ipVersion": "IPv4"},
            "l4": {"TCP": {"source_port": 38412, "destination_port": 80, "flags": {"SYN": true}}},
            "source": {"identity": 258, "namespace": "default", "pod_name": "app3", "labels": ["k8s:id=app3"]},
            "destination": {"ID": 7, "identity": 256, "namespace": "default", "pod_name": "app1",
                            "labels": ["k8s:id=app1"]},
            "Type": "L3_L4",
            "destination_service": {"namespace": "default", "name": "app1-service"},
            "traffic_direction": "INGRESS",
            "is_reply": false
        });
        assert_eq!(serde_json::to_value(&flow).unwrap(), expected);
        assert_eq!(serde_json::from_value::<Flow>(expected).unwrap(), flow);
    }

    #[test]
    fn a_request_has_its_http_part_and_the_rule_that_allowed_it() {
        let flow = Flow::from_request(&request(FlowVerdict::Forwarded, "/public"), &TestNames, clock());
        let json = serde_json::to_value(&flow).unwrap();
        let http = json!({"code": 200, "method": "GET", "url": "http://app1-service/public", "protocol": "HTTP/1.1"});
        assert_eq!(json["l7"], json!({"type": "REQUEST", "latency_ns": "1250000", "http": http}));
        assert_eq!(json["ingress_allowed_by"][0]["name"], "rule1");
        assert_eq!(json["Type"], "L7");
        assert_eq!(serde_json::from_value::<Flow>(json).unwrap(), flow);
    }

    #[test]
    fn a_reserved_identity_has_its_label_without_being_asked_for() {
        let event =
            FlowEvent { source: Address::from_v4([192, 0, 2, 1]), source_identity: 2, ..dropped_syn() };
        let flow = Flow::from_packet(&event, &TestNames, clock()).unwrap();
        assert_eq!(flow.source.labels, ["reserved:world"]);
        assert_eq!(flow.source.pod_name, None);
    }

    #[test]
    fn bytes_that_are_no_event_are_refused() {
        let event = dropped_syn();
        assert_eq!(packet(event.as_bytes()), Ok(event));
        assert_eq!(packet(&[0; 9]), Err(DecodeError::Length(9)));
        let refused = |event: FlowEvent| Flow::from_packet(&event, &TestNames, clock()).unwrap_err();
        assert_eq!(refused(FlowEvent { verdict: 9, ..event }), DecodeError::Verdict(9));
        assert_eq!(refused(FlowEvent { reason: 255, ..event }), DecodeError::Reason(255));
        assert_eq!(refused(FlowEvent { direction: 2, ..event }), DecodeError::Direction(2));
    }

    #[test]
    fn every_reason_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> =
            DropReason::ALL.iter().map(|reason| reason_name(*reason)).collect();
        assert_eq!(names.len(), DropReason::ALL.len());
        assert!(names.contains("MAP_MISSING"), "{names:?}");
    }
}
