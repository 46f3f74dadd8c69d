//! What the watches reported and the agent has not taken yet.

use kubernetes::ClusterEvent;
use std::sync::{Arc, Mutex, PoisonError};

/// Events in order; all clones are one. The watches' thread puts, the agent's thread takes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inbox(Arc<Mutex<Vec<ClusterEvent>>>);

impl Inbox {
    pub(crate) fn put(&self, event: ClusterEvent) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }

    pub(crate) fn take(&self) -> Vec<ClusterEvent> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
