//! Notifies the agent's thread that a source has changes.

use crate::queue::Queue;

/// Notifies the agent that a source has changes.
#[derive(Clone, Debug)]
pub(crate) struct Notifier {
    queue: Queue,
    source: usize,
}

impl Notifier {
    /// A notifier of the source with this index.
    pub(crate) fn new(queue: Queue, source: usize) -> Self {
        Self { queue, source }
    }

    /// Puts the source into the agent's queue, unless it waits there already.
    pub(crate) fn notify(&self) {
        self.queue.notify(self.source);
    }
}
