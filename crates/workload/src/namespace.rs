//! Network namespaces: create, name, enter, delete.

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountPropagationFlags, UnmountFlags};
use rustix::process::{Pid, Signal};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};
use std::collections::BTreeSet;
use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The directory of named namespaces, shared with `ip netns`.
pub(crate) const DIRECTORY: &str = "/run/netns";
/// The file system type of namespace files (`NSFS_MAGIC`).
const NAMESPACES: i64 = 0x6e73_6673;
/// The calling thread's namespace.
const OWN: &str = "/proc/thread-self/ns/net";

/// An open network namespace; it exists at least as long as this value.
#[derive(Debug)]
pub struct NetworkNamespace {
    descriptor: OwnedFd,
}

/// Why a namespace could not be used.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// The name cannot be a file name.
    #[error("{0:?} is no name of a namespace: a name has 1 to 255 bytes without '/', and not '.' or '..'")]
    Name(String),
    /// A namespace with this name exists.
    #[error("the network namespace {0} exists already")]
    Exists(String),
    /// No namespace has this name.
    #[error("there is no network namespace {0}")]
    Missing(String),
    /// A system call failed.
    #[error("network namespace: {what}: {source}; root (CAP_SYS_ADMIN) is needed")]
    Kernel {
        /// The operation.
        what: &'static str,
        /// The error.
        source: io::Error,
    },
}

impl NetworkNamespace {
    /// Creates a namespace whose only interface is a loopback that is down. It ends with its last user.
    pub fn anonymous() -> Result<Self, NamespaceError> {
        let made = std::thread::scope(|scope| {
            scope.spawn(|| unshare(UnshareFlags::NEWNET).and_then(|()| open(Path::new(OWN)))).join()
        });
        let made = made.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        made.map(|descriptor| Self { descriptor }).map_err(kernel("making one"))
    }

    /// Creates a namespace that exists until [`Self::delete`] and is visible to `ip netns`.
    pub fn create(name: &str) -> Result<Self, NamespaceError> {
        let path = path(name)?;
        share_directory().map_err(kernel("sharing /run/netns"))?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        match rustix::fs::open(&path, flags, Mode::empty()) {
            Err(rustix::io::Errno::EXIST) => return Err(NamespaceError::Exists(name.to_owned())),
            opened => drop(opened.map_err(|error| kernel("naming it")(error.into()))?),
        }
        let bound = Self::anonymous().and_then(|namespace| {
            let own = format!("/proc/self/fd/{}", namespace.descriptor.as_raw_fd());
            rustix::mount::mount_bind(own, &path).map_err(|error| kernel("naming it")(error.into()))?;
            Ok(namespace)
        });
        if bound.is_err() {
            // The caller needs the error of the bind mount, not an error of this cleanup.
            let _ = std::fs::remove_file(&path);
        }
        bound
    }

    /// Opens a named namespace, or the namespace at an absolute path.
    pub fn open(name: &str) -> Result<Self, NamespaceError> {
        let found = if name.starts_with('/') { Self::at(Path::new(name))? } else { Self::find(name)? };
        found.ok_or_else(|| NamespaceError::Missing(name.to_owned()))
    }

    /// Opens a named namespace; none where it does not exist, or where a crash left only its name.
    pub fn find(name: &str) -> Result<Option<Self>, NamespaceError> {
        Self::at(&path(name)?)
    }

