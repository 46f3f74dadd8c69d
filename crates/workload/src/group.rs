//! Groups of processes that end together, whichever namespaces they moved to: control groups, version 2.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How long killed processes may take to be gone.
const KILL_TIMEOUT: Duration = Duration::from_secs(2);

/// How often making a group may lose against another's removal of the one around it.
const CREATE_ATTEMPTS: usize = 16;

/// A group, by its directory. A process is born into the group of its parent; only root can move it to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    directory: PathBuf,
}

/// A group that commands can be started in, also after the calling thread's mounts changed.
#[derive(Debug)]
pub struct GroupEntry(File);

impl Group {
    /// Where the hierarchy of groups is mounted; none where it is not.
    pub fn hierarchy() -> io::Result<Option<PathBuf>> {
        Ok(cgroup2_mount_point(&fs::read_to_string("/proc/self/mountinfo")?))
    }

    /// The group with this directory, whether it is there or not.
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Makes the group, and those around it; that it is there is fine.
    pub fn create(&self) -> io::Result<()> {
        // The one around it may be removed by another agent at the same moment, since it is empty still.
        let mut made = (0..CREATE_ATTEMPTS).map(|_| fs::create_dir_all(&self.directory));
        let is_race =
            |made: &io::Result<()>| made.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        made.find(|made| !is_race(made)).unwrap_or_else(|| fs::create_dir_all(&self.directory))
    }

    /// Opens the group for commands to be started in.
    pub fn open(&self) -> io::Result<GroupEntry> {
        File::options().write(true).open(self.directory.join("cgroup.procs")).map(GroupEntry)
    }

    /// The processes in it and in the groups inside; none where it is gone.
    pub fn processes(&self) -> io::Result<Vec<u32>> {
        let mut processes = Vec::new();
        for directory in self.directories()? {
            let Some(text) = ignore_missing(fs::read_to_string(directory.join("cgroup.procs")))? else {
                continue;
            };
            processes.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
        }
        Ok(processes)
    }

    /// Kills everything in it, and waits until it is gone; that there is no such group is fine.
    pub fn kill(&self) -> io::Result<()> {
        let deadline = Instant::now() + KILL_TIMEOUT;
        let mut killed = self.kill_at_once()?;
        while !self.processes()?.is_empty() {
            if Instant::now() > deadline {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "killed processes are there still"));
            }
            std::thread::sleep(Duration::from_millis(1));
            // Before Linux 5.14 processes are killed one by one, and one of them may just have started another.
            killed = killed || self.kill_at_once()?;
        }
        Ok(())
    }

    /// Removes the group and those inside, which must be empty; that there is none is fine.
    pub fn remove(&self) -> io::Result<()> {
        let mut directories = self.directories()?;
        directories.reverse();
        directories.iter().try_for_each(|directory| ignore_missing(fs::remove_dir(directory)).map(drop))
    }

    /// Whether the kernel took it upon itself to kill all, those that are being born included.
    fn kill_at_once(&self) -> io::Result<bool> {
        match File::options().write(true).open(self.directory.join("cgroup.kill")) {
            Ok(mut file) => file.write_all(b"1").map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                for process in self.processes()? {
                    let process = rustix::process::Pid::from_raw(process.cast_signed());
                    if let Some(process) = process {
                        // One that ended meanwhile is as good as killed.
                        let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
                    }
                }
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Its directory and those inside, outer ones first; none where it is gone.
    fn directories(&self) -> io::Result<Vec<PathBuf>> {
        let mut found = vec![self.directory.clone()];
        let mut next = 0;
        while let Some(directory) = found.get(next).cloned() {
            match ignore_missing(fs::read_dir(&directory))? {
                None => drop(found.remove(next)),
                Some(entries) => {
                    for entry in entries {
                        let entry = entry?;
                        if entry.file_type()?.is_dir() {
                            found.push(entry.path());
                        }
                    }
                    next += 1;
                }
            }
        }
        Ok(found)
    }
}

impl GroupEntry {
    /// Has a command started in the group.
    #[expect(
        unsafe_code,
        reason = "what runs between fork and exec is unsafe to choose, and one write is safe there"
    )]
    pub fn enter_on_start(self, command: &mut Command) {
        let join = move || {
            rustix::io::write(&self.0, b"0")?;
            Ok(())
        };
        // SAFETY: the closure makes one system call on a descriptor that it owns, and does not allocate.
        unsafe { command.pre_exec(join) };
    }
}

/// What is there; that it is gone is no error.
fn ignore_missing<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound || is_gone(&error) => Ok(None),
        result => result.map(Some),
    }
}

/// What reading a group's file says whose group was removed meanwhile.
fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
}

/// The first mount point of the hierarchy in the text of a `mountinfo` (proc_pid_mountinfo(5)).
fn cgroup2_mount_point(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(3);
        let (root, at) = (fields.next()?, fields.next()?);
        (after.starts_with("cgroup2 ") && root == "/").then(|| PathBuf::from(unescaped(at)))
    })
}

/// Blanks in paths are written in octal.
fn unescaped(path: &str) -> String {
    path.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hierarchy_is_found_where_it_is_mounted() {
        let check = |mounts: &str, expected: Option<&str>| {
            assert_eq!(cgroup2_mount_point(mounts), expected.map(PathBuf::from), "{mounts}");
        };
        let first = "30 29 0:25 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";
        check(first, None);
        check(
            "31 29 0:26 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 none rw\n",
            Some("/sys/fs/cgroup/unified"),
        );
        check(&format!("{first}31 29 0:26 / /a\\040b rw - cgroup2 none rw"), Some("/a b"));
        check("31 29 0:26 /inner /sys/fs/cgroup rw - cgroup2 none rw", None);
    }

    #[test]
    fn a_group_that_is_not_there_has_no_processes_and_is_killed_and_removed_already() {
        let group = Group::at("/no/such/group");
        assert_eq!(group.processes().unwrap(), Vec::<u32>::new());
        group.kill().unwrap();
        group.remove().unwrap();
        group.open().unwrap_err();
    }
}
