//! File descriptors: how many the process may have, and how many of them are for clients.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::os::fd::{AsRawFd, BorrowedFd};

/// Descriptors besides clients: maps, two links for each workload, files.
const OTHERS: u64 = 128;
/// Maximum number of clients; each has a thread.
const MAX_CLIENTS: u64 = 4096;

/// Raises the soft limit of descriptors to the hard limit; returns the limit, if there is one.
pub(crate) fn raise() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return maximum;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files cannot be raised");
            current
        }
    }
}

/// Maximum number of connected clients with this limit of descriptors. Clients alone never take all descriptors.
pub(crate) fn clients(limit: Option<u64>) -> usize {
    let limit = limit.unwrap_or(u64::MAX);
    let room = limit.saturating_sub(OTHERS).max(limit / 2).min(limit.saturating_sub(limit / 4));
    usize::try_from(room.clamp(1, MAX_CLIENTS)).expect("a small number")
}

/// Whether only the descriptors are left that the agent needs to read files and to start the proxy.
///
/// The kernel assigns the lowest free number, so the number of the newest descriptor tells how many are open.
pub(crate) fn are_scarce(newest: BorrowedFd<'_>) -> bool {
    let Rlimit { current, .. } = getrlimit(Resource::Nofile);
    current.is_some_and(|limit| is_reserved(newest.as_raw_fd().unsigned_abs().into(), limit))
}

fn is_reserved(number: u64, limit: u64) -> bool {
    /// Descriptors for reading a directory, creating a workload and starting the proxy.
    const OWN: u64 = 32;
    number + OWN.min(limit / 4) >= limit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_descriptors_are_reserved() {
        for (number, limit, reserved) in
            [(991, 1024, false), (992, 1024, true), (47, 64, false), (48, 64, true), (1, 1, true)]
        {
            assert_eq!(is_reserved(number, limit), reserved, "{number} of {limit}");
        }
    }

    #[test]
    fn clients_leave_descriptors_for_the_agent() {
        for (limit, most) in [
            (Some(20_000), 4096),
            (Some(1024), 768),
            (Some(400), 272),
            (Some(100), 50),
            (Some(1), 1),
            (None, 4096),
        ] {
            assert_eq!(clients(limit), most, "{limit:?}");
        }
    }
}
