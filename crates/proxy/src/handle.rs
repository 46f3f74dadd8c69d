//! What a connection and the rest of the proxy tell one another without waiting: what it does now, what it shall do.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;
use std::time::Instant;

/// What a connection is doing, the least useful first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Activity {
    /// No whole request has ever come from its client.
    Silent,
    /// It is between two requests.
    Idle,
    /// A request is coming, or being answered.
    Busy,
}

/// Something that a connection shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Command {
    /// End, since another needs its place.
    Close = 1,
    /// Ask policy again.
    Reevaluate = 2,
}

/// One connection, as others see it.
#[derive(Debug)]
pub(crate) struct Handle {
    began: Instant,
    /// The use in the upper byte, and below it the milliseconds from `began` to its beginning.
    state: AtomicU64,
    /// A union of commands that were not taken yet.
    commands: AtomicU8,
    waker: Mutex<Option<Waker>>,
}

const SHIFT: u32 = 56;

impl Handle {
    pub(crate) fn new(now: Instant) -> Self {
        Self { began: now, state: AtomicU64::new(0), commands: AtomicU8::new(0), waker: Mutex::new(None) }
    }

    /// Notes what the connection does from now on.
    pub(crate) fn set_activity(&self, what: Activity, now: Instant) {
        let since = now.saturating_duration_since(self.began).as_millis() as u64 & ((1 << SHIFT) - 1);
        let before = self.state.load(Ordering::Relaxed);
        if before >> SHIFT != what as u64 {
            self.state.store((what as u64) << SHIFT | since, Ordering::Relaxed);
        }
    }

    /// What it does, and since when.
    pub(crate) fn state(&self) -> (Activity, Instant) {
        let state = self.state.load(Ordering::Relaxed);
        let what = match state >> SHIFT {
            0 => Activity::Silent,
            1 => Activity::Idle,
            _ => Activity::Busy,
        };
        (what, self.began + std::time::Duration::from_millis(state & ((1 << SHIFT) - 1)))
    }

    /// Where an order wakes the connection. A task has one waker for all its life.
    pub(crate) fn set_waker(&self, waker: &Waker) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker.clone());
    }

    /// Gives an order.
    pub(crate) fn send(&self, command: Command) {
        self.commands.fetch_or(command as u8, Ordering::Release);
        if let Some(waker) = &*self.waker.lock().unwrap_or_else(PoisonError::into_inner) {
            waker.wake_by_ref();
        }
    }

    /// Whether the order was given since it was last taken.
    pub(crate) fn take(&self, command: Command) -> bool {
        self.commands.load(Ordering::Acquire) & command as u8 != 0
            && self.commands.fetch_and(!(command as u8), Ordering::AcqRel) & command as u8 != 0
    }

    /// Whether any order waits to be taken.
    pub(crate) fn has_commands(&self) -> bool {
        self.commands.load(Ordering::Acquire) != 0
    }
}