    /// Opens the namespace that is mounted at a path, or that a path in `/proc` leads to; none where there is none.
    pub fn at(path: &Path) -> Result<Option<Self>, NamespaceError> {
        let descriptor = match open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(kernel("opening it"))?,
        };
        let on = rustix::fs::fstatfs(&descriptor).map_err(|error| kernel("opening it")(error.into()))?;
        Ok((on.f_type as i64 == NAMESPACES).then_some(Self { descriptor }))
    }

    /// Whether the name is in use, also where a crash left only the name.
    pub fn is_taken(name: &str) -> Result<bool, NamespaceError> {
        path(name)?.try_exists().map_err(kernel("looking for its name"))
    }

    /// Another descriptor of the same namespace.
    pub fn duplicate(&self) -> Result<Self, NamespaceError> {
        let descriptor = self.descriptor.try_clone().map_err(kernel("opening it"))?;
        Ok(Self { descriptor })
    }

    /// The namespace of the calling thread.
    pub fn current() -> Result<Self, NamespaceError> {
        open(Path::new(OWN)).map(|descriptor| Self { descriptor }).map_err(kernel("opening one's own"))
    }

    /// The namespace of a process.
    pub fn of_process(process: u32) -> Result<Self, NamespaceError> {
        let path = PathBuf::from(format!("/proc/{process}/ns/net"));
        open(&path).map(|descriptor| Self { descriptor }).map_err(kernel("opening a process's"))
    }

    /// Removes the name; succeeds where it does not exist. The namespace itself ends with its last user.
    pub fn delete(name: &str) -> Result<(), NamespaceError> {
        let path = path(name)?;
        // The name that a crash left may have no mount.
        let _ = rustix::mount::unmount(&path, UnmountFlags::DETACH);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(kernel("removing its name")(error)),
            _ => Ok(()),
        }
    }

    /// The names in use, sorted.
    pub fn names() -> Result<Vec<String>, NamespaceError> {
        let entries = match std::fs::read_dir(DIRECTORY) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(kernel("listing names"))?,
        };
        let name = |entry: io::Result<std::fs::DirEntry>| {
            entry.map(|entry| entry.file_name().to_string_lossy().into_owned())
        };
        let names = entries.map(name).collect::<io::Result<Vec<_>>>();
        let mut names = names.map_err(kernel("listing names"))?;
        names.sort();
        Ok(names)
    }

    /// Runs a closure in the namespace, on its own thread, and waits for it.
    pub fn enter<T: Send>(&self, run: impl FnOnce() -> T + Send) -> Result<T, NamespaceError> {
        let entered = std::thread::scope(|scope| {
            let inside = scope.spawn(|| self.join().map(|()| run()));
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        entered.map_err(kernel("entering it"))
    }

    /// Runs a closure in the namespace on the calling thread, which returns to its own namespace afterwards: without the two
    /// switches between threads that [`Self::enter`] costs. The process is aborted if the thread cannot return.
    pub(crate) fn visit<T>(&self, run: impl FnOnce() -> T) -> Result<T, NamespaceError> {
        let home = Self::current()?;
        if home.id()? == self.id()? {
            return Ok(run());
        }
        self.join().map_err(kernel("entering it"))?;
        let _visit = Visit { home };
        Ok(run())
    }

    /// Kills every process in the namespace except `spare` and the current one; returns the killed ones.
    pub fn kill_all(&self, spare: Option<u32>) -> Result<Vec<u32>, NamespaceError> {
        kill_all([self], &spare.into_iter().collect())
    }

    /// The processes in the namespace.
    pub fn processes(&self) -> Result<Vec<u32>, NamespaceError> {
        processes_in(&BTreeSet::from([self.id()?]))
    }

    /// The inode number that identifies the namespace, as in the links of `/proc/PID/ns/net`.
    pub fn id(&self) -> Result<u64, NamespaceError> {
        let stat = rustix::fs::fstat(&self.descriptor);
        stat.map(|stat| stat.st_ino).map_err(|error| kernel("asking its number")(error.into()))
    }

    /// Moves the calling thread into the namespace permanently.
    pub(crate) fn join(&self) -> io::Result<()> {
        let kind = Some(LinkNameSpaceType::Network);
        Ok(rustix::thread::move_into_link_name_space(self.descriptor.as_fd(), kind)?)
    }
}

/// A thread outside its own namespace, to which it returns when this value is dropped.
struct Visit {
    home: NetworkNamespace,
}

impl Drop for Visit {
    fn drop(&mut self) {
        if self.home.join().is_err() {
            // Unwinding, or a later job of the thread, would act on the wrong network.
            std::process::abort();
        }
    }
}

impl AsFd for NetworkNamespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Kills every process in any of the namespaces except those in `spare` and the current one; returns the killed ones.
pub fn kill_all<'a>(
    namespaces: impl IntoIterator<Item = &'a NetworkNamespace>,
    spare: &BTreeSet<u32>,
) -> Result<Vec<u32>, NamespaceError> {
    let wanted = namespaces.into_iter().map(NetworkNamespace::id).collect::<Result<BTreeSet<_>, _>>()?;
    let mut killed = processes_in(&wanted)?;
    killed.retain(|process| {
        let is_spared = *process == std::process::id() || spare.contains(process);
        // An error means that the process has ended.
        let pid = Pid::from_raw(process.cast_signed()).filter(|_| !is_spared);
        pid.is_some_and(|pid| rustix::process::kill_process(pid, Signal::KILL).is_ok())
    });
    Ok(killed)
}

