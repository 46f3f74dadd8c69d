//! The latest flows, and the subscriptions to new ones.

use flow::{Filter, Flow, RingBuffer};
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Number of flows in the ring buffer.
const KEPT: usize = 4096;
/// How often a subscription without new flows checks whether the agent stops.
const IDLE: Duration = Duration::from_secs(1);

/// The flows, for any number of subscriptions. A slow subscription loses flows; it never blocks the threads that
/// decode events.
#[derive(Debug)]
pub(crate) struct Feed {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    ring: RingBuffer<Arc<Flow>>,
    missed: u64,
    ended: bool,
}

/// One client's flows.
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
    /// An empty feed.
    pub(crate) fn new() -> Arc<Self> {
        let state = State { ring: RingBuffer::new(KEPT), missed: 0, ended: false };
        Arc::new(Self { state: Mutex::new(state), changed: Condvar::new() })
    }

    /// Adds flows, oldest first.
    pub(crate) fn push(&self, flows: impl IntoIterator<Item = Flow>) {
        let mut state = self.state();
        for flow in flows {
            state.ring.push(Arc::new(flow));
        }
        self.changed.notify_all();
    }

    /// How many flows were evicted before a subscription read them.
    pub(crate) fn missed(&self) -> u64 {
        self.state().missed
    }

    /// Ends all subscriptions.
    pub(crate) fn end(&self) {
        self.state().ended = true;
        self.changed.notify_all();
    }

    /// Subscribes to the last matching flows and, with `follow`, to new ones.
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

    /// Wakes all subscriptions, so that those of disconnected clients end.
    pub(crate) fn wake(&self) {
        // With the lock held, no subscription is between its check and its wait.
        let _state = self.state();
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change of the ring is a single call, so a panic cannot leave it inconsistent.
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
    /// The flag to set when the client has disconnected, before [`Feed::wake`].
    pub(crate) fn left(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.left)
    }

    /// Waits for new flows and takes the matching ones; false once the subscription has ended.
    fn wait(&mut self) -> bool {
        let mut state = self.feed.state();
        while state.ring.next() == self.next && !state.ended && !self.left.load(Ordering::Relaxed) {
            let waited = self.feed.changed.wait_timeout(state, IDLE);
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
