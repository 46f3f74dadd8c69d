//! Control groups (cgroup v2), with which all processes of a workload end together, in whatever namespaces they are.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How long killed processes may take to end.
const KILL_TIMEOUT: Duration = Duration::from_secs(2);

/// Attempts to create a group, in case another agent removes its parent in the same moment.
const CREATE_ATTEMPTS: usize = 16;

/// A control group, identified by its directory. A process starts in the group of its parent; only root can move it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    directory: PathBuf,
}

/// An open group in which commands can be started, even where its directory is no longer mounted for the calling thread.
#[derive(Debug)]
pub struct GroupEntry(File);

impl Group {
    /// The mount point of the cgroup v2 hierarchy; none where it is not mounted.
    pub fn hierarchy() -> io::Result<Option<PathBuf>> {
        Ok(cgroup2_mount_point(&fs::read_to_string("/proc/self/mountinfo")?))
    }

    /// The group of all processes of the node, by the mounts of this process or, from a container, of the node's first process;
    /// none where neither has version 2 mounted, or both see the group of a container there.
    pub fn of_node() -> Option<PathBuf> {
        let mounted =
            |of: &str| cgroup2_mount_point(&fs::read_to_string(format!("/proc/{of}/mountinfo")).ok()?);
        let of_first = || Some(Path::new("/proc/1/root").join(mounted("1")?.strip_prefix("/").ok()?));
        // Only the group at the root of the hierarchy has no type.
        let is_root =
            |group: &PathBuf| group.join("cgroup.procs").exists() && !group.join("cgroup.type").exists();
        mounted("self").filter(is_root).or_else(|| of_first().filter(is_root))
    }

    /// The group with this directory, which need not exist.
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// The directory of the group.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Creates the group and its parents; succeeds where it exists.
    pub fn create(&self) -> io::Result<()> {
        // Another agent may remove the parent in the same moment, because the parent is still empty.
        let mut made = (0..CREATE_ATTEMPTS).map(|_| fs::create_dir_all(&self.directory));
        let is_race =
            |made: &io::Result<()>| made.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        made.find(|made| !is_race(made)).unwrap_or_else(|| fs::create_dir_all(&self.directory))
    }

    /// Opens the group, so that commands can be started in it.
    pub fn open(&self) -> io::Result<GroupEntry> {
        File::options().write(true).open(self.directory.join("cgroup.procs")).map(GroupEntry)
    }

    /// The processes in the group and its children; none where the group does not exist.
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

    /// Kills all processes in the group and waits until they ended; succeeds where the group does not exist.
    pub fn kill(&self) -> io::Result<()> {
        Self::kill_all(std::slice::from_ref(self)).map_err(|(_, error)| error)
    }

    /// As [`Self::kill`] for several groups, whose processes end at the same time; an error names its group.
    pub fn kill_all(groups: &[Self]) -> Result<(), (Self, io::Error)> {
        let deadline = Instant::now() + KILL_TIMEOUT;
        let of = |group: &Self| {
            let group = group.clone();
            move |error| (group, error)
        };
        // Before Linux 5.14 there is no `cgroup.kill`: processes are killed one by one, and one may just have forked.
        let kill = |group: &Self| group.kill_at_once().map_err(of(group));
        let killed = groups.iter().map(kill).collect::<Result<Vec<bool>, _>>()?;
        for (group, mut is_killed) in groups.iter().zip(killed) {
            while !group.processes().map_err(of(group))?.is_empty() {
                if Instant::now() > deadline {
                    let late = io::Error::new(io::ErrorKind::TimedOut, "killed processes have not ended yet");
                    return Err((group.clone(), late));
                }
                std::thread::sleep(Duration::from_millis(1));
                is_killed = is_killed || kill(group)?;
            }
        }
        Ok(())
    }

    /// Removes the group and its children, which must have no processes; succeeds where the group does not exist.
    pub fn remove(&self) -> io::Result<()> {
        let mut directories = self.directories()?;
        directories.reverse();
        directories.iter().try_for_each(|directory| ignore_missing(fs::remove_dir(directory)).map(drop))
    }

    /// Kills the processes once; returns true where the kernel does that by `cgroup.kill`, which covers concurrent forks.
    fn kill_at_once(&self) -> io::Result<bool> {
        match File::options().write(true).open(self.directory.join("cgroup.kill")) {
            Ok(mut file) => file.write_all(b"1").map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                for process in self.processes()? {
                    let process = rustix::process::Pid::from_raw(process.cast_signed());
                    if let Some(process) = process {
                        // An error means that the process has ended.
                        let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
                    }
                }
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// The directories of the group and its children, parents first; none where the group does not exist.
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
    /// Lets a command start in the group.
    #[expect(unsafe_code, reason = "code between fork and exec is unsafe in general, and one write is safe")]
    pub fn enter_on_start(self, command: &mut Command) {
        let join = move || {
            rustix::io::write(&self.0, b"0")?;
            Ok(())
        };
        // SAFETY: the closure makes one system call on a descriptor that it owns, and does not allocate.
        unsafe { command.pre_exec(join) };
    }
}

/// Turns the error that a file does not exist into none.
fn ignore_missing<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound || is_gone(&error) => Ok(None),
        result => result.map(Some),
    }
}

/// True for the error of reading a file of a group that was removed after the file was opened.
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

/// Resolves the octal escapes of white space and backslashes in a path of `mountinfo`.
pub(crate) fn unescaped(path: &str) -> String {
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
    fn a_group_that_does_not_exist_can_be_killed_and_removed() {
        let group = Group::at("/no/such/group");
        assert_eq!(group.processes().unwrap(), Vec::<u32>::new());
        group.kill().unwrap();
        group.remove().unwrap();
        group.open().unwrap_err();
    }
}