/// The processes in the namespaces with these inode numbers. A failed look-up is an error, not an empty list.
fn processes_in(namespaces: &BTreeSet<u64>) -> Result<Vec<u32>, NamespaceError> {
    let failed = kernel("finding its processes");
    let mut found = Vec::new();
    if namespaces.is_empty() {
        return Ok(found);
    }
    for entry in std::fs::read_dir("/proc").map_err(&failed)? {
        let entry = entry.map_err(&failed)?;
        let Some(process) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        match std::fs::read_link(entry.path().join("ns/net")) {
            Ok(link) => found.extend(number_of(&link).filter(|of| namespaces.contains(of)).map(|_| process)),
            // The process ended, or its namespaces are hidden from us; then it is in none of ours.
            Err(error) if is_gone(&error) || error.kind() == io::ErrorKind::PermissionDenied => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(found)
}

/// The inode number in a link of `/proc/PID/ns`, such as `net:[4026531840]`.
fn number_of(link: &Path) -> Option<u64> {
    link.to_str()?.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

/// True for the error of reading in `/proc/PID` after the process has ended.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

/// Moves the calling thread into new namespaces; call it on a thread that ends afterwards.
#[expect(
    unsafe_code,
    reason = "unsharing is unsafe for descriptor tables only, but one function serves all kinds"
)]
pub(crate) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    assert!(!flags.contains(UnshareFlags::FILES), "the descriptor table stays shared");
    // SAFETY: the call is unsafe only if it unshares the descriptor table, and the assertion excludes that.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(io::Error::from)
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

fn path(name: &str) -> Result<PathBuf, NamespaceError> {
    if name.is_empty() || name.len() > 255 || name.contains(['/', '\0']) || name == "." || name == ".." {
        return Err(NamespaceError::Name(name.to_owned()));
    }
    Ok(Path::new(DIRECTORY).join(name))
}

/// Makes the directory a shared mount, as `ip netns` does: a name that is removed here is removed in every mount namespace,
/// where it would otherwise keep the namespace alive.
fn share_directory() -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(DIRECTORY)?;
    let shared = MountPropagationFlags::SHARED | MountPropagationFlags::REC;
    match rustix::mount::mount_change(DIRECTORY, shared) {
        // The directory is no mount yet.
        Err(rustix::io::Errno::INVAL) => {
            rustix::mount::mount_bind_recursive(DIRECTORY, DIRECTORY)?;
            Ok(rustix::mount::mount_change(DIRECTORY, shared)?)
        }
        changed => Ok(changed?),
    }
}

fn kernel(what: &'static str) -> impl Fn(io::Error) -> NamespaceError {
    move |source| NamespaceError::Kernel { what, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_in_proc_contain_the_inode_number() {
        for (link, number) in [("net:[4026531840]", Some(4026531840)), ("mnt:[1]", None), ("net:[]", None)] {
            assert_eq!(number_of(Path::new(link)), number, "{link}");
        }
    }

    #[test]
    fn a_name_that_cannot_be_a_file_name_is_refused() {
        for name in ["", ".", "..", "a/b", "../etc", "a\0"] {
            assert!(matches!(NetworkNamespace::open(name), Err(NamespaceError::Name(_))), "{name:?}");
        }
    }
}
