//! Removes everything that a demo made, this one or one that crashed.
//!
//! All of it is found by where it is: namespaces by the beginning of their names, processes by the namespace they are
//! in, maps and links by the directory they are pinned under. So nothing has to be remembered to be removed.

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};
use workload::Node;

/// How long a killed process may take to be gone.
const PATIENCE: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

/// How long the kernel may take to free a map.
const FREEING: Duration = Duration::from_secs(2);

/// Ends everything in the network namespaces whose names begin so, and removes these.
pub(super) fn namespaces(prefix: &str) -> anyhow::Result<()> {
    let swept = workload::sweep(&mut Node::current()?, prefix)?;
    swept.processes.into_iter().try_for_each(await_end)
}

/// Removes a directory with all that is in it, if it is there.
pub(super) fn directory(path: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Waits until maps that nobody holds any more are gone: the kernel frees them a little later.
pub(super) fn await_maps(maps: &[u32]) -> anyhow::Result<()> {
    let until = Instant::now() + FREEING;
    while loader::inspect::maps()?.iter().any(|map| maps.contains(&map.id)) {
        anyhow::ensure!(Instant::now() < until, "someone else still holds maps of the demo");
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Waits until a process that was killed is gone: until then it holds what it had open.
fn await_end(process: u32) -> anyhow::Result<()> {
    let Some(pid) = i32::try_from(process).ok().and_then(Pid::from_raw) else { return Ok(()) };
    let descriptor = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(()),
        opened => opened.with_context(|| format!("cannot watch process {process}"))?,
    };
    let ended = poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&PATIENCE))?;
    anyhow::ensure!(ended > 0, "process {process} was killed, and is there still");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_directory_that_is_not_there_is_removed_already() {
        directory(Path::new("/nonexistent/nexin-demo")).unwrap();
    }

    #[test]
    fn a_process_is_waited_for_and_one_that_is_gone_is_not() {
        let mut child = Command::new("true").spawn().unwrap();
        await_end(child.id()).unwrap();
        child.wait().unwrap();
        await_end(child.id()).unwrap();
    }
}
