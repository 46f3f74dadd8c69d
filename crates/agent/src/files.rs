//! The directory that manifests are read from: what its files say, when that is certain.
//!
//! A file that a process has open for writing is unfinished until it is closed. A file whose name has just
//! gone may be on its way to be replaced, so it is gone only after a moment. The path of the directory counts, not the
//! directory that it led to when the agent began.

mod copies;
mod reading;
mod watch;

pub(crate) use copies::{Copies, DamagedCopy};

use crate::objects::{FileState, FileStates};
use reading::Fingerprint;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use watch::Watcher;

/// How long a file may be without its name while it is replaced.
const REPLACED: Duration = Duration::from_millis(200);
/// How long a file must stay as it is where the kernel does not say whether it is being written.
const SETTLED: Duration = Duration::from_secs(1);
/// How long a file may be open for writing before the status names it.
const PATIENCE: Duration = Duration::from_secs(3);
/// How soon something is looked at again of which no word may come.
const SOON: Duration = Duration::from_millis(100);
/// How soon something is looked at again of which word should come.
const LATER: Duration = Duration::from_secs(1);

/// A watched directory of manifests.
#[derive(Debug)]
pub(crate) struct Files {
    directory: PathBuf,
    watcher: Watcher,
    /// The directory as it was when it was read last.
    seen: Option<Identity>,
    /// How each file was: what is written through a mapping, by another name or over a network comes without a word.
    fingerprints: BTreeMap<PathBuf, Option<Fingerprint>>,
    /// Files whose names are gone, and since when.
    missing: BTreeMap<String, Instant>,
    /// Files that are open for writing, and since when.
    unfinished: BTreeMap<String, Instant>,
    /// Files of which the kernel does not say whether they are, how they are, and since when.
    settling: BTreeMap<String, (Fingerprint, Instant)>,
    /// Why changes are found by looking alone.
    unwatched: Option<String>,
    again: Option<Instant>,
}

/// Where a directory is, and when its entries changed last.
type Identity = ((u64, u64), (i64, i64));

impl Files {
    /// Watches a directory; `changed` is called when it may be time to [`Self::look`].
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

    /// What every file of the directory says now. Of `known` files those whose names have just gone are there, too.
    pub(crate) fn look<'a>(&mut self, known: impl Iterator<Item = &'a str>) -> io::Result<FileStates> {
        self.again = None;
        // Watched first, read then: a change while it is read is noticed.
        self.unwatched = self.watcher.renew().err().map(|error| error.to_string());
        self.seen = identity(&self.directory);
        let found = reading::scan(&self.directory)?;
        self.fingerprints = found.values().map(|file| (file.path.clone(), file.fingerprint)).collect();
        let (was_unfinished, was_settling) =
            (std::mem::take(&mut self.unfinished), std::mem::take(&mut self.settling));
        let mut texts = FileStates::new();
        for (name, file) in found {
            if let Some(now) = file.fingerprint.filter(|_| file.is_unproven) {
                let since = was_settling.get(&name).filter(|(before, _)| *before == now);
                self.settling
                    .insert(name.clone(), (now, since.map_or_else(Instant::now, |(_, since)| *since)));
            }
            let is_settled = self.settling.get(&name).is_none_or(|(_, since)| since.elapsed() >= SETTLED);
            let reading = if is_settled { file.reading } else { FileState::Unfinished };
            if reading == FileState::Unfinished {
                let since = was_unfinished.get(&name).copied().unwrap_or_else(Instant::now);
                self.unfinished.insert(name.clone(), since);
                self.look_again(if file.is_silent || !is_settled { SOON } else { LATER });
            }
            texts.insert(name, reading);
        }
        self.wait_for_missing(&mut texts, known);
        Ok(texts)
    }

    /// Why changes are found by looking now and then alone; none where the kernel reports them.
    pub(crate) fn unwatched(&self) -> Result<(), &str> {
        self.unwatched.as_deref().map_or(Ok(()), Err)
    }

    /// Whether a name is one of a file of this directory.
    pub(crate) fn is_inside(&self, name: &str) -> bool {
        Path::new(name).parent() == Some(&self.directory)
    }

    /// Whether the directory, or what its links lead to, may have changed without a word.
    pub(crate) fn has_changed(&mut self) -> bool {
        let moved = match self.watcher.renew() {
            Ok(moved) => moved,
            // That it is gone counts as a change once; that it is back is seen by the watch.
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.seen.is_some(),
            Err(_) => true,
        };
        moved
            || identity(&self.directory) != self.seen
            || self.fingerprints.iter().any(|(path, seen)| reading::fingerprint(path) != *seen)
    }

    /// When to look again though no change is reported.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.again
    }

    /// Looks again before long, also where nothing changes.
    pub(crate) fn look_again(&mut self, delay: Duration) {
        let at = Instant::now() + delay;
        self.again = Some(self.again.map_or(at, |again| again.min(at)));
    }

    /// Files that have been open for writing for long: what is worth knowing of them.
    pub(crate) fn open_for_long(&self) -> Vec<String> {
        let long = self.unfinished.iter().filter(|(_, since)| since.elapsed() > PATIENCE);
        long.map(|(name, _)| {
            format!(
                "{name} is open for writing, and what it says now is not in force; it is read when the process that \
                 writes it closes it"
            )
        })
        .collect()
    }

    /// Keeps files whose names have just gone: editors and `mv` replace a file so.
    fn wait_for_missing<'a>(&mut self, texts: &mut FileStates, known: impl Iterator<Item = &'a str>) {
        let was_missing = std::mem::take(&mut self.missing);
        for name in known {
            if !self.is_inside(name) || texts.contains_key(name) {
                continue;
            }
            let since = was_missing.get(name).copied().unwrap_or_else(Instant::now);
            if since.elapsed() < REPLACED {
                texts.insert(name.to_string(), FileState::Missing);
                self.missing.insert(name.to_string(), since);
                self.look_again(SOON);
            }
        }
    }
}

/// What every file of a directory says at this moment.
pub(crate) fn read_once(directory: &Path) -> io::Result<FileStates> {
    let found = reading::scan(directory)?;
    Ok(found.into_iter().map(|(name, file)| (name, file.reading)).collect())
}

/// What a directory is now; none where there is none.
fn identity(directory: &Path) -> Option<Identity> {
    let status = fs::metadata(directory).ok()?;
    Some(((status.dev(), status.ino()), (status.mtime(), status.mtime_nsec())))
}
