//! Word of changes in a directory, whichever directory its path leads to at the time.

use rustix::fs::inotify::{self, WatchFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// A path that is watched. The kernel watches what the path led to once; [`Self::renew`] follows the path.
#[derive(Debug)]
pub(super) struct Watcher {
    inotify: Arc<OwnedFd>,
    path: PathBuf,
    /// The kernel's number for what is watched now.
    watched: Option<i32>,
    /// Whether word of a change is on its way already.
    told: Arc<AtomicBool>,
}

impl Watcher {
    /// Calls `changed` when something in the directory may have changed, once until the next [`Self::renew`].
    pub(super) fn new(path: &Path, changed: impl Fn() + Send + 'static) -> io::Result<Self> {
        let inotify = Arc::new(inotify::init(inotify::CreateFlags::CLOEXEC)?);
        let told = Arc::new(AtomicBool::new(false));
        let (events, once) = (Arc::clone(&inotify), Arc::clone(&told));
        let report = move || {
            if !once.swap(true, Ordering::AcqRel) {
                changed();
            }
        };
        thread::Builder::new().name("files".into()).spawn(move || wait_and_report(&events, report))?;
        Ok(Self { inotify, path: path.to_path_buf(), watched: None, told })
    }

    /// Watches what the path leads to now; whether that is something else than before. Changes after this are reported.
    pub(super) fn renew(&mut self) -> io::Result<bool> {
        self.told.store(false, Ordering::Release);
        use WatchFlags as Watch;
        // A write is reported when the file is closed: before that nothing can be read of it.
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
            // Fails where the directory is gone, and the watch with it.
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
                tracing::error!(%error, "changes of the policy directory are found by looking from now on");
                return;
            }
        }
    }
}
