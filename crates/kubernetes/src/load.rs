//! What this process asks of the API server, counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters; all clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Load(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    lists: AtomicU64,
    watches: AtomicU64,
    writes: AtomicU64,
    received: AtomicU64,
}

/// What a process asked of the API server since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerLoad {
    /// Pages of lists that it read.
    pub lists: u64,
    /// Watches that it opened.
    pub watches: u64,
    /// Writes.
    pub writes: u64,
    /// Bytes of answers.
    pub received: u64,
}

impl Load {
    pub(crate) fn list(&self) {
        self.0.lists.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn watch(&self) {
        self.0.watches.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn write(&self) {
        self.0.writes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.0.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> ServerLoad {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters { lists, watches, writes, received } = &*self.0;
        ServerLoad {
            lists: read(lists),
            watches: read(watches),
            writes: read(writes),
            received: read(received),
        }
    }
}
