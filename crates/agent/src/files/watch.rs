//! Watches a directory by inotify, also when its path leads to another directory later.

use crate::problems::Problems;
use crate::threads;
use rustix::fs::inotify::{self, ReadFlags, WatchFlags};
use rustix::io::Errno;
use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is missing when the thread ends.
const UNREPORTED: &str = "changes of policy files are not reported, and are noticed late";

/// A change that inotify reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reported {
    /// The file of this name in the directory changed.
    Name(OsString),
    /// Any file may have changed.
    Any,
    /// Nothing is reported any more, and why.
    Lost(String),
}

/// A watched path. inotify watches the inode that the path led to; [`Self::renew`] resolves the path again.
#[derive(Debug)]
pub(super) struct Watcher {
    inotify: Arc<OwnedFd>,
    path: PathBuf,
    /// The watch descriptor.
    watched: Option<i32>,
}

impl Watcher {
    /// Calls `report` for each change of the directory.
    pub(super) fn new(
        path: &Path,
        report: impl Fn(Reported) + Send + 'static,
        problems: &Problems,
    ) -> io::Result<Self> {
        let inotify = Arc::new(inotify::init(inotify::CreateFlags::CLOEXEC)?);
        let events = Arc::clone(&inotify);
        threads::start("files-watch", problems.clone(), UNREPORTED, move || {
            wait_and_report(&events, report);
        })?;
        Ok(Self { inotify, path: path.to_path_buf(), watched: None })
    }

    /// Watches the directory that the path leads to now; returns whether it is another directory than before. Later
    /// changes are reported.
    pub(super) fn renew(&mut self) -> io::Result<bool> {
        use WatchFlags as Watch;
        // A write is reported when the file is closed: before, the file is unfinished.
        let what = Watch::ONLYDIR
            | Watch::CREATE
            | Watch::CLOSE_WRITE
            | Watch::ATTRIB
            | Watch::MOVED_TO
            | Watch::MOVED_FROM
            | Watch::DELETE
            | Watch::DELETE_SELF
            | Watch::MOVE_SELF;
        let watched = inotify::add_watch(&*self.inotify, &self.path, what);
        let before = std::mem::replace(&mut self.watched, watched.ok());
        if let Some(before) = before
            && self.watched != Some(before)
        {
            // Fails if the directory is deleted, which deletes the watch.
            let _ = inotify::remove_watch(&*self.inotify, before);
        }
        watched.map(|watched| before != Some(watched)).map_err(io::Error::from)
    }
}

fn wait_and_report(inotify: &OwnedFd, report: impl Fn(Reported)) {
    let mut buffer = [MaybeUninit::uninit(); 16 << 10];
    let mut reader = inotify::Reader::new(inotify, &mut buffer);
    loop {
        match reader.next() {
            // The events that found no room are unknown.
            Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => report(Reported::Any),
            Ok(event) => report(event.file_name().map_or(Reported::Any, |name| {
                Reported::Name(std::ffi::OsStr::from_bytes(name.to_bytes()).to_owned())
            })),
            Err(Errno::INTR) => {}
            Err(error) => return report(Reported::Lost(error.to_string())),
        }
    }
}
