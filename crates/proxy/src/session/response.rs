//! Bytes from the server: heads are parsed and rewritten, bodies are forwarded.

use super::{Ending, Exchange, RequestState, ResponseState, Session, Upstream};
use l7::head::FieldStorage;
use l7::{Body, Framing, Persistence, Refusal, Response, Scanner, Version};
use std::ops::Range;
use std::time::Instant;

const UNASKED_SWITCH: Refusal =
    Refusal { status: 502, reason: "the server switches to a protocol that the client did not ask for" };
const TOO_MANY_INTERIM: Refusal = Refusal { status: 502, reason: "too many interim responses" };

impl Session {
    /// Handles bytes from the server; returns true after progress.
    pub(super) fn advance_response(&mut self, now: Instant) -> bool {
        let input = self.to_client.input();
        match &mut self.response_state {
            ResponseState::None => {
                // After bytes without a request, or after an end, the connection cannot be used for another request.
                if !input.is_empty() || (self.to_client.ended && !matches!(self.upstream, Upstream::Unused)) {
                    self.ending = Some(Ending::Drain);
                }
                false
            }
            // Each interim response is sent before the next head is parsed, so that they never accumulate.
            ResponseState::Head(_) if self.to_client.is_pending() => false,
            ResponseState::Head(scanner) => match scanner.scan(input) {
                Ok(Some(head)) => {
                    self.begin_response(head, now);
                    true
                }
                Ok(None) if self.to_client.ended => {
                    self.lose_response(now);
                    true
                }
                Ok(None) => false,
                Err(refusal) => {
                    self.fail(Refusal { status: 502, ..refusal }, now);
                    true
                }
            },
            ResponseState::Body(body) => match self.to_client.forward_body(body) {
                Ok(count) => {
                    let (done, may_end) = (body.is_done(), body.may_end());
                    let all_came = self.to_client.ended && self.to_client.input().is_empty();
                    if done || (all_came && may_end) {
                        self.response_state = ResponseState::Complete;
                        return true;
                    }
                    if all_came {
                        self.ending = Some(Ending::Abort);
                    }
                    count > 0
                }
                Err(_) => {
                    self.ending = Some(Ending::Abort);
                    true
                }
            },
            ResponseState::Complete => self.complete(now),
            ResponseState::Tunnel => {
                let count = input.len();
                self.to_client.forward(count);
                if self.to_client.ended && self.to_server.ended {
                    self.ending = Some(Ending::Drain);
                }
                count > 0
            }
        }
    }

    /// Parses a complete head, writes the head for the client, and prepares for the body.
    fn begin_response(&mut self, head: Range<usize>, now: Instant) {
        let end = head.end;
        let exchange = self.exchange.as_mut().expect("a response is read while a request waits for it");
        let (input, out) = self.to_client.rewrite();
        let mut storage = FieldStorage::of(&input[head.clone()]);
        let response = match Response::parse(&input[head], storage.slots()) {
            Ok(response) => response,
            Err(refusal) => return self.fail(refusal, now),
        };
        let status = response.status;
        let switches = status == 101;
        let is_sent = matches!(self.request_state, RequestState::Complete);
        if switches && !(response.websocket && exchange.websocket && is_sent) {
            return self.fail(UNASKED_SWITCH, now);
        }
        let framing = response.framing(self.record.method());
        let interim = response.is_interim();
        if interim && !exchange.accepts_interim(end) {
            return self.fail(TOO_MANY_INTERIM, now);
        }
        // A server that responds early may leave the rest of the request unread, and parse it as the next request.
        let early = !is_sent || self.to_server.is_pending();
        exchange.close |= !interim && (early || response.close || framing == Framing::UntilClose);
        let old = exchange.version == Version::Http10;
        let body = match response.is_grpc() {
            _ if old => Body::without_chunks(framing),
            true => Body::of_grpc(framing),
            false => Body::new(framing),
        };
        let persistence = match (switches, exchange.close && !interim) {
            (true, _) => Persistence::Upgrade,
            (false, true) if old => Persistence::CloseOld,
            (false, true) => Persistence::Close,
            (false, false) => Persistence::Keep,
        };
        // HTTP/1.0 has no interim responses: the client would take it for the final one.
        if !(interim && old) {
            response.write(persistence, out);
        }
        self.to_client.discard(end);
        if interim {
            self.response_state = ResponseState::Head(Scanner::default());
            return;
        }
        self.finish_event(Some(status), "", now);
        if switches {
            self.request_state = RequestState::Tunnel;
            self.response_state = ResponseState::Tunnel;
        } else {
            self.response_state = ResponseState::Body(body);
            if early && status >= 300 {
                self.to_server.discard_outgoing();
                self.request_state = RequestState::Ignored;
            }
        }
    }

    /// The server closed without a response. Where the connection was used before, the server may have closed it as idle; then
    /// the client sees a closed connection, as without a proxy, and may retry.
    fn lose_response(&mut self, now: Instant) {
        let reused = matches!(self.upstream, Upstream::Connected(answered) if answered > 0);
        if reused && self.to_client.input().is_empty() {
            self.finish_event(None, "the server closed the connection", now);
            self.ending = Some(Ending::Drain);
        } else {
            self.fail(Refusal { status: 502, reason: "the server closed the connection" }, now);
        }
    }

    /// The response is complete. The next request may follow if this request was sent as a whole; otherwise the connection is
    /// closed, because the server could parse the rest of this request as the next one.
    fn complete(&mut self, now: Instant) -> bool {
        let close = self.exchange.as_ref().is_none_or(|exchange| exchange.close) || self.to_client.ended;
        if close || !matches!(self.request_state, RequestState::Complete) || self.to_server.is_pending() {
            self.to_server.discard_outgoing();
            self.ending = Some(Ending::Drain);
            return true;
        }
        self.exchange = None;
        self.response_state = ResponseState::None;
        if let Upstream::Connected(answered) = &mut self.upstream {
            *answered += 1;
        }
        self.await_request(now);
        true
    }
}

impl Exchange {
    /// Counts an interim response of this length; returns false above the limit. Some servers send one for each step of a
    /// long operation.
    fn accepts_interim(&mut self, length: usize) -> bool {
        const MOST: (u32, usize) = (100, 128 * 1024);
        self.interim.0 += 1;
        self.interim.1 += length;
        self.interim.0 <= MOST.0 && self.interim.1 <= MOST.1
    }
}
