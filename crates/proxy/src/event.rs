//! What became of each request.

use crate::policy::AppliedRuleSet;
use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

/// Where events go.
pub trait Events: Send + Sync {
    /// Takes one event. It must not block; what it has no room for it counts and drops.
    fn report(&self, event: RequestEvent);
}

/// One request and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestEvent {
    /// When the request's head was complete.
    pub time: SystemTime,
    /// The client's address.
    pub client: SocketAddr,
    /// The server's address.
    pub server: SocketAddr,
    /// The client's identity; 0 where policy does not know the flow.
    pub source_identity: u32,
    /// The server's identity; 0 where policy does not know the flow.
    pub destination_identity: u32,
    /// Method; empty where the request was malformed.
    pub method: String,
    /// Canonical path with query; empty where the request was malformed.
    pub path: String,
    /// Authority; empty where the request was malformed.
    pub host: String,
    /// The protocol that the client spoke: `HTTP/1.1`, `HTTP/1.0`, `HTTP/2`, `TLS`, or `unknown`.
    pub protocol: Cow<'static, str>,
    /// Status of the answer; none where the connection ended before there was one.
    pub status: Option<u16>,
    /// What the proxy did.
    pub verdict: Verdict,
    /// Why it was not forwarded, or why there is no answer; empty where all is well.
    pub reason: &'static str,
    /// What each rule set that was asked said, the denying one last.
    pub decisions: Vec<Decision>,
    /// From the request's head to the answer's.
    pub latency: Duration,
}

/// What the proxy did with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Handed it to the server.
    Forward,
    /// Answered 403, since no rule allows it.
    Deny,
    /// Answered with an error, since it was malformed or policy could not be asked.
    Refuse,
}

/// What one rule set said of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The set.
    pub applied: AppliedRuleSet,
    /// Index of the HTTP rule within the set that allowed the request; none: it was denied.
    pub http_rule: Option<usize>,
}
