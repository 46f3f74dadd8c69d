//! The agent's API: requests and answers, versioned.
//!
//! A request is one line of JSON on the agent's unix socket; the answer is one line, `{"ok": ...}` or `{"error":
//! ...}`. A request to follow flows is answered by one line for each flow and
//! for each gap in the flows. A connection may carry several requests,
//! one after another.
#![forbid(unsafe_code)]

mod attachment;
mod client;
pub mod request_reader;
pub mod strict;
pub mod view;

pub use attachment::{
    AttachmentAddress, AttachmentName, AttachmentPort, AttachmentReadiness, AttachmentSpec,
    AttachmentSummary, PodIdentifier,
};
pub use client::{CallError, Client};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Version of the API. An agent refuses requests of another version; the error names both versions.
pub const VERSION: u32 = 1;

/// The agent's default socket.
pub const DEFAULT_SOCKET: &str = "/run/nexin/agent.sock";

/// A request with the version of the API, as it is sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Envelope {
    /// [`VERSION`] of the sender.
    pub version: u32,
    /// The request.
    #[serde(flatten)]
    pub request: ApiRequest,
}

/// The requests of the API.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ApiRequest {
    /// The state of the agent: [`view::Status`].
    Status,
    /// The workloads of the node: a list of [`view::EndpointSummary`].
    Endpoints,
    /// The identities in use: a list of [`view::IdentitySummary`].
    Identities,
    /// The services: a list of [`view::ServiceSummary`].
    Services,
    /// The policies in force: a list of [`view::PolicySummary`].
    Policies,
    /// The rules in force by number: a list of [`view::RuleSummary`].
    Rules,
    /// Applies manifests (policies, services, namespaces), all or none: a list of names.
    Apply {
        /// Name of the file that contained them, for messages.
        file: String,
        /// The text.
        text: String,
        /// Whether to answer with [`view::Applied`] instead of names.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        results: bool,
    },
    /// Deletes objects by `Kind/namespace/name` or `Kind/name`: a list of names.
    Delete {
        /// The names.
        names: Vec<String>,
    },
    /// Evaluates policy for a connection or request, and lists the rules: [`view::Explanation`].
    Explain(Box<ExplainProbe>),
    /// Flows and gaps, oldest first: a stream, each `{"ok": flow}` or `{"ok": {"lost_events": ..., "time": ...}}`.
    Observe {
        /// How many past flows to return.
        last: usize,
        /// Whether to follow new flows.
        follow: bool,
        /// `key=value` filters, as `flow::Filter` parses them.
        filters: Vec<String>,
    },
    /// Creates a workload with its network namespace, interface and map entries: [`view::EndpointSummary`].
    CreateWorkload(WorkloadSpec),
    /// Removes a workload.
    RemoveWorkload {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// Changes the settings of a workload: [`view::EndpointSummary`].
    ConfigureWorkload {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Whether audit mode is on: traffic that policy denies is forwarded and reported.
        audit: bool,
    },
    /// Attaches a container to the network: [`AttachmentSummary`]. An attachment that exists is answered as when it was made.
    Attach(Box<AttachmentSpec>),
    /// Removes an attachment. One that does not exist is no error.
    Detach {
        /// Its name.
        name: AttachmentName,
    },
    /// Compares an attachment with the container's network: a list of differences, one sentence each.
    CheckAttachment {
        /// Its name.
        name: AttachmentName,
        /// The addresses that the caller expects.
        addresses: Vec<IpAddr>,
    },
    /// Removes the attachments of a network that do not exist any more: the list of their names.
    CollectAttachments {
        /// Name of the network configuration.
        network: String,
        /// The attachments that still exist.
        valid: Vec<AttachmentName>,
    },
    /// Whether attachments can be made: [`AttachmentReadiness`].
    Readiness,
    /// Changes settings of the agent until it ends, and returns all: [`view::RuntimeSettings`].
    ChangeSettings {
        /// The level of monitor aggregation; none to leave it as it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        monitor_aggregation: Option<String>,
    },
    /// Stops the agent. Its programs and maps stay in the kernel and keep enforcing policy.
    Stop,
}

/// A connection or request to evaluate policy for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainProbe {
    /// `[namespace/]workload`, an address, a node, an entity (`host`, `world`), a domain name; or the labels of a
    /// workload that does not exist, `[namespace/]key=value,key=value`.
    pub from: String,
    /// The same forms, or `[namespace/]service`.
    pub to: String,
    /// Destination port (the service's port, if `to` is a service); for ICMP the type.
    pub port: u16,
    /// Name of the port, as the destination or the service defines it; replaces the number.
    #[serde(default)]
    pub port_name: Option<String>,
    /// `TCP`, `UDP`, `SCTP`, `ICMP` or `ICMPv6`.
    pub protocol: String,
    /// Address family: `IPv4` or `IPv6`; by default IPv4 if both ends have it.
    #[serde(default)]
    pub family: Option<String>,
    /// An HTTP request on the connection.
    #[serde(default)]
    pub http: Option<HttpProbe>,
}

/// An HTTP request to evaluate policy for.
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

/// A workload to create.
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
    /// Its addresses; the agent assigns one of each family that is missing.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// Its ports by name: `http` to `80/TCP`.
    #[serde(default)]
    pub named_ports: BTreeMap<String, String>,
    /// The process whose exit removes the workload; without one the workload stays until it is removed by name.
    #[serde(default)]
    pub owner: Option<u32>,
}

/// An answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer<T> {
    /// The result.
    Ok(T),
    /// Why the request failed.
    Error(Failure),
}

/// Why a request failed. A failed request has changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What caused the failure.
    pub cause: Cause,
    /// One message for each error.
    pub messages: Vec<String>,
}

/// What caused a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The request is invalid.
    Invalid,
    /// The named object does not exist.
    NotFound,
    /// The object exists already.
    Conflict,
    /// The agent cannot carry the request out yet; a later attempt may succeed.
    Unavailable,
    /// The agent failed to carry the request out.
    Internal,
}

/// An error and its causes in one line; the text of a cause is omitted if the error contains it.
pub fn sentence(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
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
    fn the_text_of_a_cause_is_printed_once() {
        let cause = || std::io::Error::other("file exists");
        let terse = CallError::Garbled { socket: "/s".into(), message: "x".into() };
        let wordy = CallError::Unreachable { socket: "/s".into(), source: cause() };
        assert!(sentence(&terse).ends_with(": x"));
        assert_eq!(sentence(&wordy).matches("file exists").count(), 1);
    }

    #[test]
    fn a_request_is_one_line_with_its_version() {
        let check = |request: ApiRequest, line: &str| {
            let envelope = Envelope { version: 1, request };
            assert_eq!(serde_json::to_string(&envelope).unwrap(), line);
            let back: Envelope = serde_json::from_str(line).unwrap();
            assert_eq!(serde_json::to_string(&back).unwrap(), line);
        };
        check(ApiRequest::Status, r#"{"version":1,"ask":"status"}"#);
        check(
            ApiRequest::Delete { names: vec!["NetworkPolicy/default/a".into()] },
            r#"{"version":1,"ask":"delete","names":["NetworkPolicy/default/a"]}"#,
        );
    }
}
