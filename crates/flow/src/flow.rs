//! A flow: one packet or request with its verdict and names; its fields are the fields of its JSON.

use crate::names::{FlowService, RuleName};
use crate::tcp::TcpFlags;
use crate::time::Time;
use abi::DropReason;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// One packet or request, with its verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    /// Time of the packet or request.
    pub time: Time,
    /// The verdict.
    pub verdict: FlowVerdict,
    /// Number of the drop reason ([`abi::DropReason`]), if policy or the packet path dropped it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop_reason: Option<u8>,
    /// Name of the drop reason, as Hubble spells it: `POLICY_DENIED`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop_reason_desc: Option<String>,
    /// Addresses, as delivered.
    #[serde(rename = "IP")]
    pub ip: IpPair,
    /// Ports and flags, as delivered.
    pub l4: Layer4,
    /// The sender.
    pub source: FlowEndpoint,
    /// The receiver.
    pub destination: FlowEndpoint,
    /// Packet or request.
    #[serde(rename = "Type")]
    pub kind: FlowType,
    /// The request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l7: Option<Layer7>,
    /// The service that the client connected to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_service: Option<FlowService>,
    /// Direction, as seen from the workload whose policy decided.
    pub traffic_direction: TrafficDirection,
    /// Whether the packet is a reply on a known connection.
    pub is_reply: bool,
    /// The rule that decided; none if policy is not enforced, or if the default deny decided.
    #[serde(flatten)]
    pub decision: Option<FlowDecision>,
    /// The `log.value` of the policy of that rule.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policy_log: Vec<String>,
}

/// The verdict on a packet or request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum FlowVerdict {
    /// Delivered or forwarded.
    Forwarded,
    /// Dropped, or refused by the proxy.
    Dropped,
    /// Denied by policy but delivered, since the workload is in audit mode.
    Audit,
    /// Redirected to the node proxy.
    Redirected,
}

/// Direction of traffic, as seen from a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TrafficDirection {
    /// Into the workload.
    Ingress,
    /// Out of the workload.
    Egress,
}

/// What a flow describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FlowType {
    /// A packet.
    #[serde(rename = "L3_L4")]
    Packet,
    /// A request.
    #[serde(rename = "L7")]
    Request,
}

/// Source and destination address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpPair {
    /// The sender's.
    pub source: IpAddr,
    /// The receiver's.
    pub destination: IpAddr,
    /// Their family.
    #[serde(rename = "ipVersion")]
    pub version: IpVersion,
}

/// Address families.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub enum IpVersion {
    #[serde(rename = "IPv4")]
    V4,
    #[serde(rename = "IPv6")]
    V6,
}

/// The transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layer4 {
    /// TCP.
    #[serde(rename = "TCP")]
    Tcp(Segment),
    /// UDP.
    #[serde(rename = "UDP")]
    Udp(PortPair),
    /// SCTP.
    #[serde(rename = "SCTP")]
    Sctp(PortPair),
    /// ICMP.
    #[serde(rename = "ICMPv4")]
    Icmp4(IcmpMessage),
    /// ICMPv6.
    #[serde(rename = "ICMPv6")]
    Icmp6(IcmpMessage),
    /// Any other protocol, by number.
    #[serde(rename = "protocol")]
    Other(u8),
}

/// Ports of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortPair {
    /// The sender's.
    pub source_port: u16,
    /// The receiver's.
    pub destination_port: u16,
}

/// Ports and flags of a TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The ports.
    #[serde(flatten)]
    pub ports: PortPair,
    /// The flags.
    #[serde(default)]
    pub flags: TcpFlags,
}

/// Type and code of an ICMP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IcmpMessage {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: u8,
    /// Its code.
    #[serde(default)]
    pub code: u8,
}

/// One end of a flow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowEndpoint {
    /// Number of the endpoint on this node, at the end whose policy decided.
    #[serde(rename = "ID", default, skip_serializing_if = "is_zero")]
    pub id: u32,
    /// Security identity.
    pub identity: u32,
    /// Namespace of the workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name of the workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_name: Option<String>,
    /// Labels of the identity.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
}

/// A request, and its response as far as known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Layer7 {
    /// `REQUEST`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Nanoseconds from the request's head to the response's head; a string, as protobuf's JSON mapping writes 64-bit
    /// numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ns: Option<String>,
    /// Why the request was not forwarded, or why the server did not respond.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The request.
    pub http: Http,
}

/// An HTTP request and the status of its response.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Http {
    /// Status of the response, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// Method.
    pub method: String,
    /// `http://host/path`, or the path alone if there is no host.
    pub url: String,
    /// Protocol and version: `HTTP/1.1`; for anything but HTTP/1 the protocol's name, or `unknown`.
    pub protocol: String,
}

/// The rule that decided, and how. A list of one, since Hubble's JSON has lists here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowDecision {
    /// Ingress was allowed.
    IngressAllowedBy([RuleName; 1]),
    /// Egress was allowed.
    EgressAllowedBy([RuleName; 1]),
    /// Ingress was denied.
    IngressDeniedBy([RuleName; 1]),
    /// Egress was denied.
    EgressDeniedBy([RuleName; 1]),
}

impl Flow {
    /// The ports, if the transport protocol has ports.
    pub fn ports(&self) -> Option<PortPair> {
        match self.l4 {
            Layer4::Tcp(segment) => Some(segment.ports),
            Layer4::Udp(ports) | Layer4::Sctp(ports) => Some(ports),
            _ => None,
        }
    }

    /// The drop reason, if any.
    pub fn reason(&self) -> Option<DropReason> {
        self.drop_reason.and_then(DropReason::from_number)
    }

    /// The rule that decided.
    pub fn rule(&self) -> Option<&RuleName> {
        use FlowDecision::{EgressAllowedBy, EgressDeniedBy, IngressAllowedBy, IngressDeniedBy};
        let (IngressAllowedBy([rule])
        | EgressAllowedBy([rule])
        | IngressDeniedBy([rule])
        | EgressDeniedBy([rule])) = self.decision.as_ref()?;
        Some(rule)
    }

    /// Whether policy decided on the packet, rather than connection tracking or another check of the packet path.
    pub fn is_policy_verdict(&self) -> bool {
        use DropReason::{PolicyDefaultDeny, PolicyDeny};
        let decided = match self.reason() {
            Some(reason) => matches!(reason, PolicyDefaultDeny | PolicyDeny),
            None => self.opens(),
        };
        self.kind == FlowType::Packet && decided
    }

    /// Whether the packet seems to open a connection; policy applies to such packets.
    fn opens(&self) -> bool {
        match self.l4 {
            Layer4::Tcp(segment) => segment.flags.opens(),
            _ => !self.is_reply,
        }
    }
}

impl Layer4 {
    /// The protocol's name in filters and text output.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Tcp(_) => "TCP",
            Self::Udp(_) => "UDP",
            Self::Sctp(_) => "SCTP",
            Self::Icmp4(_) => "ICMPv4",
            Self::Icmp6(_) => "ICMPv6",
            Self::Other(_) => "other",
        }
    }
}

impl FlowVerdict {
    /// The name as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forwarded => "FORWARDED",
            Self::Dropped => "DROPPED",
            Self::Audit => "AUDIT",
            Self::Redirected => "REDIRECTED",
        }
    }
}

impl Http {
    /// The path with its query.
    pub fn path(&self) -> &str {
        let Some(rest) = self.url.strip_prefix("http://") else { return &self.url };
        rest.find('/').map_or("", |start| &rest[start..])
    }
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}
