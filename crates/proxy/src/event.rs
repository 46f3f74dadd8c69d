//! Events: each request with its verdict and response.

use crate::policy::AppliedRuleSet;
use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A consumer of events.
pub trait Events: Send + Sync {
    /// Takes one event. It must not block: an implementation without room drops the event and counts it.
    fn report(&self, event: &RequestEvent<'_>);
}

/// One request with its verdict and response. Its text is borrowed from the connection while it is reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestEvent<'a> {
    /// When the request's head was complete.
    pub time: Instant,
    /// The client's address.
    pub client: SocketAddr,
    /// The server's address.
    pub server: SocketAddr,
    /// The client's identity; 0 where policy does not know the flow.
    pub source_identity: u32,
    /// The server's identity; 0 where policy does not know the flow.
    pub destination_identity: u32,
    /// Method; empty where the request was malformed.
    pub method: Cow<'a, str>,
    /// Canonical path with query; empty where the request was malformed.
    pub path: Cow<'a, str>,
    /// Authority; empty where the request was malformed.
    pub host: Cow<'a, str>,
    /// The protocol of the client: `HTTP/1.1`, `HTTP/1.0`, `HTTP/2`, `TLS`, or `unknown`.
    pub protocol: Cow<'a, str>,
    /// Status of the response; none where the connection ended before the response.
    pub status: Option<u16>,
    /// What the proxy did.
    pub verdict: RequestVerdict,
    /// Why the request was not forwarded, or why it has no response; otherwise empty.
    pub reason: &'static str,
    /// The result of each rule set that was evaluated; a set that denies the request is the last.
    pub decisions: Cow<'a, [RuleSetDecision]>,
    /// Time from the end of the request's head to the end of the response's head.
    pub latency: Duration,
}

impl RequestEvent<'_> {
    /// The event with text of its own.
    pub fn into_owned(self) -> RequestEvent<'static> {
        RequestEvent {
            method: self.method.into_owned().into(),
            path: self.path.into_owned().into(),
            host: self.host.into_owned().into(),
            protocol: self.protocol.into_owned().into(),
            decisions: self.decisions.into_owned().into(),
            ..self
        }
    }
}

/// What the proxy did with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestVerdict {
    /// It forwarded the request to the server.
    Forward,
    /// It responded with 403, because no rule matches the request.
    Deny,
    /// It responded with an error, because the request was malformed or policy was not available.
    Refuse,
}

/// The result of one rule set for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleSetDecision {
    /// The rule set, and why it applies.
    pub applied: AppliedRuleSet,
    /// Index of the HTTP rule of the set that matched; none where the set denies the request.
    pub http_rule: Option<usize>,
}
