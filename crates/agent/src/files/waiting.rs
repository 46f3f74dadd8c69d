//! When and why a file is read again without a report.

use super::reading::{Fingerprint, FoundFile, Reading};
use std::time::{Duration, Instant};

/// How long a file must stay unchanged if the kernel cannot tell whether it is open for writing.
const SETTLED: Duration = Duration::from_secs(1);
/// Delay before a change is checked that inotify may not report.
pub(super) const SOON: Duration = Duration::from_millis(100);
/// Delay before a change is checked that inotify should report.
const LATER: Duration = Duration::from_secs(1);
/// How soon files that the kernel or the disk refused are read again.
pub(super) const RETRY: Duration = Duration::from_secs(2);

/// A file to look at again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) since: Instant,
    pub(super) again: Instant,
    pub(super) reason: WaitReason,
}

/// Why a file is looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaitReason {
    /// Its name is missing.
    Missing,
    /// It is open for writing.
    Written,
    /// The kernel cannot tell whether it is open for writing, and it had this fingerprint.
    Settling(Fingerprint),
    /// It could not be read or applied.
    Failed,
}

impl Waiting {
    /// When and why a file that was just read must be read again; `before` is why it was read.
    pub(super) fn of(file: &FoundFile, before: Option<Waiting>) -> Option<Waiting> {
        let now = Instant::now();
        let settling = file.fingerprint.filter(|_| file.is_unproven).map(WaitReason::Settling);
        if let Some(reason) = settling {
            let same = before.filter(|before| before.reason == reason);
            let since = same.map_or(now, |before| before.since);
            if since.elapsed() < SETTLED {
                return Some(Waiting { since, again: now + SOON, reason });
            }
        }
        let (reason, delay) = match &file.reading {
            Reading::Unfinished if file.is_silent => (WaitReason::Written, SOON),
            Reading::Unfinished => (WaitReason::Written, LATER),
            Reading::Unreadable(_) if file.is_temporary => (WaitReason::Failed, RETRY),
            _ => return None,
        };
        Some(Waiting { since: now, again: now + delay, reason })
    }
}
