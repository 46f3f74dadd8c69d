//! A probe: one question about two parties, and the answer that is expected.

use super::WorkloadName;
use crate::object::Protocol;
use policy::rule::Family;
use std::net::IpAddr;

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Who asks.
    pub from: Party,
    /// Who is asked.
    pub to: Party,
    /// By which family; none: IPv4 where both ends have it.
    pub family: Option<Family>,
    /// What is sent.
    pub question: Question,
    /// The verdict that is right; none: it is printed, not judged.
    pub expect: Option<Expect>,
    /// The line of the file that asks.
    pub line: u32,
}

/// One end of a probe.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// A workload of the test.
    Workload(WorkloadName),
    /// An external host of the test, by name.
    External(String),
    /// An address, whoever has it.
    Address(IpAddr),
    /// The node itself.
    Host,
}

/// What a probe sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// A connection, or a datagram.
    Connect {
        /// The protocol.
        protocol: Protocol,
        /// The destination port.
        port: u16,
    },
    /// A connection by TCP and one HTTP request on it.
    Http {
        /// The destination port.
        port: u16,
        /// The request.
        request: HttpRequest,
    },
    /// An ICMP message.
    Icmp {
        /// Its type.
        kind: u8,
    },
}

/// An HTTP request of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// The method; `GET` where not given.
    pub method: String,
    /// The path with its query; `/` where not given.
    pub path: String,
    /// The authority; none: whatever the engine calls the server.
    pub host: Option<String>,
    /// Header fields, in order.
    pub headers: Vec<(String, String)>,
}

/// Verdicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Expect {
    /// It gets through.
    Allow,
    /// Refused at layer 3 or 4, by either side's policy.
    Drop,
    /// Connected; the request is refused at layer 7.
    Deny,
}
