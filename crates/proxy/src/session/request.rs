//! Bytes from the client: heads are parsed and judged, bodies are forwarded or discarded.

use super::record::Outcome;
use super::{Ending, Exchange, RequestState, ResponseState, Session, Upstream};
use crate::answer::{self, KeepAlive};
use crate::event::RequestVerdict;
use crate::judge::{Judgement, Unknown};
use l7::head::FieldStorage;
use l7::{Body, Framing, Refusal, Request, Scanner, Version};
use std::ops::Range;
use std::time::Instant;

/// A parsed and judged request, without its bytes and text.
struct Incoming {
    version: Version,
    framing: Framing,
    close: bool,
    websocket: bool,
    expects_continue: bool,
    outcome: Result<Judgement, Unknown>,
}

impl Session {
    /// Handles bytes from the client; returns true after progress.
    pub(super) fn advance_request(&mut self, now: Instant) -> bool {
        match &self.request_state {
            // The last response is sent first. A head that is written now would be sent before a body that waits.
            RequestState::Head(_) if self.to_client.is_pending() || self.to_server.is_pending() => false,
            RequestState::Head(_) => self.scan_head(now),
            RequestState::Body(_) => self.pass_body(now),
            RequestState::Discard(..) => self.discard_body(now),
            RequestState::Ignored => {
                let came = !self.to_server.input().is_empty();
                self.to_server.drop_input();
                came
            }
            RequestState::Complete => false,
            RequestState::Tunnel => {
                let count = self.to_server.input().len();
                self.to_server.forward(count);
                count > 0
            }
        }
    }

    fn scan_head(&mut self, now: Instant) -> bool {
        if !self.may_read_head() {
            return false;
        }
        let RequestState::Head(scanner) = &mut self.request_state else { return false };
        match scanner.scan(self.to_server.input()) {
            Ok(Some(head)) => self.begin(head, now),
            Ok(None) => {
                if self.to_server.ended {
                    self.ending = Some(Ending::Drain);
                }
                return false;
            }
            Err(refusal) => self.refuse(refusal, now),
        }
        true
    }

    fn pass_body(&mut self, now: Instant) -> bool {
        let RequestState::Body(body) = &mut self.request_state else { return false };
        match self.to_server.forward_body(body) {
            Ok(count) => {
                let done = body.is_done();
                if done {
                    self.request_state = RequestState::Complete;
                } else if self.to_server.ended && self.to_server.input().is_empty() {
                    self.client_failed(now);
                }
                count > 0 || done
            }
            Err(refusal) => {
                self.to_server.discard_outgoing();
                self.fail(refusal, now);
                true
            }
        }
    }

    fn discard_body(&mut self, now: Instant) -> bool {
        let RequestState::Discard(body, left) = &mut self.request_state else { return false };
        match body.advance(self.to_server.input()) {
            Ok(count) if count as u64 <= *left => {
                *left -= count as u64;
                let done = body.is_done();
                self.to_server.discard(count);
                if done {
                    self.await_request(now);
                } else if self.to_server.ended {
                    self.ending = Some(Ending::Drain);
                }
                count > 0 || done
            }
            Ok(_) | Err(_) => {
                self.ending = Some(Ending::Drain);
                true
            }
        }
    }

    /// Parses and judges a complete head, and forwards the request or responds to it.
    fn begin(&mut self, head: Range<usize>, now: Instant) {
        let end = head.end;
        self.head_since = None;
        let incoming = match self.read_request(head, now) {
            Ok(incoming) => incoming,
            Err(refusal) => return self.refuse(refusal, now),
        };
        self.to_server.discard(end);
        match &incoming.outcome {
            Ok(Judgement { allows: true, .. }) => self.forward(&incoming),
            Ok(_) => self.deny(&incoming, now),
            Err(Unknown { status, reason }) => {
                self.answer_refusal(Refusal { status: *status, reason }, now);
            }
        }
    }

    /// Parses and judges a head; where policy allows the request, writes the head for the server.
    fn read_request(&mut self, head: Range<usize>, now: Instant) -> Result<Incoming, Refusal> {
        self.begin_record(now);
        self.judged_head.clear();
        self.judged_head.extend_from_slice(&self.to_server.input()[head.clone()]);
        let (input, out) = self.to_server.rewrite();
        let mut storage = FieldStorage::of(&input[head.clone()]);
        let request = Request::parse(&mut input[head], storage.slots())?;
        self.record.fill(&request);
        let outcome = self.judge.decide(&request.view(), &mut self.record.decisions);
        if let Ok(judgement) = &outcome {
            self.record.identities = judgement.identities;
            if judgement.allows {
                request.write(out);
            }
        }
        let expects_continue = request.fields.iter().any(|field| field.name.eq_ignore_ascii_case("expect"));
        let Request { version, framing, close, websocket, .. } = request;
        Ok(Incoming { version, framing, close, websocket, expects_continue, outcome })
    }

    fn forward(&mut self, incoming: &Incoming) {
        self.exchange = Some(Exchange {
            is_reported: false,
            version: incoming.version,
            websocket: incoming.websocket,
            close: incoming.close,
            interim: (0, 0),
        });
        self.request_state = RequestState::Body(Body::new(incoming.framing));
        self.response_state = ResponseState::Head(Scanner::default());
        if self.upstream == Upstream::Unused {
            self.upstream = Upstream::Wanted;
        }
    }

    /// Responds with 403. The connection stays open where the body of the request is short and has a known end. It is closed
    /// for a client with `Expect: 100-continue`, because such a client may or may not send its body.
    fn deny(&mut self, incoming: &Incoming, now: Instant) {
        let short = match incoming.framing {
            Framing::Empty => true,
            Framing::Length(length) => length <= self.config.discard_limit,
            Framing::Chunked => true,
            Framing::UntilClose => false,
        };
        let keep = short && !incoming.close && !incoming.expects_continue;
        let then = if keep { KeepAlive::Yes } else { KeepAlive::No };
        answer::deny(self.record.method(), then, self.to_client.rewrite().1);
        self.request_state = RequestState::Discard(Body::new(incoming.framing), self.config.discard_limit);
        if !keep {
            self.ending = Some(Ending::Drain);
        }
        let reason = "no HTTP rule allows it";
        self.report(Outcome { verdict: RequestVerdict::Deny, status: Some(403), reason }, now);
    }

    /// Responds to bytes that are no request.
    pub(super) fn refuse(&mut self, refusal: Refusal, now: Instant) {
        self.begin_record(now);
        self.record.protocol = l7::head::protocol_of(self.to_server.input());
        self.answer_refusal(refusal, now);
    }

    fn answer_refusal(&mut self, Refusal { status, reason }: Refusal, now: Instant) {
        answer::refuse(status, reason, self.to_client.rewrite().1);
        self.report(Outcome { verdict: RequestVerdict::Refuse, status: Some(status), reason }, now);
        self.ending = Some(Ending::Drain);
    }
}
