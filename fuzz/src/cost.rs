//! A limit on the processor time for one input.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Limit on the processor time for one input; inputs have a few thousand bytes.
const LIMIT: Duration = Duration::from_secs(2);

/// Runs a check of one input.
///
/// # Panics
/// The check takes more processor time than the limit. Waiting for the processor does not count.
pub fn bounded<T>(check: impl FnOnce() -> T) -> T {
    let before = processor_time();
    let result = check();
    let taken = processor_time().saturating_sub(before);
    assert!(taken <= LIMIT, "one input took {taken:?} of processor time");
    result
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
