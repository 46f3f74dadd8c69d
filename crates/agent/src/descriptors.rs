//! How many files, sockets and maps the process may have open at once, and how many of them are for clients.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::os::fd::{AsRawFd, BorrowedFd};

/// What the agent needs besides clients: maps, links of two hooks for each workload, files that it reads and writes.
const OTHERS: u64 = 128;
/// More clients than anyone has; each has a thread.
const MOST_CLIENTS: u64 = 4096;

/// Takes as many descriptors as the process may have; returns how many that is, where there is a limit.
pub(crate) fn raise() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return maximum;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files stays as it is");
            current
        }
    }
}

/// How many clients may be connected at once where the process may have so many descriptors: at most half of them, so
/// that clients alone never leave the agent without.
pub(crate) fn clients(limit: Option<u64>) -> usize {
    let limit = limit.unwrap_or(u64::MAX);
    let room = limit.saturating_sub(OTHERS).max(limit / 2).min(limit.saturating_sub(limit / 4));
    usize::try_from(room.clamp(1, MOST_CLIENTS)).expect("a small number")
}

/// Whether so many descriptors are in use that the rest is the agent's own, to read files and to start the proxy.
///
/// The kernel gives the lowest number that is free, so that of the newest one tells how many there are.
pub(crate) fn are_scarce(newest: BorrowedFd<'_>) -> bool {
    let Rlimit { current, .. } = getrlimit(Resource::Nofile);
    current.is_some_and(|limit| is_among_the_last(newest.as_raw_fd().unsigned_abs().into(), limit))
}

fn is_among_the_last(number: u64, limit: u64) -> bool {
    /// What reading a directory, making a workload and starting the proxy take.
    const OWN: u64 = 32;
    number + OWN.min(limit / 4) >= limit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_descriptors_are_no_clients() {
        for (number, limit, is_last) in
            [(991, 1024, false), (992, 1024, true), (47, 64, false), (48, 64, true), (1, 1, true)]
        {
            assert_eq!(is_among_the_last(number, limit), is_last, "{number} of {limit}");
        }
    }

    #[test]
    fn clients_leave_descriptors_for_the_rest() {
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
