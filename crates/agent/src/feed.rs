//! The flows that were seen last, and those who watch for the next.

use flow::{Filter, Flow, Ring};
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How many flows are kept.
const KEPT: usize = 4096;
/// How often a watcher wakes up without news, so that it finds out that the agent ends.
const IDLE: Duration = Duration::from_secs(1);

/// Flows as they come in, for any number of watchers; a slow one loses flows and never holds up the packet path.
#[derive(Debug)]
pub(crate) struct Feed {
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Debug)]
struct State {
    ring: Ring<Arc<Flow>>,
    missed: u64,
    ended: bool,
}

/// One watcher's flows.
#[derive(Debug)]
pub(crate) struct Subscription {
    feed: Arc<Feed>,
    filter: Filter,
    ready: VecDeque<Arc<Flow>>,
    next: u64,
    follow: bool,
    left: Arc<AtomicBool>,
}

impl Feed {
    /// A feed that has seen nothing.
    pub(crate) fn new() -> Arc<Self> {
        let state = State { ring: Ring::new(KEPT), missed: 0, ended: false };
        Arc::new(Self { state: Mutex::new(state), news: Condvar::new() })
    }

    /// Adds flows, oldest first.
    pub(crate) fn push(&self, flows: impl IntoIterator<Item = Flow>) {
        let mut state = self.state();
        for flow in flows {
            state.ring.push(Arc::new(flow));
        }
        self.news.notify_all();
    }

    /// How many flows were pushed out before a watcher came for them.
    pub(crate) fn missed(&self) -> u64 {
        self.state().missed
    }

    /// Lets all watchers go.
    pub(crate) fn end(&self) {
        self.state().ended = true;
        self.news.notify_all();
    }

    /// The last flows that pass the filters, and the coming ones where they are followed.
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        last: usize,
        follow: bool,
        filters: &[String],
    ) -> Result<Subscription, String> {
        let filter = Filter::parse(filters.iter().map(String::as_str)).map_err(|error| error.to_string())?;
        let state = self.state();
        let ready = state.ring.last(last, |flow| filter.matches(flow)).into_iter().cloned().collect();
        let next = state.ring.next();
        drop(state);
        let left = Arc::default();
        Ok(Subscription { feed: Arc::clone(self), filter, ready, next, follow, left })
    }

    /// Wakes those who wait, so that they find out which of them are to end.
    pub(crate) fn wake(&self) {
        // Not between the look and the wait of one of them.
        let _state = self.state();
        self.news.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A thread that panicked in here cannot have left the ring half changed in a way that matters.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Iterator for Subscription {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(flow) = self.ready.pop_front() {
                return Some(serde_json::to_value(&*flow).expect("flows are plain data with string keys"));
            }
            if !self.follow || !self.wait() {
                return None;
            }
        }
    }
}

impl Subscription {
    /// What to set when the watcher has left, before [`Feed::wake`].
    pub(crate) fn left(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.left)
    }

    /// Waits for news and takes those that pass; false when there will be none.
    fn wait(&mut self) -> bool {
        let mut state = self.feed.state();
        while state.ring.next() == self.next && !state.ended && !self.left.load(Ordering::Relaxed) {
            let waited = self.feed.news.wait_timeout(state, IDLE);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let (flows, missed) = state.ring.since(self.next);
        self.ready.extend(flows.filter(|flow| self.filter.matches(flow)).cloned());
        self.next = state.ring.next();
        state.missed += missed.0;
        let ends = state.ended || self.left.load(Ordering::Relaxed);
        !(ends && self.ready.is_empty())
    }
}
