//! Which of several operators writes: the holder of a Lease.
//!
//! As in other controllers, clocks of two machines are never compared: a lease has expired when its record did not change
//! for its duration by this process's own clock.

use std::time::Duration;

/// What a Lease holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRecord {
    /// The name of its holder; empty if the last one gave it up.
    pub holder: String,
    /// When the holder renewed it, as the holder wrote it.
    pub renewed: String,
    /// How often the holder changed.
    pub transitions: u32,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElectionStep {
    /// Write the lease with this process as holder and this number of transitions.
    Write {
        /// The number of transitions.
        transitions: u32,
    },
    /// Another process holds the lease.
    Wait,
}

/// The part of one process in the election.
#[derive(Clone, Debug)]
pub struct Election {
    name: String,
    duration: Duration,
    seen: Option<(LeaseRecord, Duration)>,
    renewed: Option<Duration>,
}

impl Election {
    /// A process of this name, with leases of this duration.
    pub fn new(name: &str, duration: Duration) -> Self {
        Self { name: name.to_owned(), duration, seen: None, renewed: None }
    }

    /// What follows from the lease as it is now; none if there is no lease.
    pub fn step(&mut self, lease: Option<LeaseRecord>, now: Duration) -> ElectionStep {
        let Some(lease) = lease else { return ElectionStep::Write { transitions: 0 } };
        if self.seen.as_ref().is_none_or(|(seen, _)| *seen != lease) {
            self.seen = Some((lease.clone(), now));
        }
        let since = self.seen.as_ref().map_or(now, |(_, since)| *since);
        if lease.holder == self.name {
            return ElectionStep::Write { transitions: lease.transitions };
        }
        if lease.holder.is_empty() || now.saturating_sub(since) >= self.duration {
            return ElectionStep::Write { transitions: lease.transitions + 1 };
        }
        ElectionStep::Wait
    }

    /// The lease was written; the write began at `began`.
    pub fn renewed(&mut self, began: Duration) {
        self.renewed = Some(began);
    }

    /// Another process holds the lease.
    pub fn lost(&mut self) {
        self.renewed = None;
    }

    /// Whether this process may write. It stops well before another process may take the lease.
    pub fn leads(&self, now: Duration) -> bool {
        self.renewed.is_some_and(|renewed| now.saturating_sub(renewed) < self.duration * 2 / 3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(15);

    fn held(holder: &str, renewed: &str, transitions: u32) -> Option<LeaseRecord> {
        Some(LeaseRecord { holder: holder.into(), renewed: renewed.into(), transitions })
    }

    #[test]
    fn a_lease_is_taken_when_it_did_not_change_for_its_duration() {
        let mut election = Election::new("b", LEASE);
        let at = Duration::from_secs;
        assert_eq!(election.step(held("a", "1", 0), at(100)), ElectionStep::Wait);
        assert_eq!(election.step(held("a", "2", 0), at(110)), ElectionStep::Wait);
        assert_eq!(election.step(held("a", "2", 0), at(124)), ElectionStep::Wait);
        assert_eq!(election.step(held("a", "2", 0), at(125)), ElectionStep::Write { transitions: 1 });
        assert!(!election.leads(at(125)));
        election.renewed(at(125));
        assert!(election.leads(at(134)));
        assert!(!election.leads(at(135)));
    }

    #[test]
    fn a_lease_that_is_free_or_ours_is_written_at_once() {
        let mut election = Election::new("b", LEASE);
        assert_eq!(election.step(None, LEASE), ElectionStep::Write { transitions: 0 });
        assert_eq!(election.step(held("", "1", 4), LEASE), ElectionStep::Write { transitions: 5 });
        assert_eq!(election.step(held("b", "2", 5), LEASE), ElectionStep::Write { transitions: 5 });
    }

    /// Two processes, whose requests may take long: never do both write.
    #[test]
    fn two_processes_never_lead_at_once() {
        for delay in 0..=20 {
            let at = Duration::from_secs;
            let (mut one, mut other) = (Election::new("a", LEASE), Election::new("b", LEASE));
            one.renewed(at(0));
            // The other one sees the lease when its write arrives, `delay` seconds after it began.
            assert_eq!(other.step(held("a", "1", 0), at(delay)), ElectionStep::Wait);
            let taken =
                (0..100).find(|second| other.step(held("a", "1", 0), at(*second)) != ElectionStep::Wait);
            assert!(!one.leads(at(taken.unwrap())), "{delay}");
        }
    }
}
