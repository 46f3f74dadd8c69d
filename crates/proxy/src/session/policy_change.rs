//! A change of policy: the open exchange is judged again.

use super::record::Outcome;
use super::{Ending, Session};
use crate::answer::{self, KeepAlive};
use crate::event::{RequestEvent, RequestVerdict};
use l7::Request;
use l7::head::FieldStorage;
use std::time::Instant;

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
    pub(crate) fn reevaluate(&mut self, now: Instant) -> bool {
        if self.ending.is_some() {
            return true;
        }
        if !self.judge.is_ready() {
            return false;
        }
        let is_allowed = self.judge.is_flow_allowed();
        if self.exchange.is_some() {
            if let Some(reason) = self.reason_if_denied() {
                self.end_exchange(reason, is_allowed, now);
            }
        } else if !is_allowed {
            self.ending = Some(Ending::Abort);
        }
        true
    }

    /// Why policy denies the open exchange now; none where policy allows it. The record then has the new decisions.
    fn reason_if_denied(&mut self) -> Option<&'static str> {
        // Parsing changes the head in place, so it parses a copy.
        let mut head = self.judged_head.clone();
        let mut storage = FieldStorage::of(&head);
        let Ok(request) = Request::parse(&mut head, storage.slots()) else {
            self.record.decisions.clear();
            return Some("the request cannot be judged again");
        };
        let mut decisions = Vec::new();
        let judgement = self.judge.decide(&request.view(), &mut decisions);
        if judgement.is_ok_and(|judgement| judgement.allows) {
            return None;
        }
        self.record.identities = self.judge.identities();
        self.record.decisions = decisions;
        Some(match judgement {
            Ok(_) => "policy changed, and no HTTP rule allows it any more",
            Err(_) => "policy changed, and does not allow the flow any more",
        })
    }

    /// Ends an open exchange: with status 403 where no part of a response was sent and policy allows the flow, otherwise
    /// with a reset.
    fn end_exchange(&mut self, reason: &'static str, is_allowed: bool, now: Instant) {
        self.to_server.discard_outgoing();
        let exchange = self.exchange.as_mut().expect("there is an open exchange");
        let is_answered = std::mem::replace(&mut exchange.is_reported, true);
        let status = (!is_answered && is_allowed).then_some(403);
        self.ending = Some(if status.is_some() { Ending::Drain } else { Ending::Abort });
        if status.is_some() {
            answer::deny(self.record.method(), KeepAlive::No, self.to_client.rewrite().1);
        }
        let outcome = Outcome { verdict: RequestVerdict::Deny, status, reason };
        let ends = (self.judge.client, self.judge.server);
        self.events.report(&RequestEvent { time: now, ..self.record.event(ends, outcome, now) });
    }
}
