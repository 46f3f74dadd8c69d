//! How long to wait before the next attempt: exponential, jittered, and not sooner than the server asks for.

use std::time::Duration;

/// The first wait, and the longest one.
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);
/// A server does not decide on more than this.
const LONGEST_ASKED: Duration = Duration::from_secs(120);

/// The attempts that failed in succession.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The wait after a failed attempt: between half of the exponential wait and the whole, and at least as long as the server asks
    /// for, plus a fifth at most, so that nodes which were refused together do not return together.
    pub(crate) fn next(&mut self, asked: Option<Duration>, random: u32) -> Duration {
        let whole = FIRST.saturating_mul(1 << self.attempts.min(16)).min(LONGEST);
        self.attempts = self.attempts.saturating_add(1);
        let part = f64::from(random) / f64::from(u32::MAX);
        let wait = whole.mul_f64(0.5 + part / 2.0);
        let asked = asked.unwrap_or_default().min(LONGEST_ASKED);
        wait.max(asked.mul_f64(1.0 + part / 5.0))
    }

    /// The number of failed attempts in succession.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// An attempt succeeded.
    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_are_spread() {
        let waits = |random| {
            let mut backoff = Backoff::default();
            (0..8).map(|_| backoff.next(None, random).as_millis()).collect::<Vec<_>>()
        };
        assert_eq!(waits(0), [250, 500, 1000, 2000, 4000, 8000, 15000, 15000]);
        assert_eq!(waits(u32::MAX), [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
    }

    #[test]
    fn a_server_may_ask_for_more_but_not_for_ever() {
        let seconds =
            |asked, random| Backoff::default().next(Some(Duration::from_secs(asked)), random).as_secs_f64();
        assert_eq!(seconds(10, 0), 10.0);
        assert_eq!(seconds(10, u32::MAX), 12.0);
        assert_eq!(seconds(100_000, 0), 120.0);
        assert_eq!(seconds(0, 0), 0.25);
    }
}
