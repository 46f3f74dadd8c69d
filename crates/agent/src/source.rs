//! Sources of changes: what changes the node's desired state without a request of a client.
//!
//! A source has a file of its own and a line in `agent.rs`. It hands its changes to the [`Reconciler`], as the API does.

use crate::reconciler::Reconciler;
use kubernetes::ServerLoad;
use std::fmt;
use std::time::Instant;

/// A source of changes. All calls are made on the agent's thread.
///
/// A source that waits for changes has a thread of its own; the thread calls [`Notifier::notify`](crate::notifier::Notifier::notify), and the agent then
/// calls [`ChangeSource::deliver`].
pub(crate) trait ChangeSource: fmt::Debug {
    /// Reads the present state and hands what changed to the reconciler. Failures go to [`Reconciler::problems`].
    fn deliver(&mut self, reconciler: &mut Reconciler);

    /// When [`ChangeSource::deliver`] must be called though the source does not notify the agent.
    fn due(&self) -> Option<Instant> {
        None
    }

    /// Delivers changes that the source cannot be notified of. Called at every tick of the agent.
    fn poll(&mut self, _reconciler: &mut Reconciler) {}

    /// Passes on what the last turn changed, to where the source takes its changes from. Called after each turn of the agent.
    fn report(&mut self, _reconciler: &Reconciler) {}

    /// Errors of the source itself, for the status.
    fn problems(&self) -> Vec<String> {
        Vec::new()
    }

    /// Why no workload can be attached before the source has delivered, one sentence each; a runtime tries again later.
    fn unready(&self) -> Vec<String> {
        Vec::new()
    }

    /// What the source requested from the API server since the start of the agent.
    fn server_load(&self) -> Option<ServerLoad> {
        None
    }

    /// What the source does without on this host, for the status.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
}
