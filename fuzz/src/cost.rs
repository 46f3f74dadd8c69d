//! A bound on the time that one input may take.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Processor time that one input may take; an input has at most a few thousand bytes.
const LIMIT: Duration = Duration::from_secs(2);

/// Runs a check of one input.
///
/// # Panics
/// Where it takes more processor time than any input may, however busy the machine is.
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
