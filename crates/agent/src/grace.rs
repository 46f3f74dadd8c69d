//! Waits until the packet path has finished every packet that it started before.
//!
//! A program reads map entries under RCU. `membarrier(MEMBARRIER_CMD_GLOBAL)` returns after a grace period of RCU, when every
//! program that ran has returned; the kernel's own tests of BPF wait like that. Expedited, it takes less than a millisecond.

use rustix::thread::{MembarrierCommand, membarrier};
use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use workload::RcuExpediter;

/// How long a program may use map entries that were just replaced. A program runs for microseconds; the rest is a
/// margin for a CPU that the hypervisor takes away.
pub(crate) const GRACE: Duration = Duration::from_millis(20);

/// Contains 1 on a kernel that preempts programs: with one CPU, `membarrier` does not wait for them there.
const REALTIME: &str = "/sys/kernel/realtime";

/// The grace periods of the kernel.
#[derive(Debug)]
pub(crate) struct GracePeriods {
    expediter: Arc<RcuExpediter>,
    /// Whether the kernel waits for programs on request.
    is_supported: bool,
}

impl GracePeriods {
    /// Finds out whether the kernel waits for programs.
    pub(crate) fn new(expediter: Arc<RcuExpediter>) -> Self {
        let is_realtime = fs::read_to_string(REALTIME).is_ok_and(|value| value.trim() == "1");
        let mut grace_periods = Self { expediter, is_supported: !is_realtime };
        grace_periods.is_supported &= grace_periods.wait_for_programs();
        grace_periods
    }

    /// Waits until no program uses map entries that were replaced before this call. From `due` on, none does in any case.
    pub(crate) fn pass(&self, due: Instant) {
        if !(self.is_supported && self.wait_for_programs()) {
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }

    fn wait_for_programs(&self) -> bool {
        let _expedited = self.expediter.begin();
        // Refused where CPUs run without a tick (`nohz_full`).
        membarrier(MembarrierCommand::Global).is_ok()
    }

    /// What the agent does without on this host.
    pub(crate) fn note(&self) -> Option<String> {
        let note = "the kernel does not tell when programs have finished (membarrier): a change that follows another one within \
                    20 ms may wait for the rest of that time";
        (!self.is_supported).then(|| note.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grace(is_supported: bool) -> GracePeriods {
        let marker = std::env::temp_dir().join(format!("nexin-grace-{}", std::process::id()));
        GracePeriods { is_supported, ..GracePeriods::new(RcuExpediter::new(marker)) }
    }

    #[test]
    fn a_grace_period_of_the_kernel_is_not_slept_out() {
        let (grace_periods, began) = (grace(true), Instant::now());
        // Refused on a kernel with nohz_full only.
        if grace_periods.wait_for_programs() {
            (0..10).for_each(|_| grace_periods.pass(began + Duration::from_secs(60)));
            assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
        }
        assert_eq!(grace_periods.note(), None);
    }

    #[test]
    fn where_the_kernel_does_not_wait_the_time_passes_and_the_status_says_so() {
        let grace_periods = grace(false);
        let due = Instant::now() + GRACE;
        grace_periods.pass(due);
        assert!(Instant::now() >= due);
        grace_periods.pass(due);
        assert!(grace_periods.note().is_some_and(|note| note.contains("membarrier")));
    }
}
