//! A change of policy: the open exchange is judged again.

use super::{Ending, Now, Session};
use crate::answer::{self, KeepAlive};
use crate::event::{RequestEvent, RequestVerdict};
use l7::head::MAX_FIELDS;
use l7::{Field, Request};

impl Session {
    /// True where the next head may be parsed: its rules are loaded. Without bytes from the client, no rules are loaded.
    pub(super) fn may_read_head(&mut self) -> bool {
        self.waits_for_rules = !self.to_server.input().is_empty() && !self.judge.is_ready();
        !self.waits_for_rules
    }

    /// True where the rules for this connection are loaded.
    pub(crate) fn rules_are_there(&mut self) -> bool {
        self.judge.is_ready()
    }

    /// Judges the open exchange again, and ends it if policy denies it now. A connection without an exchange is closed if
    /// policy denies its flow; otherwise its next request is judged anyway. Returns false where the rules are not loaded
    /// yet; then the caller must call this again.
    pub(crate) fn reevaluate(&mut self, now: Now) -> bool {
        if self.ending.is_some() {
            return true;
        }
        if !self.judge.is_ready() {
            return false;
        }
        let is_allowed = self.judge.is_flow_allowed();
        if self.exchange.is_some() {
            if let Some(event) = self.event_if_denied(now) {
                self.end_exchange(event, is_allowed, now);
            }
        } else if !is_allowed {
            self.ending = Some(Ending::Abort);
        }
        true
    }

    /// The event of the open exchange, if policy denies it now.
    fn event_if_denied(&mut self, now: Now) -> Option<RequestEvent> {
        let mut event = RequestEvent { verdict: RequestVerdict::Deny, ..self.blank_event(now) };
        // Parsing changes the head in place, so it parses a copy.
        let mut head = self.judged_head.clone();
        let mut storage = [Field::default(); MAX_FIELDS];
        let Ok(request) = Request::parse(&mut head, &mut storage) else {
            return Some(RequestEvent { reason: "the request cannot be judged again", ..event });
        };
        event.protocol = request.version.name().into();
        event.method.push_str(request.method);
        event.path.push_str(request.path);
        event.host.push_str(request.host);
        event.reason = match self.judge.decide(&request.view()) {
            Ok(judgement) if judgement.allows() => return None,
            Ok(judgement) => {
                (event.source_identity, event.destination_identity) = judgement.identities;
                event.decisions = judgement.decisions;
                "policy changed, and no HTTP rule allows it any more"
            }
            Err(_) => "policy changed, and does not allow the flow any more",
        };
        Some(event)
    }

    /// Ends an open exchange: with status 403 where no part of a response was sent and policy allows the flow, otherwise
    /// with a reset.
    fn end_exchange(&mut self, event: RequestEvent, is_allowed: bool, now: Now) {
        self.to_server.discard_outgoing();
        let exchange = self.exchange.as_mut().expect("there is an open exchange");
        let latency = now.instant.saturating_duration_since(exchange.began);
        let unanswered = exchange.event.take().is_some();
        let status = (unanswered && is_allowed).then_some(403);
        self.ending = Some(if status.is_some() { Ending::Drain } else { Ending::Abort });
        if status.is_some() {
            answer::deny(&event.method, KeepAlive::No, self.to_client.rewrite().1);
        }
        self.events.push(RequestEvent { status, latency, ..event });
    }
}
