//! The processes whose CPU time is measured.

use anyhow::{Context, Result};
use nix::time::clock_getcpuclockid;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};
use std::fs;
use std::time::Duration;

/// A running process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process(pub(crate) u32);

impl Process {
    /// The CPU time of the process, to the nanosecond; threads that ended count. Work of the kernel in interrupts counts for
    /// the thread that it interrupts.
    pub(crate) fn cpu_time(self) -> Result<Duration> {
        let ended = || format!("process {} has ended", self.0);
        let clock =
            clock_getcpuclockid(nix::unistd::Pid::from_raw(self.0.cast_signed())).with_context(ended)?;
        Ok(clock.now().with_context(ended)?.into())
    }

    /// Keeps all threads of the process on one CPU.
    pub(crate) fn stay_on(self, cpu: usize) -> Result<()> {
        let mut cpus = CpuSet::new();
        cpus.set(cpu);
        for thread in self.threads()? {
            // A thread may have ended meanwhile.
            let _ = sched_setaffinity(Pid::from_raw(thread), &cpus);
        }
        Ok(())
    }

    fn threads(self) -> Result<Vec<i32>> {
        let directory = format!("/proc/{}/task", self.0);
        let entries = fs::read_dir(&directory).with_context(|| format!("process {} has ended", self.0))?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        Ok(names.collect())
    }
}
