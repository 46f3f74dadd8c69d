//! Decodes events of the packet path and requests of the proxy into flows, and resolves numbers to names.

use crate::flow::{
    Flow, FlowDecision, FlowEndpoint, FlowType, FlowVerdict, Http, IcmpMessage, IpPair, IpVersion, Layer4,
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

/// Converts monotonic timestamps of events to the time of day.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    wall: u64,
    monotonic: u64,
}

/// A request and the node proxy's verdict on it.
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
    /// The endpoint whose policy decided.
    pub endpoint: u32,
    /// Direction of the request, as seen from `endpoint`.
    pub direction: TrafficDirection,
    /// The rule that decided; 0 if none did.
    pub rule: u32,
    /// Method as sent.
    pub method: String,
    /// Path with query.
    pub path: String,
    /// Authority; empty if there is none.
    pub host: String,
    /// Protocol and version: `HTTP/1.1`.
    pub protocol: String,
    /// Why the request was not forwarded, or why the server did not respond; empty if neither happened.
    pub reason: String,
    /// Status of the response, if there was one.
    pub status: Option<u16>,
    /// Time from the request's head to the response's head.
    pub latency: Option<Duration>,
}

/// Why bytes could not be decoded as an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The length is not that of an event.
    Length(usize),
    /// The verdict's number is not defined.
    Verdict(u8),
    /// The drop reason's number is not defined.
    Reason(u8),
    /// The direction's number is not defined.
    Direction(u8),
}

/// Parses an entry of the ring buffer.
pub fn packet(bytes: &[u8]) -> Result<FlowEvent, DecodeError> {
    FlowEvent::read_from_bytes(bytes).map_err(|_| DecodeError::Length(bytes.len()))
}

impl Clock {
    /// Takes one reading of both clocks: `wall` in nanoseconds since 1970, `monotonic` in nanoseconds.
    pub fn new(wall: u64, monotonic: u64) -> Self {
        Self { wall, monotonic }
    }

    fn time(&self, monotonic: u64) -> Time {
        Time(self.wall.wrapping_add(monotonic).wrapping_sub(self.monotonic))
    }
}

impl Flow {
    /// Decodes a packet's event.
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

    /// Builds the flow of a request at the node proxy.
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
    use abi::event::PacketVerdict as Number;
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

/// Source and destination; the end whose policy decided carries the endpoint's number. For a reply, too, `direction`
/// names the end whose hook decided.
fn ends(
    ip: &IpPair,
    identities: [u32; 2],
    (direction, deciding): (TrafficDirection, u32),
    names: &impl Names,
) -> [FlowEndpoint; 2] {
    let mut source = endpoint(ip.source, identities[0], names);
    let mut destination = endpoint(ip.destination, identities[1], names);
    match direction {
        TrafficDirection::Ingress => destination.id = deciding,
        TrafficDirection::Egress => source.id = deciding,
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

fn decision(
    rule: u32,
    direction: TrafficDirection,
    refused: bool,
    names: &impl Names,
) -> Option<FlowDecision> {
    let rule = [names.rule(rule).filter(|_| rule != 0)?];
    Some(match (direction, refused) {
        (TrafficDirection::Ingress, false) => FlowDecision::IngressAllowedBy(rule),
        (TrafficDirection::Ingress, true) => FlowDecision::IngressDeniedBy(rule),
        (TrafficDirection::Egress, false) => FlowDecision::EgressAllowedBy(rule),
        (TrafficDirection::Egress, true) => FlowDecision::EgressDeniedBy(rule),
    })
}

/// Cilium's name of the reason where Cilium has the same reason, else our own name in the same style.
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

/// Converts `MapMissing` to `MAP_MISSING`.
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
            Self::Verdict(number) => write!(f, "{number} is not a verdict"),
            Self::Reason(number) => write!(f, "{number} is not a drop reason"),
            Self::Direction(number) => write!(f, "{number} is not a direction"),
        }
    }
}

impl std::error::Error for DecodeError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestNames, clock, dropped_syn, packet_flow, request, request_flow};
    use serde_json::json;
    use zerocopy::IntoBytes;

    #[test]
    fn a_dropped_packet_has_the_json_fields_of_hubble() {
        let flow = packet_flow(&dropped_syn());
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
    fn a_request_has_http_fields_and_the_rule_that_allowed_it() {
        let flow = request_flow(&request(FlowVerdict::Forwarded, "/public"));
        let json = serde_json::to_value(&flow).unwrap();
        let http = json!({"code": 200, "method": "GET", "url": "http://app1-service/public", "protocol": "HTTP/1.1"});
        assert_eq!(json["l7"], json!({"type": "REQUEST", "latency_ns": "1250000", "http": http}));
        assert_eq!(json["ingress_allowed_by"][0]["name"], "rule1");
        assert_eq!(json["Type"], "L7");
        assert_eq!(serde_json::from_value::<Flow>(json).unwrap(), flow);
    }

    #[test]
    fn a_reserved_identity_gets_its_label_without_a_lookup() {
        let event =
            FlowEvent { source: Address::from_v4([192, 0, 2, 1]), source_identity: 2, ..dropped_syn() };
        let flow = packet_flow(&event);
        assert_eq!(flow.source.labels, ["reserved:world"]);
        assert_eq!(flow.source.pod_name, None);
    }

    #[test]
    fn bytes_that_are_not_an_event_are_refused() {
        let event = dropped_syn();
        assert_eq!(packet(event.as_bytes()), Ok(event));
        assert_eq!(packet(&[0; 9]), Err(DecodeError::Length(9)));
        let refused = |event: FlowEvent| Flow::from_packet(&event, &TestNames, clock()).unwrap_err();
        assert_eq!(refused(FlowEvent { verdict: 9, ..event }), DecodeError::Verdict(9));
        assert_eq!(refused(FlowEvent { reason: 255, ..event }), DecodeError::Reason(255));
        assert_eq!(refused(FlowEvent { direction: 2, ..event }), DecodeError::Direction(2));
    }

    #[test]
    fn no_two_drop_reasons_share_a_name() {
        let names: std::collections::BTreeSet<_> =
            DropReason::ALL.iter().map(|reason| reason_name(*reason)).collect();
        assert_eq!(names.len(), DropReason::ALL.len());
        assert!(names.contains("MAP_MISSING"), "{names:?}");
    }
}
