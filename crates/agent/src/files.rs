//! The watched directory of policy files: the text of each file, once the file is complete.
//!
//! A file that a process has open for writing is unfinished until it is closed. A file whose name has just
//! disappeared may be about to be replaced, so it counts as deleted only after a moment. The directory's path is
//! resolved anew for each read.

mod copies;
mod reading;
mod watch;

pub(crate) use copies::{Copies, DamagedCopy};
pub(crate) use reading::Reading;

use reading::Fingerprint;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use watch::Watcher;

/// How long a name may be missing while its file is replaced.
const REPLACED: Duration = Duration::from_millis(200);
/// How long a file must stay unchanged if the kernel cannot tell whether it is open for writing.
const SETTLED: Duration = Duration::from_secs(1);
/// How long a file may be open for writing before the status reports it.
const PATIENCE: Duration = Duration::from_secs(3);
/// Delay before a change is checked that inotify may not report.
const SOON: Duration = Duration::from_millis(100);
/// Delay before a change is checked that inotify should report.
const LATER: Duration = Duration::from_secs(1);

/// A watched directory of manifests.
#[derive(Debug)]
pub(crate) struct Files {
    directory: PathBuf,
    watcher: Watcher,
    /// The directory's identity when it was last read.
    seen: Option<DirectoryState>,
    /// The fingerprint of each file: inotify does not report writes through a mapping, through another name or over a
    /// network.
    fingerprints: BTreeMap<PathBuf, Option<Fingerprint>>,
    /// Files whose names are missing, and since when.
    missing: BTreeMap<String, Instant>,
    /// Files that are open for writing, and since when.
    unfinished: BTreeMap<String, Instant>,
    /// Files for which the kernel cannot tell whether they are open for writing: their fingerprint, and since when.
    settling: BTreeMap<String, (Fingerprint, Instant)>,
    /// Why the directory is polled instead of watched.
    unwatched: Option<String>,
    again: Option<Instant>,
}

/// What files contained, by name.
pub(crate) type Readings = BTreeMap<String, Reading>;

/// Device, inode and modification time of a directory.
type DirectoryState = ((u64, u64), (i64, i64));

impl Files {
    /// Watches a directory; `changed` is called when [`Self::look`] may find changes.
    pub(crate) fn watch(directory: &Path, changed: impl Fn() + Send + 'static) -> io::Result<Self> {
        Ok(Self {
            directory: directory.to_path_buf(),
            watcher: Watcher::new(directory, changed)?,
            seen: None,
            fingerprints: BTreeMap::new(),
            missing: BTreeMap::new(),
            unfinished: BTreeMap::new(),
            settling: BTreeMap::new(),
            unwatched: None,
            again: None,
        })
    }

    /// Reads every file of the directory. `known` files whose names have just disappeared are included as missing.
    pub(crate) fn look<'a>(&mut self, known: impl Iterator<Item = &'a str>) -> io::Result<Readings> {
        self.again = None;
        // Watched before it is read, so that a change during the read is noticed.
        self.unwatched = self.watcher.renew().err().map(|error| error.to_string());
        self.seen = identity(&self.directory);
        let found = reading::scan(&self.directory)?;
        self.fingerprints = found.values().map(|file| (file.path.clone(), file.fingerprint)).collect();
        let (was_unfinished, was_settling) =
            (std::mem::take(&mut self.unfinished), std::mem::take(&mut self.settling));
        let mut texts = Readings::new();
        for (name, file) in found {
            if let Some(now) = file.fingerprint.filter(|_| file.is_unproven) {
                let since = was_settling.get(&name).filter(|(before, _)| *before == now);
                self.settling
                    .insert(name.clone(), (now, since.map_or_else(Instant::now, |(_, since)| *since)));
            }
            let is_settled = self.settling.get(&name).is_none_or(|(_, since)| since.elapsed() >= SETTLED);
            let reading = if is_settled { file.reading } else { Reading::Unfinished };
            if reading == Reading::Unfinished {
                let since = was_unfinished.get(&name).copied().unwrap_or_else(Instant::now);
                self.unfinished.insert(name.clone(), since);
                self.look_again(if file.is_silent || !is_settled { SOON } else { LATER });
            }
            texts.insert(name, reading);
        }
        self.wait_for_missing(&mut texts, known);
        Ok(texts)
    }

    /// Why the directory is polled; `Ok` if inotify reports its changes.
    pub(crate) fn unwatched(&self) -> Result<(), &str> {
        self.unwatched.as_deref().map_or(Ok(()), Err)
    }

    /// Whether a name is that of a file in this directory.
    pub(crate) fn is_inside(&self, name: &str) -> bool {
        Path::new(name).parent() == Some(&self.directory)
    }

    /// Whether the directory, or a target of its links, changed without a report of inotify.
    pub(crate) fn has_changed(&mut self) -> bool {
        let moved = match self.watcher.renew() {
            Ok(moved) => moved,
            // A deletion counts as a change once; the watch reports when the directory is back.
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.seen.is_some(),
            Err(_) => true,
        };
        moved
            || identity(&self.directory) != self.seen
            || self.fingerprints.iter().any(|(path, seen)| reading::fingerprint(path) != *seen)
    }

    /// When to read again without a reported change.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.again
    }

    /// Schedules a read after this delay at the latest.
    pub(crate) fn look_again(&mut self, delay: Duration) {
        let at = Instant::now() + delay;
        self.again = Some(self.again.map_or(at, |again| again.min(at)));
    }

    /// The problems of files that have been open for writing for long.
    pub(crate) fn open_for_long(&self) -> Vec<String> {
        let long = self.unfinished.iter().filter(|(_, since)| since.elapsed() > PATIENCE);
        long.map(|(name, _)| {
            format!(
                "{name} is open for writing and not applied as it is now; it is read when the process that \
                 writes it closes it"
            )
        })
        .collect()
    }

    /// Keeps files whose names have just disappeared: editors and `mv` replace files that way.
    fn wait_for_missing<'a>(&mut self, texts: &mut Readings, known: impl Iterator<Item = &'a str>) {
        let was_missing = std::mem::take(&mut self.missing);
        for name in known {
            if !self.is_inside(name) || texts.contains_key(name) {
                continue;
            }
            let since = was_missing.get(name).copied().unwrap_or_else(Instant::now);
            if since.elapsed() < REPLACED {
                texts.insert(name.to_string(), Reading::Missing);
                self.missing.insert(name.to_string(), since);
                self.look_again(SOON);
            }
        }
    }
}

/// Reads every file of a directory once.
pub(crate) fn read_once(directory: &Path) -> io::Result<Readings> {
    let found = reading::scan(directory)?;
    Ok(found.into_iter().map(|(name, file)| (name, file.reading)).collect())
}

/// The present identity of a directory; none if it does not exist.
fn identity(directory: &Path) -> Option<DirectoryState> {
    let status = fs::metadata(directory).ok()?;
    Some(((status.dev(), status.ino()), (status.mtime(), status.mtime_nsec())))
}
