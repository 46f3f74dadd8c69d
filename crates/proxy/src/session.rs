//! One proxied connection as a state machine: it moves bytes between its two pipes, and knows neither sockets nor
//! clock.
//!
//! Requests are handled one at a time: the next head is looked at when the answer to the one before has gone out, so
//! answers keep their order and every request is decided on under the policy of its moment.

mod policy_change;
mod request;
mod response;

use crate::answer;
use crate::config::Config;
use crate::event::{RequestEvent, Verdict};
use crate::handle::Activity;
use crate::judge::Judge;
use crate::pipe::Pipe;
use l7::{Body, Refusal, Scanner, Version};
use std::time::{Instant, SystemTime};

/// The time, as both clocks tell it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) instant: Instant,
    pub(crate) wall: SystemTime,
}

/// A connection from a client, and the one to its server.
pub(crate) struct Session {
    config: Config,
    judge: Judge,
    /// From the client.
    pub(crate) to_server: Pipe,
    /// From the server, or from the proxy itself.
    pub(crate) to_client: Pipe,
    /// Events that are to be reported.
    pub(crate) events: Vec<RequestEvent>,
    upstream: Upstream,
    request_state: RequestState,
    response_state: ResponseState,
    exchange: Option<Exchange>,
    ending: Option<Ending>,
    /// When bytes moved last.
    moved: Instant,
    /// When the head that is being read began.
    head_since: Option<Instant>,
    /// The head of the request that was decided on last, as it came.
    decided: Vec<u8>,
    /// Whether a request waits for the rules that it is to be decided by.
    waits_for_rules: bool,
    /// Whether the client was seen to be gone while bytes of it are still to be read.
    client_gone: bool,
    has_begun: bool,
}

/// The connection to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upstream {
    /// No request has asked for it yet.
    Unused,
    /// A request waits for it.
    Wanted,
    /// It is there, and has answered this many requests.
    Connected(u64),
}

/// What comes from the client.
enum RequestState {
    Head(Scanner),
    /// The body of the request that was forwarded.
    Body(Body),
    /// The body of a request that was denied, and how much of it is still borne with.
    Discard(Body, u64),
    /// The rest of a body that does not go on, since its answer has come and says no.
    Ignored,
    /// All of the request has come.
    Complete,
    Tunnel,
}

/// What comes from the server.
enum ResponseState {
    /// No request was forwarded.
    None,
    Head(Scanner),
    Body(Body),
    /// All of the response has come.
    Complete,
    Tunnel,
}

/// A request that was forwarded, until its answer is complete.
struct Exchange {
    /// Told when the answer's head has come, or when there will be none.
    event: Option<RequestEvent>,
    method: String,
    version: Version,
    began: Instant,
    websocket: bool,
    /// Whether the connection ends with this exchange.
    close: bool,
    /// Interim answers so far, and their bytes.
    interim: (u32, usize),
}

/// How the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// When all that is for the client has gone out.
    Drain,
    /// At once, since what the client has got is not all there was to be: it must not look complete.
    Abort,
}

impl Session {
    pub(crate) fn new(config: Config, judge: Judge, now: Now) -> Self {
        Self {
            config,
            judge,
            to_server: Pipe::default(),
            to_client: Pipe::default(),
            events: Vec::new(),
            upstream: Upstream::Unused,
            request_state: RequestState::Head(Scanner::default()),
            response_state: ResponseState::None,
            exchange: None,
            ending: None,
            moved: now.instant,
            head_since: None,
            decided: Vec::new(),
            waits_for_rules: false,
            client_gone: false,
            has_begun: false,
        }
    }

    /// Does all that can be done with the bytes that are there.
    pub(crate) fn advance(&mut self, now: Now) {
        while self.ending.is_none() && (self.advance_request(now) || self.advance_response(now)) {}
        if self.ending.is_some() {
            // It is read all the same: a client may not read its answer before it has sent everything.
            self.to_server.drop_input();
        }
    }

    /// Whether a connection to the server is asked for; [`Self::connected`] or [`Self::unreachable`] answers.
    pub(crate) fn wants_server(&self) -> bool {
        self.upstream == Upstream::Wanted && self.ending.is_none()
    }

    /// The connection to the server is there.
    pub(crate) fn connected(&mut self) {
        self.upstream = Upstream::Connected(0);
    }

    /// There will be no connection to the server.
    pub(crate) fn unreachable(&mut self, reason: &'static str, now: Now) {
        self.to_server.discard_outgoing();
        self.fail(Refusal { status: 503, reason }, now);
    }

    /// The server's connection broke, rather than end.
    pub(crate) fn server_failed(&mut self) {
        self.to_server.discard_outgoing();
        match self.response_state {
            // Its end would have been the end of the body; this is not it.
            ResponseState::Body(Body::UntilClose) | ResponseState::Tunnel => {
                self.ending = Some(Ending::Abort)
            }
            _ => self.to_client.ended = true,
        }
    }

