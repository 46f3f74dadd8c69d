//! Watches a directory and the files that its links lead to by inotify, also when a path leads elsewhere later.
//!
//! inotify watches an inode and not a path. So every directory that the lookup of a path passes is watched for the name that
//! is looked up there: a component that is renamed, removed, created or switched is reported, however far above it is.

mod interests;
mod lookup;

use crate::threads;
pub(super) use interests::Reported;
use interests::{Interests, Trail, Watched};
use lookup::look_up;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{self, ReadFlags, WatchFlags};
use rustix::fs::statfs;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use thiserror::Error;

/// The table of mounts. A mount above a path is no event of inotify.
const MOUNTS: &str = "/proc/self/mountinfo";

/// Magic numbers of file systems that other hosts change, or a server in user space: inotify reports changes of this host only.
const REMOTE: [(i64, &str); 12] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xfe53_4d42, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0x0102_1997, "9P"),
    (0x6573_5546, "FUSE"),
    (0x00c3_6400, "Ceph"),
    (0x5346_414f, "AFS"),
    (0x0bd0_0bd0, "Lustre"),
    (0x4750_4653, "GPFS"),
    (0x0116_1970, "GFS2"),
    (0x7461_636f, "OCFS2"),
];

/// Why changes of a path are not reported.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum Unwatched {
    /// The kernel refuses a watch.
    #[error("{0}")]
    Refused(String),
    /// The file system at this path can be changed elsewhere.
    #[error("{} is on {file_system}, and inotify reports no changes that other hosts make", path.display())]
    Remote {
        /// The path.
        path: PathBuf,
        /// Name of the file system.
        file_system: &'static str,
    },
}

/// The watches of a directory, and of files in it that change without an event of the directory.
pub(super) struct Watcher {
    path: PathBuf,
    /// None while the kernel has no room for another inotify instance.
    inotify: Option<Arc<OwnedFd>>,
    interests: Arc<Mutex<Interests>>,
    /// Why a path is not watched.
    unwatched: BTreeMap<Watched, Unwatched>,
    /// The directory without links, when its path was looked up last.
    found: PathBuf,
    report: Arc<dyn Fn(Reported) + Send + Sync>,
}

impl Watcher {
    /// Calls `report` for each change, once [`Self::renew`] is called.
    pub(super) fn new(path: &Path, report: impl Fn(Reported) + Send + Sync + 'static) -> Self {
        Self {
            path: std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()),
            inotify: None,
            interests: Arc::default(),
            unwatched: BTreeMap::new(),
            found: PathBuf::new(),
            report: Arc::new(report),
        }
    }

    /// Watches the directory that the path leads to now, and the path. Later changes are reported.
    pub(super) fn renew(&mut self) {
        let path = self.path.clone();
        self.found = self.watch(Watched::Directory, Path::new("/"), path.as_os_str()).unwrap_or_default();
    }

    /// Watches what a file in the directory leads to, if the file is a link, and a file that has several names.
    pub(super) fn follow(&mut self, shown: &str, path: &Path) {
        let directory = self.found.clone();
        let _ = self.watch(Watched::File(shown.to_owned()), &directory, path.file_name().unwrap_or_default());
    }

    /// Watches a file no longer on its own.
    pub(super) fn forget(&mut self, shown: &str) {
        let watched = Watched::File(shown.to_owned());
        self.unwatched.remove(&watched);
        let unused = self.interests().replace(&watched, Trail::new());
        self.remove(unused);
    }

    /// Why some change may not be reported.
    pub(super) fn unwatched(&self) -> Option<&Unwatched> {
        self.unwatched.values().next()
    }

    /// The files that could not be watched, by the name as it is shown.
    pub(super) fn unwatched_files(&self) -> Vec<String> {
        let file = |watched: &Watched| match watched {
            Watched::Directory => None,
            Watched::File(shown) => Some(shown.clone()),
        };
        self.unwatched.keys().filter_map(file).collect()
    }

    /// The inotify instance, which is created with the thread that reads it.
    fn start(&mut self) -> Result<Arc<OwnedFd>, Unwatched> {
        if let Some(inotify) = &self.inotify {
            return Ok(Arc::clone(inotify));
        }
        let refused = |error: io::Error| Unwatched::Refused(error.to_string());
        let inotify = inotify::init(inotify::CreateFlags::CLOEXEC).map_err(|error| refused(error.into()))?;
        let inotify = Arc::new(inotify);
        let (events, interests) = (Arc::clone(&inotify), Arc::clone(&self.interests));
        let (report, lost) = (Arc::clone(&self.report), Arc::clone(&self.report));
        let ended = move || {
            // An error is reported where it occurs.
            if thread::panicking() {
                lost(Reported::Lost("the thread that reads events ended".to_owned()));
            }
        };
        let started = threads::start_then("files-watch", ended, move || wait(&events, &interests, &*report));
        started.map_err(refused)?;
        self.inotify = Some(Arc::clone(&inotify));
        Ok(inotify)
    }

    /// Watches a path and what it leads to, and returns what that is. The watches of an earlier lookup are replaced.
    fn watch(&mut self, watched: Watched, from: &Path, path: &OsStr) -> Option<PathBuf> {
        let shared = Arc::clone(&self.interests);
        // The thread that reads events must find each watch in the table.
        let mut interests = lock(&shared);
        let mut trail = Trail::new();
        let found = self.start().and_then(|inotify| {
            let mut watch = |directory: &Path, name: &OsStr| {
                let watch = add(&inotify, &interests, directory, NAMES)?;
                trail.extend(watch.map(|watch| (watch, Some(name.to_owned()))));
                Ok(watch.is_some())
            };
            let found = look_up(from, path, &mut watch)?;
            let end = match (&found, &watched) {
                (Some(found), Watched::Directory) => add(&inotify, &interests, found, NAMES | FILES)?,
                (Some(found), Watched::File(_)) if !found.is_dir() => {
                    add(&inotify, &interests, found, FILES)?
                }
                _ => None,
            };
            trail.extend(end.map(|watch| (watch, None)));
            Ok((found, end))
        });
        let mut unused = interests.replace(&watched, trail);
        if found.is_err() {
            unused.extend(interests.replace(&watched, Trail::new()));
        }
        if watched == Watched::Directory {
            interests.directory = found.as_ref().ok().and_then(|(_, watch)| *watch);
        }
        drop(interests);
        self.remove(unused);
        match found {
            Ok((found, _)) => {
                self.unwatched.remove(&watched);
                found
            }
            Err(why) => {
                self.unwatched.insert(watched, why);
                None
            }
        }
    }

    fn remove(&self, watches: Vec<i32>) {
        for watch in watches {
            // Fails if the inode is deleted, which deletes the watch.
            let _ = self.inotify.as_ref().map(|inotify| inotify::remove_watch(inotify, watch));
        }
    }

    fn interests(&self) -> MutexGuard<'_, Interests> {
        lock(&self.interests)
    }
}

