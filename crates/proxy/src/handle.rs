//! The handle of a connection: the rest of the proxy reads its activity there and sends it commands, without waiting.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;
use std::time::Instant;

/// What a connection does, in the order in which connections are closed to make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Activity {
    /// Its client never sent a complete head.
    Silent,
    /// It is between two requests.
    Idle,
    /// It has an exchange, or a part of a request.
    Busy,
}

/// A command to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Command {
    /// Close, because another connection needs the slot.
    Close = 1,
    /// Judge the open exchange again, because policy changed.
    Reevaluate = 2,
}

/// One connection, as the rest of the proxy sees it.
#[derive(Debug)]
pub(crate) struct Handle {
    began: Instant,
    /// The activity in the upper byte; below it, the milliseconds from `began` to the start of this activity.
    state: AtomicU64,
    /// The commands that the connection has not run yet, one bit each.
    commands: AtomicU8,
    waker: Mutex<Option<Waker>>,
}

const SHIFT: u32 = 56;

impl Handle {
    pub(crate) fn new(now: Instant) -> Self {
        Self { began: now, state: AtomicU64::new(0), commands: AtomicU8::new(0), waker: Mutex::new(None) }
    }

    /// Records what the connection does from now on.
    pub(crate) fn set_activity(&self, what: Activity, now: Instant) {
        let since = now.saturating_duration_since(self.began).as_millis() as u64 & ((1 << SHIFT) - 1);
        let before = self.state.load(Ordering::Relaxed);
        if before >> SHIFT != what as u64 {
            self.state.store((what as u64) << SHIFT | since, Ordering::Relaxed);
        }
    }

    /// The current activity, and its start.
    pub(crate) fn state(&self) -> (Activity, Instant) {
        let state = self.state.load(Ordering::Relaxed);
        let what = match state >> SHIFT {
            0 => Activity::Silent,
            1 => Activity::Idle,
            _ => Activity::Busy,
        };
        (what, self.began + std::time::Duration::from_millis(state & ((1 << SHIFT) - 1)))
    }

    /// Sets the waker by which a command wakes the connection. A task has the same waker all its life.
    pub(crate) fn set_waker(&self, waker: &Waker) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker.clone());
    }

    /// Sends a command.
    pub(crate) fn send(&self, command: Command) {
        self.commands.fetch_or(command as u8, Ordering::Release);
        if let Some(waker) = &*self.waker.lock().unwrap_or_else(PoisonError::into_inner) {
            waker.wake_by_ref();
        }
    }

    /// Takes the command; true where it was sent since the last time.
    pub(crate) fn take(&self, command: Command) -> bool {
        self.commands.load(Ordering::Acquire) & command as u8 != 0
            && self.commands.fetch_and(!(command as u8), Ordering::AcqRel) & command as u8 != 0
    }

    /// True where a command waits.
    pub(crate) fn has_commands(&self) -> bool {
        self.commands.load(Ordering::Acquire) != 0
    }
}
