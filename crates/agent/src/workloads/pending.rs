//! What waits: workloads that are being created, and clients that wait for a removal.

use crate::answer::Answer;
use crate::queue::Reply;
use crate::state::WorkloadRecord;

/// A workload that is being created, and the client that waits for it.
#[derive(Debug)]
pub(crate) struct Creation {
    pub(crate) workload: WorkloadRecord,
    pub(crate) reply: Reply,
}

/// A client that waits for the removal of a workload.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) reply: Reply,
    /// The answer once the workload is removed. The client of a failed creation gets its failure in any case.
    pub(crate) answer: Answer,
}
