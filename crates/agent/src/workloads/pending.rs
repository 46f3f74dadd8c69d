//! What waits: workloads that are being created, and clients that wait for a removal.

use crate::answer::Answer;
use crate::queue::Reply;
use crate::state::WorkloadRecord;
use crate::step_times::StepTimes;
use api::{AttachmentSpec, Failure};
use serde_json::Value;

/// A workload that is being created, and the clients that wait for it.
#[derive(Debug)]
pub(crate) struct Creation {
    pub(crate) workload: WorkloadRecord,
    /// The steps that have ended.
    pub(crate) times: StepTimes,
    pub(crate) replies: Vec<Reply>,
}

/// An attachment that waits until another workload is removed.
#[derive(Debug)]
pub(crate) struct Parked {
    /// The number of the other workload.
    pub(crate) behind: u32,
    pub(crate) spec: AttachmentSpec,
    pub(crate) times: StepTimes,
    pub(crate) reply: Reply,
}

/// What waits for the removal of a workload.
#[derive(Debug)]
pub(crate) struct Waiter {
    /// The client; none where the agent itself removes the workload.
    reply: Option<Reply>,
    /// The answer once the workload is removed. The client of a failed creation gets its failure in any case.
    answer: Answer,
}

impl Waiter {
    /// A client that gets this answer.
    pub(crate) fn new(reply: Reply, answer: Answer) -> Self {
        Self { reply: Some(reply), answer }
    }

    /// No client.
    pub(crate) fn nothing() -> Self {
        Self { reply: None, answer: Ok(Value::Null) }
    }

    /// The workload is removed.
    pub(crate) fn answer(self) {
        self.reply.into_iter().for_each(|reply| reply.send(self.answer.clone()));
    }

    /// The workload cannot be removed.
    pub(crate) fn fail(self, failure: &Failure) {
        let answer = self.answer.and_then(|_| Err(failure.clone()));
        self.reply.into_iter().for_each(|reply| reply.send(answer.clone()));
    }
}
