//! What agent and command line agree on, versioned.
//!
//! One request is one line of JSON on the agent's unix socket; the answer is one line, `{"ok": ...}` or
//! `{"error": ...}`. A request to follow something is answered by as many lines as there is news. A connection may
//! carry several requests, one after another.
#![forbid(unsafe_code)]

mod client;
pub mod request_reader;
pub mod strict;
pub mod view;

pub use client::{CallError, Client};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Version of everything in this crate. An agent refuses requests of another version and names both.
pub const VERSION: u32 = 1;

/// Where the agent listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/nexin/agent.sock";

/// What is sent: a request and the version it is written in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Envelope {
    /// [`VERSION`] of the sender.
    pub version: u32,
    /// What is asked.
    #[serde(flatten)]
    pub request: Request,
}

/// What can be asked of an agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// How the agent fares: [`view::Status`].
    Status,
    /// The workloads of the node: a list of [`view::Endpoint`].
    Endpoints,
    /// The identities in use: a list of [`view::Identity`].
    Identities,
    /// The services: a list of [`view::Service`].
    Services,
    /// The policies in force: a list of [`view::Policy`].
    Policies,
    /// The rules in force by number: a list of [`view::Rule`].
    Rules,
    /// Puts manifests (policies, services, namespaces) in force, all or none: a list of names.
    Apply {
        /// Name of the file they were read from, for messages.
        file: String,
        /// The text.
        text: String,
    },
    /// Takes objects out of force by `Kind/namespace/name` or `Kind/name`: a list of names.
    Delete {
        /// The names.
        names: Vec<String>,
    },
    /// What policy says of a connection or request, and why: [`view::Explanation`].
    Explain(Box<Probe>),
    /// Flows, oldest first: a stream of JSON flows, each `{"ok": flow}`.
    Observe {
        /// How many of the past to show.
        last: usize,
        /// Whether to go on with what happens from now on.
        follow: bool,
        /// `key=value` filters as the flow crate reads them.
        filters: Vec<String>,
    },
    /// Makes a workload: its namespace, its interface, its rows: [`view::Endpoint`].
    CreateWorkload(WorkloadSpec),
    /// Removes a workload.
    RemoveWorkload {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// Changes how a workload is treated: [`view::Endpoint`].
    ConfigureWorkload {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Whether what policy refuses is let through and reported.
        audit: bool,
    },
    /// Ends the agent. What it has put in the kernel stays and goes on working.
    Stop,
}

/// A connection or request that policy is asked about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// `[namespace/]workload`, an address, a node, an entity (`host`, `world`), a domain name; or, for a workload that is
    /// not there, `[namespace/]key=value,key=value`.
    pub from: String,
    /// Likewise, or `[namespace/]service`.
    pub to: String,
    /// Destination port, of a service's address the service's; for ICMP the type.
    pub port: u16,
    /// The name that the receiver, or the service, gives the port; then the number does not count.
    #[serde(default)]
    pub port_name: Option<String>,
    /// `TCP`, `UDP`, `SCTP`, `ICMP` or `ICMPv6`.
    pub protocol: String,
    /// By which family: `IPv4` or `IPv6`; IPv4 where both ends have it unless told.
    #[serde(default)]
    pub family: Option<String>,
    /// A request on that connection.
    #[serde(default)]
    pub http: Option<HttpProbe>,
}

/// An HTTP request that policy is asked about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpProbe {
    /// Its method.
    pub method: String,
    /// Its path with query.
    pub path: String,
    /// Its authority.
    #[serde(default)]
    pub host: String,
    /// Its header fields.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
}

/// A workload to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkloadSpec {
    /// Its namespace.
    pub namespace: String,
    /// Its name, unique in the namespace.
    pub name: String,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Addresses to give it; where there is none of a family, one is assigned.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// Its ports by name: `http` to `80/TCP`.
    #[serde(default)]
    pub named_ports: BTreeMap<String, String>,
    /// The process whose end removes the workload; none keeps it until it is removed by name.
    #[serde(default)]
    pub owner: Option<u32>,
}

/// An answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer<T> {
    /// What was asked for.
    Ok(T),
    /// Why it was not done.
    Error(Failure),
}

/// Why a request was not carried out. Nothing of it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Whose fault it is.
    pub cause: Cause,
    /// One message for each thing that is wrong, for people.
    pub messages: Vec<String>,
}

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The request is wrong as it stands.
    Invalid,
    /// What it names is not there.
    NotFound,
    /// What it would make is there already.
    Conflict,
    /// The agent could not do it.
    Internal,
}

/// An error and its causes in one line; what a cause says is left out where the error has said it already.
pub fn sentence(error: &(dyn std::error::Error + 'static)) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !said.contains(&more) {
            said.push_str(": ");
            said.push_str(&more);
        }
        cause = error.source();
    }
    said
}

impl Failure {
    /// A failure with one message.
    pub fn new(cause: Cause, message: impl Into<String>) -> Self {
        Self { cause, messages: vec![message.into()] }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.messages.join("\n"))
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_said_once() {
        let cause = || std::io::Error::other("file exists");
        let terse = CallError::Garbled { socket: "/s".into(), message: "x".into() };
        let wordy = CallError::Unreachable { socket: "/s".into(), source: cause() };
        assert!(sentence(&terse).ends_with(": x"));
        assert_eq!(sentence(&wordy).matches("file exists").count(), 1);
    }

    #[test]
    fn requests_are_one_line_with_their_version() {
        let check = |request: Request, line: &str| {
            let envelope = Envelope { version: 1, request };
            assert_eq!(serde_json::to_string(&envelope).unwrap(), line);
            let back: Envelope = serde_json::from_str(line).unwrap();
            assert_eq!(serde_json::to_string(&back).unwrap(), line);
        };
        check(Request::Status, r#"{"version":1,"ask":"status"}"#);
        check(
            Request::Delete { names: vec!["NetworkPolicy/default/a".into()] },
            r#"{"version":1,"ask":"delete","names":["NetworkPolicy/default/a"]}"#,
        );
    }
}
