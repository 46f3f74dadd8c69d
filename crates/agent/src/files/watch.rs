//! Watches a directory by inotify, also when its path leads to another directory later.

use rustix::fs::inotify::{self, WatchFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// A watched path. inotify watches the inode that the path led to; [`Self::renew`] resolves the path again.
#[derive(Debug)]
pub(super) struct Watcher {
    inotify: Arc<OwnedFd>,
    path: PathBuf,
    /// The watch descriptor.
    watched: Option<i32>,
    /// Whether a change was reported since the last [`Self::renew`].
    is_reported: Arc<AtomicBool>,
}

impl Watcher {
    /// Calls `changed` when the directory may have changed, at most once between two calls of [`Self::renew`].
    pub(super) fn new(path: &Path, changed: impl Fn() + Send + 'static) -> io::Result<Self> {
        let inotify = Arc::new(inotify::init(inotify::CreateFlags::CLOEXEC)?);
        let is_reported = Arc::new(AtomicBool::new(false));
        let (events, once) = (Arc::clone(&inotify), Arc::clone(&is_reported));
        let report = move || {
            if !once.swap(true, Ordering::AcqRel) {
                changed();
            }
        };
        thread::Builder::new().name("files".into()).spawn(move || wait_and_report(&events, report))?;
        Ok(Self { inotify, path: path.to_path_buf(), watched: None, is_reported })
    }

    /// Watches the directory that the path leads to now; returns whether it is another directory than before. Later
    /// changes are reported.
    pub(super) fn renew(&mut self) -> io::Result<bool> {
        self.is_reported.store(false, Ordering::Release);
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

fn wait_and_report(inotify: &OwnedFd, report: impl Fn()) {
    let mut buffer = [0; 4096];
    loop {
        match rustix::io::read(inotify, &mut buffer) {
            Ok(_) => report(),
            Err(Errno::INTR) => {}
            Err(error) => {
                tracing::error!(%error, "the policy directory is polled from now on");
                return;
            }
        }
    }
}
