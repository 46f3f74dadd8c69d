//! Removes everything that a demo created, also a demo that crashed.
//!
//! Everything is found by its place: namespaces by the prefix of their names, processes by their namespace, maps and
//! links by their pin directory. So no record is needed.

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::time::{Duration, Instant};
use workload::NodeNamespace;

/// Time until a killed process must be gone.
const PATIENCE: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

/// Time until the kernel must have freed a map.
const FREEING: Duration = Duration::from_secs(2);

/// Kills all processes in network namespaces with this prefix, and deletes the namespaces.
pub(super) fn namespaces(prefix: &str) -> anyhow::Result<()> {
    let swept = workload::sweep(&mut NodeNamespace::current()?, prefix)?;
    swept.processes.into_iter().try_for_each(await_end)
}

/// Waits until unused maps are gone: the kernel frees them asynchronously.
pub(super) fn await_maps(maps: &[u32]) -> anyhow::Result<()> {
    let until = Instant::now() + FREEING;
    while loader::inspect::maps()?.iter().any(|map| maps.contains(&map.id)) {
        anyhow::ensure!(Instant::now() < until, "another process still uses maps of the demo");
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Waits until a killed process is gone: until then its files stay open.
fn await_end(process: u32) -> anyhow::Result<()> {
    let Some(pid) = i32::try_from(process).ok().and_then(Pid::from_raw) else { return Ok(()) };
    let descriptor = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(()),
        opened => opened.with_context(|| format!("cannot watch process {process}"))?,
    };
    let ended = poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&PATIENCE))?;
    anyhow::ensure!(ended > 0, "process {process} was killed and still exists");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_process_is_waited_for_and_a_missing_process_is_not() {
        let mut child = Command::new("true").spawn().unwrap();
        await_end(child.id()).unwrap();
        child.wait().unwrap();
        await_end(child.id()).unwrap();
    }
}
