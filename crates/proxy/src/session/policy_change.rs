//! Policy has changed: what goes on under the old one is judged again.

use super::{Ending, Now, Session};
use crate::answer::{self, KeepAlive};
use crate::event::{RequestEvent, Verdict};
use l7::head::MAX_FIELDS;
use l7::{Field, Request};

impl Session {
    /// Whether a request that comes can be read on; while none comes, rules are not asked for.
    pub(super) fn may_read_head(&mut self) -> bool {
        self.waits_for_rules = !self.to_server.input().is_empty() && !self.judge.is_ready();
        !self.waits_for_rules
    }

    /// Whether all rules are there that this connection's requests are decided by.
    pub(crate) fn rules_are_there(&mut self) -> bool {
        self.judge.is_ready()
    }

    /// Asks policy again. An exchange that it would not allow now is cut, and so is a connection between key that
    /// may not talk any more; a connection without an exchange goes on, for its next request is judged anyway. False
    /// where the rules are not there yet: this is to be called again.
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
                self.cut(event, is_allowed, now);
            }
        } else if !is_allowed {
            self.ending = Some(Ending::Abort);
        }
        true
    }

    /// The event of the request that goes on, where policy would not allow it now.
    fn event_if_denied(&mut self, now: Now) -> Option<RequestEvent> {
        let mut event = RequestEvent { verdict: Verdict::Deny, ..self.blank_event(now) };
        // A copy, since reading a head makes it canonical in place.
        let mut head = self.decided.clone();
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

    /// Ends an exchange in the middle: with an answer where the client has got no part of one and may have it.
    fn cut(&mut self, event: RequestEvent, is_allowed: bool, now: Now) {
        self.to_server.discard_outgoing();
        let exchange = self.exchange.as_mut().expect("there is something to cut");
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
