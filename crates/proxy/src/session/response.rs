//! What comes from the server: heads that are written anew, bodies that pass.

use super::{Ending, Now, Receiving, Sending, Server, Session};
use l7::head::MAX_FIELDS;
use l7::{Body, Field, Framing, Persistence, Refusal, Response, Scanner};
use std::ops::Range;

impl Session {
    /// Takes a step with what came from the server; tells whether there was one to take.
    pub(super) fn advance_response(&mut self, now: Now) -> bool {
        let input = self.to_client.input();
        match &mut self.receiving {
            Receiving::Nothing => {
                // A server that closes or speaks unasked has ended what a next request could be answered on.
                if !input.is_empty() || (self.to_client.ended && !matches!(self.server, Server::Idle)) {
                    self.ending = Some(Ending::Drain);
                }
                false
            }
            Receiving::Head(scanner) => match scanner.scan(input) {
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
            Receiving::Body(body) => match body.advance(input) {
                Ok(count) => {
                    let (done, may_end) = (body.is_done(), body.may_end());
                    self.to_client.pass(count);
                    if done || (self.to_client.ended && may_end) {
                        self.receiving = Receiving::Complete;
                        return true;
                    }
                    if self.to_client.ended {
                        self.ending = Some(Ending::Abort);
                    }
                    count > 0
                }
                Err(_) => {
                    self.ending = Some(Ending::Abort);
                    true
                }
            },
            Receiving::Complete => self.complete(now),
            Receiving::Tunnel => {
                let count = input.len();
                self.to_client.pass(count);
                if self.to_client.ended && self.to_server.ended {
                    self.ending = Some(Ending::Drain);
                }
                count > 0
            }
        }
    }

    /// A response's head is there: it is written to go out, and says how the rest comes.
    fn begin_response(&mut self, head: Range<usize>, now: Now) {
        let end = head.end;
        let exchange = self.exchange.as_mut().expect("a response is read while a request waits for it");
        let (input, out) = self.to_client.rewrite();
        let mut storage = [Field::default(); MAX_FIELDS];
        let response = match Response::parse(&input[head], &mut storage) {
            Ok(response) => response,
            Err(refusal) => return self.fail(refusal, now),
        };
        let status = response.status;
        let switches = status == 101;
        if switches
            && !(response.websocket && exchange.websocket && matches!(self.sending, Sending::Complete))
        {
            return self.fail(Refusal { status: 502, reason: "the server switches protocols unasked" }, now);
        }
        let framing = response.framing(&exchange.method);
        let interim = response.is_interim();
        exchange.close |= !interim && (response.close || framing == Framing::UntilClose);
        let persistence = match (switches, exchange.close && !interim) {
            (true, _) => Persistence::Upgrade,
            (false, true) => Persistence::Close,
            (false, false) => Persistence::Keep,
        };
        response.write(persistence, out);
        self.to_client.discard(end);
        if interim {
            self.receiving = Receiving::Head(Scanner::default());
            return;
        }
        self.finish_event(Some(status), "", now);
        if switches {
            self.sending = Sending::Tunnel;
            self.receiving = Receiving::Tunnel;
        } else {
            self.receiving = Receiving::Body(Body::new(framing));
        }
    }

    /// The server closed instead of answering. Where it has answered before, it may just have had enough of the
    /// connection; the client then sees what it would see without a proxy, and may try again.
    fn lose_response(&mut self, now: Now) {
        let reused = matches!(self.server, Server::Connected(answered) if answered > 0);
        if reused && self.to_client.input().is_empty() {
            self.finish_event(None, "the server closed the connection", now);
            self.ending = Some(Ending::Drain);
        } else {
            self.fail(Refusal { status: 502, reason: "the server closed the connection" }, now);
        }
    }

    /// The response has come; once the request has too, the next one may. A connection that ends anyway does not
    /// wait for the rest of a request that has its answer.
    fn complete(&mut self, now: Now) -> bool {
        let close = self.exchange.as_ref().is_none_or(|exchange| exchange.close) || self.to_client.ended;
        if close {
            self.ending = Some(Ending::Drain);
            return true;
        }
        if !matches!(self.sending, Sending::Complete) {
            return false;
        }
        self.exchange = None;
        self.receiving = Receiving::Nothing;
        if let Server::Connected(answered) = &mut self.server {
            *answered += 1;
        }
        self.await_request(now);
        true
    }
}
