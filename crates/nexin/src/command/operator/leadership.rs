//! Whether this process may write, and what the next leader must know.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What the leader shares with its work.
#[derive(Debug, Default)]
pub(super) struct Leadership {
    /// The number that is tried first for a new identity; 0 while it is unknown.
    pub(super) next_identity: AtomicU32,
    /// When this process must stop to write, in milliseconds since `begin`.
    until: AtomicU64,
}

impl Leadership {
    /// Lets this process write until then, in time since `begin`.
    pub(super) fn lasts(&self, until: Duration) {
        self.until.store(u64::try_from(until.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Whether this process may write.
    pub(super) fn leads(&self, begin: Instant) -> bool {
        begin.elapsed().as_millis() < u128::from(self.until.load(Ordering::Relaxed))
    }
}
