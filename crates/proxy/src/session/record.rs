//! What a session keeps of the request that it handles, until the request's event is reported.

use crate::event::{RequestEvent, RequestVerdict, RuleSetDecision};
use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Instant;

/// The latest request of a connection. The buffers are reused, so that a request costs no allocation.
#[derive(Debug)]
pub(super) struct RequestRecord {
    /// When the head was complete.
    pub(super) began: Instant,
    /// Identities of client and server.
    pub(super) identities: (u32, u32),
    pub(super) protocol: Cow<'static, str>,
    /// The result of each rule set that was evaluated.
    pub(super) decisions: Vec<RuleSetDecision>,
    /// Method, path and host, one after another.
    text: String,
    /// Where the method and the path end.
    ends: (usize, usize),
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    pub(super) verdict: RequestVerdict,
    /// Status of the response; none where the connection ended before the response.
    pub(super) status: Option<u16>,
    /// Why the request was not forwarded, or why it has no response; otherwise empty.
    pub(super) reason: &'static str,
}

impl RequestRecord {
    pub(super) fn new(now: Instant) -> Self {
        let (protocol, decisions, text) = (Cow::Borrowed(""), Vec::new(), String::new());
        Self { began: now, identities: (0, 0), protocol, decisions, text, ends: (0, 0) }
    }

    /// Begins another request, of which only time and identities are known.
    pub(super) fn begin(&mut self, identities: (u32, u32), now: Instant) {
        (self.began, self.identities, self.ends) = (now, identities, (0, 0));
        self.protocol = Cow::Borrowed(l7::Version::Http11.name());
        self.decisions.clear();
        self.text.clear();
    }

    /// Copies the text of a parsed request.
    pub(super) fn fill(&mut self, request: &l7::Request<'_>) {
        self.protocol = Cow::Borrowed(request.version.name());
        self.text.clear();
        self.text.push_str(request.method);
        self.ends.0 = self.text.len();
        self.text.push_str(request.path);
        self.ends.1 = self.text.len();
        self.text.push_str(request.host);
    }

    pub(super) fn method(&self) -> &str {
        &self.text[..self.ends.0]
    }

    /// The event of the request between these ends.
    pub(super) fn event(
        &self,
        (client, server): (SocketAddr, SocketAddr),
        Outcome { verdict, status, reason }: Outcome,
        now: Instant,
    ) -> RequestEvent<'_> {
        let (method, path) = self.ends;
        RequestEvent {
            time: self.began,
            client,
            server,
            source_identity: self.identities.0,
            destination_identity: self.identities.1,
            method: self.method().into(),
            path: self.text[method..path].into(),
            host: self.text[path..].into(),
            protocol: Cow::Borrowed(&self.protocol),
            status,
            verdict,
            reason,
            decisions: Cow::Borrowed(&self.decisions),
            latency: now.saturating_duration_since(self.began),
        }
    }
}