/// What is reported of a directory: names that are created, removed or replaced.
const NAMES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::ONLYDIR);
/// What is reported of files. A write is reported when the file is closed: before, the file is unfinished.
const FILES: WatchFlags = WatchFlags::CLOSE_WRITE.union(WatchFlags::ATTRIB);

/// Watches the inode at a path; none if there is none. A change of the path meanwhile is reported by the watches above it.
fn add(
    inotify: &OwnedFd,
    interests: &Interests,
    path: &Path,
    what: WatchFlags,
) -> Result<Option<i32>, Unwatched> {
    match inotify::add_watch(inotify, path, what | WatchFlags::MASK_ADD) {
        Ok(watch) if interests.knows(watch) => Ok(Some(watch)),
        Ok(watch) => match check_file_system(path) {
            Ok(()) => Ok(Some(watch)),
            Err(remote) => {
                let _ = inotify::remove_watch(inotify, watch);
                Err(remote)
            }
        },
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(Errno::NOSPC) => Err(Unwatched::Refused("the limit on inotify watches is reached".into())),
        Err(error) => Err(Unwatched::Refused(format!("{}: {error}", path.display()))),
    }
}

fn check_file_system(path: &Path) -> Result<(), Unwatched> {
    // A path that is gone is looked up again.
    let Ok(status) = statfs(path) else { return Ok(()) };
    let remote = REMOTE.into_iter().find(|(magic, _)| *magic == status.f_type);
    remote.map_or(Ok(()), |(_, file_system)| Err(Unwatched::Remote { path: path.to_path_buf(), file_system }))
}

/// Waits for events of inotify and of the mounts, and reports those that matter.
fn wait(inotify: &OwnedFd, interests: &Mutex<Interests>, report: &dyn Fn(Reported)) {
    let mounts = File::open(MOUNTS).ok();
    let mut buffer = [MaybeUninit::uninit(); 16 << 10];
    let mut reader = inotify::Reader::new(inotify, &mut buffer);
    loop {
        let mut events = vec![PollFd::from_borrowed_fd(inotify.as_fd(), PollFlags::IN)];
        events.extend(mounts.as_ref().map(|mounts| PollFd::new(mounts, PollFlags::PRI)));
        match poll(&mut events, None) {
            Err(Errno::INTR) => continue,
            Err(error) => return report(Reported::Lost(error.to_string())),
            Ok(_) => {}
        }
        if events.get(1).is_some_and(|mounts| !mounts.revents().is_empty()) {
            report(Reported::Mounts);
        }
        if events[0].revents().is_empty() {
            continue;
        }
        loop {
            match reader.next() {
                // The events that found no room are unknown.
                Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => report(Reported::Any),
                Ok(event) => {
                    let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
                    lock(interests).reports(event.wd(), name).into_iter().for_each(report);
                }
                Err(Errno::INTR) => {}
                Err(error) => return report(Reported::Lost(error.to_string())),
            }
            if reader.is_buffer_empty() {
                break;
            }
        }
    }
}

fn lock(interests: &Mutex<Interests>) -> MutexGuard<'_, Interests> {
    interests.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
