//! A flow: one packet or request as it was judged, with names; its fields are those of its JSON.

use crate::names::{RuleName, ServiceName};
use crate::tcp::TcpFlags;
use crate::time::Time;
use abi::DropReason;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// One packet or request as it was judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    /// When.
    pub time: Time,
    /// What became of it.
    pub verdict: FlowVerdict,
    /// Number of the reason ([`abi::DropReason`]) where policy or the packet path refused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop_reason: Option<u8>,
    /// The reason in the field's spelling: `POLICY_DENIED`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop_reason_desc: Option<String>,
    /// Addresses, as delivered.
    #[serde(rename = "IP")]
    pub ip: IpPair,
    /// Ports and flags, as delivered.
    pub l4: Layer4,
    /// Who sent it.
    pub source: FlowEndpoint,
    /// Who it was for.
    pub destination: FlowEndpoint,
    /// Whether it is a packet or a request.
    #[serde(rename = "Type")]
    pub kind: FlowType,
    /// The request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l7: Option<Layer7>,
    /// The service that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_service: Option<ServiceName>,
    /// Which way it went, seen from the workload whose policy was asked.
    pub traffic_direction: TrafficDirection,
    /// Whether it answers what was seen before.
    pub is_reply: bool,
    /// The rule that decided; none where nothing is enforced, or no rule allows it.
    #[serde(flatten)]
    pub decision: Option<Decision>,
    /// What the policy of that rule asks flows to carry (`log.value`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policy_log: Vec<String>,
}

/// What became of a packet or request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum FlowVerdict {
    /// Delivered, or handed on.
    Forwarded,
    /// Thrown away or refused.
    Dropped,
    /// Refused by policy but delivered, since the workload is in audit mode.
    Audit,
    /// Handed to the node proxy.
    Redirected,
}

/// Which way traffic goes, seen from a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TrafficDirection {
    /// Into the workload.
    Ingress,
    /// Out of the workload.
    Egress,
}

/// Whether a flow tells of a packet or of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FlowType {
    /// A packet.
    #[serde(rename = "L3_L4")]
    Packet,
    /// A request.
    #[serde(rename = "L7")]
    Request,
}

/// The two addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpPair {
    /// Of the sender.
    pub source: IpAddr,
    /// Of the receiver.
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
    /// Any other, by its number.
    #[serde(rename = "protocol")]
    Other(u8),
}

/// Ports of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortPair {
    /// Of the sender.
    pub source_port: u16,
    /// Of the receiver.
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

/// What an ICMP message is.
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
    /// Number of the workload on this node, where it is the one that was asked.
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

/// A request and what is known of its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Layer7 {
    /// `REQUEST`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Nanoseconds from the request's head to the answer's; a string, as JSON writes 64-bit numbers of protobuf.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ns: Option<String>,
    /// Why the request was not forwarded, or why there is no answer of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The request.
    pub http: Http,
}

/// An HTTP request and the status of its answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Http {
    /// Status of the answer, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// Method.
    pub method: String,
    /// Where to: `http://host/path`, or the path alone where there is no host.
    pub url: String,
    /// Protocol with version: `HTTP/1.1`; of what is no HTTP its name, or `unknown`.
    pub protocol: String,
}

/// The rule that decided and how. A list of one, since the field's JSON has lists here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Let in.
    IngressAllowedBy([RuleName; 1]),
    /// Let out.
    EgressAllowedBy([RuleName; 1]),
    /// Not let in.
    IngressDeniedBy([RuleName; 1]),
    /// Not let out.
    EgressDeniedBy([RuleName; 1]),
}

impl Flow {
    /// Ports, where the transport has some.
    pub fn ports(&self) -> Option<PortPair> {
        match self.l4 {
            Layer4::Tcp(segment) => Some(segment.ports),
            Layer4::Udp(ports) | Layer4::Sctp(ports) => Some(ports),
            _ => None,
        }
    }

    /// Why it was refused.
    pub fn reason(&self) -> Option<DropReason> {
        self.drop_reason.and_then(DropReason::from_number)
    }

    /// The rule that decided.
    pub fn rule(&self) -> Option<&RuleName> {
        use Decision::{EgressAllowedBy, EgressDeniedBy, IngressAllowedBy, IngressDeniedBy};
        let (IngressAllowedBy([rule])
        | EgressAllowedBy([rule])
        | IngressDeniedBy([rule])
        | EgressDeniedBy([rule])) = self.decision.as_ref()?;
        Some(rule)
    }

    /// Whether policy decided on the packet, rather than the state of the packet path or of the connection.
    pub fn is_policy_verdict(&self) -> bool {
        use DropReason::{PolicyDefaultDeny, PolicyDeny};
        let decided = match self.reason() {
            Some(reason) => matches!(reason, PolicyDefaultDeny | PolicyDeny),
            None => self.opens(),
        };
        self.kind == FlowType::Packet && decided
    }

    /// Whether the packet opens a connection, as far as it can tell; policy is asked of such packets.
    fn opens(&self) -> bool {
        match self.l4 {
            Layer4::Tcp(segment) => segment.flags.opens(),
            _ => !self.is_reply,
        }
    }
}

impl Layer4 {
    /// The protocol as filters and people name it.
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
    /// The name in capitals, as in JSON.
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
