//! One proxied connection as a state machine over two pipes, without sockets or clock.
//!
//! Requests are handled one at a time: the next head is parsed after the response to the last request was sent. So responses
//! keep their order, and each request is judged by the policy that is in force when it is handled.

mod policy_change;
mod record;
mod request;
mod response;

use crate::answer;
use crate::config::ProxyConfig;
use crate::event::{Events, RequestVerdict};
use crate::handle::Activity;
use crate::judge::Judge;
use crate::pipe::Pipe;
use l7::{Body, Refusal, Scanner, Version};
use record::{Outcome, RequestRecord};
use std::sync::Arc;
use std::time::Instant;

/// A connection from a client and the connection to its server.
pub(crate) struct Session {
    config: ProxyConfig,
    judge: Judge,
    /// Bytes from the client.
    pub(crate) to_server: Pipe,
    /// Bytes from the server, or of the proxy itself.
    pub(crate) to_client: Pipe,
    events: Arc<dyn Events>,
    /// The request that is handled, or was handled last.
    record: RequestRecord,
    upstream: Upstream,
    request_state: RequestState,
    response_state: ResponseState,
    exchange: Option<Exchange>,
    ending: Option<Ending>,
    /// When bytes were last received or sent.
    last_progress: Instant,
    /// When the first byte of the incomplete head arrived.
    head_since: Option<Instant>,
    /// The original head of the request that was judged last.
    judged_head: Vec<u8>,
    /// True where a request waits for its rules to load.
    waits_for_rules: bool,
    /// True where the client is gone though bytes from it are unread.
    client_gone: bool,
    has_begun: bool,
}

/// The state of the connection to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upstream {
    /// No request needed it yet.
    Unused,
    /// A request waits for it.
    Wanted,
    /// It is open, and had this many responses.
    Connected(u64),
}

/// What the next bytes from the client are.
enum RequestState {
    Head(Scanner),
    /// The body of a forwarded request.
    Body(Body),
    /// The body of a denied request, and how many bytes of it may still be discarded.
    Discard(Body, u64),
    /// The rest of a body that is not forwarded, because an error response arrived before its end.
    Ignored,
    /// Nothing: the request is complete.
    Complete,
    Tunnel,
}

/// What the next bytes from the server are.
enum ResponseState {
    /// No request was forwarded.
    None,
    Head(Scanner),
    Body(Body),
    /// Nothing: the response is complete.
    Complete,
    Tunnel,
}

/// A forwarded request, until its response is complete.
struct Exchange {
    /// True once the event is reported: when the head of the response arrived, or when there will be none.
    is_reported: bool,
    version: Version,
    websocket: bool,
    /// True where the connection is closed after this exchange.
    close: bool,
    /// The number of interim responses so far, and their bytes.
    interim: (u32, usize),
}

/// How the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// After all bytes for the client were sent.
    Drain,
    /// With a reset: the client got a part of a response, which must not look complete.
    Abort,
}

impl Session {
    pub(crate) fn new(config: ProxyConfig, judge: Judge, events: Arc<dyn Events>, now: Instant) -> Self {
        Self {
            config,
            judge,
            to_server: Pipe::default(),
            to_client: Pipe::default(),
            events,
            record: RequestRecord::new(now),
            upstream: Upstream::Unused,
            request_state: RequestState::Head(Scanner::default()),
            response_state: ResponseState::None,
            exchange: None,
            ending: None,
            last_progress: now,
            head_since: None,
            judged_head: Vec::new(),
            waits_for_rules: false,
            client_gone: false,
            has_begun: false,
        }
    }

    /// Handles all bytes that can be handled now.
    pub(crate) fn advance(&mut self, now: Instant) {
        while self.ending.is_none() && (self.advance_request(now) || self.advance_response(now)) {}
        if self.ending.is_some() {
            // The proxy still reads, because a client may read the response only after it sent everything.
            self.to_server.drop_input();
        }
    }

    /// True where a connection to the server is needed; the caller then calls [`Self::connected`] or [`Self::unreachable`].
    pub(crate) fn wants_server(&self) -> bool {
        self.upstream == Upstream::Wanted && self.ending.is_none()
    }

    /// The connection to the server is open.
    pub(crate) fn connected(&mut self) {
        self.upstream = Upstream::Connected(0);
    }

    /// The connection to the server failed.
    pub(crate) fn unreachable(&mut self, reason: &'static str, now: Instant) {
        self.to_server.discard_outgoing();
        self.fail(Refusal { status: 503, reason }, now);
    }

    /// The connection to the server broke, without an orderly end.
    pub(crate) fn server_failed(&mut self) {
        self.to_server.discard_outgoing();
        match self.response_state {
            // Only an orderly end is the end of this body.
            ResponseState::Body(Body::UntilClose) | ResponseState::Tunnel => {
                self.ending = Some(Ending::Abort)
            }
            _ => self.to_client.ended = true,
        }
    }

    /// The server accepts no more bytes. It may have sent its response before it closed.
    pub(crate) fn server_stopped_reading(&mut self) {
        self.to_server.discard_outgoing();
        if let Some(exchange) = &mut self.exchange {
            exchange.close = true;
        }
    }

