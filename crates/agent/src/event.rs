//! The events that the agent's thread takes from its queue, one after another.

use api::{ApiRequest, Failure};
use serde_json::Value;
use std::sync::mpsc::SyncSender;

/// One entry of the agent's queue.
#[derive(Debug)]
pub(crate) enum Event {
    /// A client sent a request.
    Request(PendingRequest),
    /// The source with this index has new changes.
    Changed(usize),
    /// A signal stops the agent.
    Stop,
}

/// A request that waits for its answer.
#[derive(Debug)]
pub(crate) struct PendingRequest {
    /// The request.
    pub request: ApiRequest,
    /// The channel of the answer.
    pub reply: SyncSender<Result<Value, Failure>>,
}

impl PendingRequest {
    /// Whether the request removes a workload.
    pub(crate) fn is_removal(&self) -> bool {
        matches!(self.request, ApiRequest::RemoveWorkload { .. })
    }
}