    /// The server takes no more; it may have answered before it closed.
    pub(crate) fn server_stopped_reading(&mut self) {
        self.to_server.discard_outgoing();
        if let Some(exchange) = &mut self.exchange {
            exchange.close = true;
        }
    }

    /// The client is gone: nobody is there to answer.
    pub(crate) fn client_failed(&mut self, now: Now) {
        self.finish_event(None, "the client closed the connection", now);
        self.ending = Some(Ending::Abort);
    }

    /// How the connection ends, once it does.
    pub(crate) fn ending(&self) -> Option<Ending> {
        self.ending
    }

    /// What the connection is used for at this moment.
    pub(crate) fn activity(&self) -> Activity {
        match (&self.request_state, &self.exchange) {
            (RequestState::Head(_), None) if self.decided.is_empty() => Activity::Silent,
            (RequestState::Head(_), None) if self.to_server.input().is_empty() => Activity::Idle,
            _ => Activity::Busy,
        }
    }

    /// Whether a request waits for rules; [`Self::advance`] goes on once they are there.
    pub(crate) fn waits_for_rules(&self) -> bool {
        self.waits_for_rules && self.ending.is_none()
    }

    /// The client is gone, though bytes that it sent before are still to be read.
    pub(crate) fn client_gone(&mut self, now: Now) {
        if !std::mem::replace(&mut self.client_gone, true) {
            self.moved = now.instant;
        }
    }

    /// The connection makes room for another.
    pub(crate) fn leave(&mut self, now: Now) {
        let idle = self.activity() != Activity::Busy && !self.to_client.is_pending();
        self.finish_event(None, "the connection made room for another", now);
        self.ending = Some(if idle { Ending::Drain } else { Ending::Abort });
    }

    /// Whether the server has got all of every request and the client all of every answer: nothing is lost when both
    /// connections are closed in order.
    pub(crate) fn is_complete(&self) -> bool {
        matches!(self.response_state, ResponseState::None | ResponseState::Complete)
            && !matches!(self.request_state, RequestState::Body(_) | RequestState::Tunnel)
            && !self.to_server.is_pending()
    }

    /// Whether the end of one side is to be passed on to the other: only where both sides talk at will.
    pub(crate) fn is_tunnel(&self) -> bool {
        matches!(self.request_state, RequestState::Tunnel)
    }

    /// Bytes moved, in or out.
    pub(crate) fn touch(&mut self, now: Now) {
        self.moved = now.instant;
        self.has_begun |= !self.to_server.input().is_empty();
        let reads_head =
            matches!(self.request_state, RequestState::Head(_)) && !self.to_server.input().is_empty();
        if reads_head && self.head_since.is_none() {
            self.head_since = Some(now.instant);
        }
    }

    /// When [`Self::time_out`] is due, if nothing happens before.
    pub(crate) fn deadline(&self) -> Instant {
        match (&self.request_state, self.head_since) {
            _ if self.ending.is_some() => self.moved + self.config.head_timeout,
            (RequestState::Head(_), Some(since)) => since + self.config.head_timeout,
            (RequestState::Head(_), None) if !self.has_begun => self.moved + self.config.first_byte_timeout,
            (RequestState::Head(_), None) => self.moved + self.config.idle_timeout,
            _ if self.to_server.ended || self.client_gone => self.moved + self.config.half_close_timeout,
            _ => self.moved + self.config.stall_timeout,
        }
    }

    /// The deadline has passed.
    pub(crate) fn time_out(&mut self, now: Now) {
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

    /// A request that was forwarded cannot be completed. The client is told, unless it has got an answer already.
    fn fail(&mut self, Refusal { status, reason }: Refusal, now: Now) {
        if self.exchange.as_ref().is_some_and(|exchange| exchange.event.is_some()) {
            answer::refuse(status, reason, self.to_client.rewrite().1);
            self.finish_event(Some(status), reason, now);
            self.ending = Some(Ending::Drain);
        } else {
            self.ending = Some(Ending::Abort);
        }
    }

    fn await_request(&mut self, now: Now) {
        self.request_state = RequestState::Head(Scanner::default());
        self.head_since = (!self.to_server.input().is_empty()).then_some(now.instant);
    }

    /// Reports the request that waits for its answer, if one does.
    fn finish_event(&mut self, status: Option<u16>, reason: &'static str, now: Now) {
        let Some(exchange) = &mut self.exchange else { return };
        let Some(event) = exchange.event.take() else { return };
        let latency = now.instant.saturating_duration_since(exchange.began);
        self.events.push(RequestEvent { status, reason, latency, ..event });
    }

    /// An event of which nothing is known but who and when.
    fn blank_event(&mut self, now: Now) -> RequestEvent {
        let (source_identity, destination_identity) = self.judge.identities();
        RequestEvent {
            time: now.wall,
            client: self.judge.client,
            server: self.judge.server,
            source_identity,
            destination_identity,
            method: String::new(),
            path: String::new(),
            host: String::new(),
            protocol: Version::Http11.name().into(),
            status: None,
            verdict: Verdict::Forward,
            reason: "",
            decisions: Vec::new(),
            latency: std::time::Duration::ZERO,
        }
    }
}