    /// The connection to the client broke, so that no response can be sent.
    pub(crate) fn client_failed(&mut self, now: Instant) {
        self.finish_event(None, "the client closed the connection", now);
        self.ending = Some(Ending::Abort);
    }

    /// How the connection ends; none while it is open.
    pub(crate) fn ending(&self) -> Option<Ending> {
        self.ending
    }

    /// The current activity of the connection.
    pub(crate) fn activity(&self) -> Activity {
        match (&self.request_state, &self.exchange) {
            (RequestState::Head(_), None) if self.judged_head.is_empty() => Activity::Silent,
            (RequestState::Head(_), None) if self.to_server.input().is_empty() => Activity::Idle,
            _ => Activity::Busy,
        }
    }

    /// True where a request waits for rules; [`Self::advance`] continues after they are loaded.
    pub(crate) fn waits_for_rules(&self) -> bool {
        self.waits_for_rules && self.ending.is_none()
    }

    /// The client is gone, though bytes that it sent are unread.
    pub(crate) fn client_gone(&mut self, now: Instant) {
        if !std::mem::replace(&mut self.client_gone, true) {
            self.last_progress = now;
        }
    }

    /// Closes the connection, because another needs its slot.
    pub(crate) fn close_for_another(&mut self, now: Instant) {
        let idle = self.activity() != Activity::Busy && !self.to_client.is_pending();
        self.finish_event(None, "the connection made room for another", now);
        self.ending = Some(if idle { Ending::Drain } else { Ending::Abort });
    }

    /// True where every request and every response was delivered as a whole, so that closing both connections loses nothing.
    pub(crate) fn is_complete(&self) -> bool {
        matches!(self.response_state, ResponseState::None | ResponseState::Complete)
            && !matches!(self.request_state, RequestState::Body(_) | RequestState::Tunnel)
            && !self.to_server.is_pending()
    }

    /// True for a tunnel (WebSocket), where the end of one side is forwarded to the other.
    pub(crate) fn is_tunnel(&self) -> bool {
        matches!(self.request_state, RequestState::Tunnel)
    }

    /// Records that bytes were received or sent.
    pub(crate) fn note_progress(&mut self, now: Instant) {
        self.last_progress = now;
        self.has_begun |= !self.to_server.input().is_empty();
        let reads_head =
            matches!(self.request_state, RequestState::Head(_)) && !self.to_server.input().is_empty();
        if reads_head && self.head_since.is_none() {
            self.head_since = Some(now);
        }
    }

    /// When the caller must call [`Self::time_out`], unless there is progress before.
    pub(crate) fn deadline(&self) -> Instant {
        match (&self.request_state, self.head_since) {
            _ if self.ending.is_some() => self.last_progress + self.config.head_timeout,
            (RequestState::Head(_), Some(since)) => since + self.config.head_timeout,
            (RequestState::Head(_), None) if !self.has_begun => {
                self.last_progress + self.config.first_byte_timeout
            }
            (RequestState::Head(_), None) => self.last_progress + self.config.idle_timeout,
            _ if self.to_server.ended || self.client_gone => {
                self.last_progress + self.config.half_close_timeout
            }
            _ => self.last_progress + self.config.stall_timeout,
        }
    }

    /// The deadline has passed.
    pub(crate) fn time_out(&mut self, now: Instant) {
        match self.request_state {
            _ if self.to_client.is_pending() => self.ending = Some(Ending::Abort),
            RequestState::Head(_) if self.to_server.input().is_empty() => self.ending = Some(Ending::Drain),
            RequestState::Head(_) => {
                self.refuse(Refusal { status: 408, reason: "the request took too long" }, now)
            }
            _ => {
                let gone = self.to_server.ended || self.client_gone;
                let reason =
                    if gone { "the client closed the connection" } else { "nothing moved for too long" };
                self.finish_event(None, reason, now);
                self.ending = Some(Ending::Abort);
            }
        }
    }

    /// Ends the exchange with an error response, or with a reset where a part of the response was sent already.
    fn fail(&mut self, Refusal { status, reason }: Refusal, now: Instant) {
        if self.exchange.as_ref().is_some_and(|exchange| !exchange.is_reported) {
            answer::refuse(status, reason, self.to_client.rewrite().1);
            self.finish_event(Some(status), reason, now);
            self.ending = Some(Ending::Drain);
        } else {
            self.ending = Some(Ending::Abort);
        }
    }

    fn await_request(&mut self, now: Instant) {
        self.request_state = RequestState::Head(Scanner::default());
        self.head_since = (!self.to_server.input().is_empty()).then_some(now);
    }

    /// Reports the open exchange, if it was not reported yet.
    fn finish_event(&mut self, status: Option<u16>, reason: &'static str, now: Instant) {
        let Some(exchange) = self.exchange.as_mut().filter(|exchange| !exchange.is_reported) else { return };
        exchange.is_reported = true;
        self.report(Outcome { verdict: RequestVerdict::Forward, status, reason }, now);
    }

    /// Reports what became of the request that is handled.
    fn report(&self, outcome: Outcome, now: Instant) {
        let ends = (self.judge.client, self.judge.server);
        self.events.report(&self.record.event(ends, outcome, now));
    }

    /// Begins the record of a request, of which only the ends and the time are known.
    fn begin_record(&mut self, now: Instant) {
        let identities = self.judge.identities();
        self.record.begin(identities, now);
    }
}
