//! Removes everything that a demo made, this one or one that crashed.
//!
//! All of it is found by where it is: namespaces by their mounts, processes by the namespace they are in, maps and
//! links by the directory they are pinned under. So nothing has to be remembered to be removed.

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Ends all processes in the network namespaces that are mounted at these paths, then removes the namespaces.
pub(super) fn namespaces(paths: &[PathBuf]) -> anyhow::Result<()> {
    let inodes: BTreeSet<u64> =
        paths.iter().filter_map(|path| Some(fs::metadata(path).ok()?.ino())).collect();
    // A process may start another while they are being ended; it is in the same namespace, and found the next time.
    while end_processes(&inodes)? > 0 {}
    paths.iter().try_for_each(|path| unmount(path))
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

/// The network namespaces that are mounted at names with this beginning.
pub(super) fn mounted(beginning: &str) -> anyhow::Result<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("cannot read the table of mounts")?;
    Ok(namespaces_in(&table, beginning))
}

fn namespaces_in(table: &str, beginning: &str) -> Vec<PathBuf> {
    let mount = |line: &str| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let path = mount.split(' ').nth(4)?;
        (filesystem.starts_with("nsfs ") && path.starts_with(beginning)).then(|| PathBuf::from(path))
    };
    let paths: BTreeSet<PathBuf> = table.lines().filter_map(mount).collect();
    paths.into_iter().collect()
}

fn end_processes(namespaces: &BTreeSet<u64>) -> anyhow::Result<usize> {
    let mut ended = 0;
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let is_in =
            || fs::metadata(entry.path().join("ns/net")).is_ok_and(|net| namespaces.contains(&net.ino()));
        if let (Some(pid), true) = (Pid::from_raw(number), is_in()) {
            ended += usize::from(end(pid, is_in)?);
        }
    }
    Ok(ended)
}

/// Kills a process and waits until it is gone; `still` tells that it is the one that was meant.
fn end(pid: Pid, still: impl Fn() -> bool) -> anyhow::Result<bool> {
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(false),
        opened => opened.with_context(|| format!("cannot watch process {}", pid.as_raw_nonzero()))?,
    };
    if !still() {
        return Ok(false);
    }
    match pidfd_send_signal(&process, Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(error) => {
            return Err(error).with_context(|| format!("cannot end process {}", pid.as_raw_nonzero()));
        }
    }
    let patience = Timespec { tv_sec: 2, tv_nsec: 0 };
    let ready = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&patience))?;
    anyhow::ensure!(ready > 0, "process {} does not end", pid.as_raw_nonzero());
    Ok(true)
}

fn unmount(path: &Path) -> anyhow::Result<()> {
    let told = || format!("cannot remove the network namespace {}", path.display());
    match rustix::mount::unmount(path, UnmountFlags::DETACH) {
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
        Err(error) => return Err(error).with_context(told),
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).with_context(told),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_namespaces_are_found_in_the_table_of_mounts() {
        let table = "\
            25 1 0:23 / /run rw,nosuid shared:5 - tmpfs tmpfs rw\n\
            90 25 0:4 net:[4026532001] /run/netns/nexin-demo rw shared:9 - nsfs nsfs rw\n\
            91 25 0:4 net:[4026532002] /run/netns/nexin-demo-1 rw shared:9 - nsfs nsfs rw\n\
            91 25 0:4 net:[4026532002] /run/netns/nexin-demo-1 rw - nsfs nsfs rw\n\
            92 25 0:4 net:[4026532003] /run/netns/other rw - nsfs nsfs rw\n\
            93 25 0:4 / /run/netns/nexin-demo-x rw - tmpfs tmpfs rw\n";
        let found = namespaces_in(table, "/run/netns/nexin-demo");
        assert_eq!(found, [Path::new("/run/netns/nexin-demo"), Path::new("/run/netns/nexin-demo-1")]);
    }

    #[test]
    fn a_directory_that_is_not_there_is_removed_already() {
        directory(Path::new("/nonexistent/nexin-demo")).unwrap();
    }
}
