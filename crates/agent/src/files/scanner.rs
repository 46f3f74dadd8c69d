//! Reads what changed in the directory: only files that inotify reports, or whose fingerprint is another one.
//!
//! A file that a process has open for writing is unfinished until it is closed. A file whose name has just disappeared
//! may be about to be replaced, so it counts as deleted only after a moment. The directory's path is looked up anew for
//! each scan.

use super::reading::{self, Fingerprint, Reading};
use super::to_read::ToRead;
use super::waiting::{RETRY, SOON, WaitReason, Waiting};
use super::watch::{Unwatched, Watcher};
use crate::objects::{FileState, FileStates, Objects};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::ops::Bound;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a name may be missing while its file is replaced.
const REPLACED: Duration = Duration::from_millis(200);
/// How many files are compared at a time, and how many of those that inotify does not watch. inotify reports no second name that
/// a file gets outside of the directory, and no write through it; over a network it reports nothing.
const POLLED: usize = 64;
/// In how many turns all files are compared at most.
const TURNS: usize = 60;
/// How often files are compared while inotify watches, and while it does not.
const WATCHED_POLL: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(500);
/// How often the whole directory is listed then. While inotify watches, files of known names are left to the turns.
const WATCHED_LISTING: Duration = Duration::from_secs(60);
const LISTING: Duration = Duration::from_secs(30);

/// What changed in the directory.
#[derive(Debug, Default)]
pub(crate) struct DirectoryChange {
    /// The states of the files that changed.
    pub(crate) states: FileStates,
    /// The texts of those that have one.
    pub(crate) texts: BTreeMap<String, String>,
}

/// The files whose objects are in force before the directory is read: the hash of the text, if it is known.
#[derive(Debug)]
pub(crate) struct KnownFiles {
    digests: BTreeMap<String, Option<u64>>,
}

impl KnownFiles {
    /// The files of these objects, which were parsed from these texts.
    pub(crate) fn new(objects: &Objects, texts: &BTreeMap<String, String>) -> Self {
        let parsed = texts.iter().filter(|(file, _)| objects.is_in_force(file));
        let mut digests: BTreeMap<String, Option<u64>> = objects
            .files()
            .chain(texts.keys().map(String::as_str))
            .map(|file| (file.to_owned(), None))
            .collect();
        digests.extend(parsed.map(|(file, text)| (file.clone(), Some(reading::digest(text)))));
        Self { digests }
    }
}

/// The state of a directory as it was read.
pub(super) struct Scanner {
    directory: PathBuf,
    watcher: Watcher,
    /// The directory's identity when it was last read.
    seen: Option<DirectoryState>,
    /// When its files were last listed.
    listed: Instant,
    /// When it was last compared where paths lead to.
    compared: Instant,
    files: BTreeMap<String, KnownFile>,
    /// Files that may change without an event of the directory.
    silent: BTreeSet<String>,
    /// Files to look at again without a report.
    waiting: BTreeMap<String, Waiting>,
    /// Whether several files have names that are shown alike.
    has_alike: bool,
    /// The last silent file, and the last of all, that was polled.
    polled: [String; 2],
    /// When the whole directory is read again after a failure.
    retry: Option<Instant>,
    /// The failure that was handed over last.
    failure: Option<String>,
    /// Why inotify reports nothing any more.
    lost: Option<String>,
}

/// A file as it was read last.
#[derive(Debug)]
struct KnownFile {
    path: PathBuf,
    fingerprint: Option<Fingerprint>,
    delivered: Delivered,
    /// Since when it is open for writing.
    unfinished: Option<Instant>,
}

/// What the agent has of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Delivered {
    /// Nothing.
    Nothing,
    /// The text with this hash.
    Text(u64),
    /// Why it cannot be read.
    Unreadable(String),
    /// Something that it could not apply.
    Rejected,
}

/// Device, inode and modification time of a directory.
type DirectoryState = ((u64, u64), (i64, i64));

impl Scanner {
    /// A scanner of a directory; the agent knows these files already.
    pub(super) fn new(directory: &Path, watcher: Watcher, known: KnownFiles) -> Self {
        let file = |(name, digest): (String, Option<u64>)| {
            let delivered = digest.map_or(Delivered::Rejected, Delivered::Text);
            let file = KnownFile { delivered, ..KnownFile::new(PathBuf::from(&name)) };
            (name, file)
        };
        Self {
            directory: directory.to_path_buf(),
            watcher,
            seen: None,
            listed: Instant::now(),
            compared: Instant::now(),
            files: known.digests.into_iter().map(file).collect(),
            silent: BTreeSet::new(),
            waiting: BTreeMap::new(),
            has_alike: false,
            polled: Default::default(),
            retry: None,
            failure: None,
            lost: None,
        }
    }

    /// Reads what changed; none if nothing did since the last scan. A failure is handed over once.
    pub(super) fn scan(&mut self, to_read: ToRead) -> Option<Result<DirectoryChange, String>> {
        match self.read(&to_read) {
            Ok(change) => {
                let has_failed = self.failure.take().is_some();
                let is_change =
                    has_failed || change.states.values().any(|state| *state != FileState::Missing);
                is_change.then_some(Ok(change))
            }
            Err(error) => {
                // The cause, such as a lack of descriptors, may pass without a change of the directory.
                self.retry = Some(Instant::now() + RETRY);
                self.seen = None;
                let failure = Some(error.to_string());
                let is_new = self.failure != failure;
                self.failure = failure;
                is_new.then(|| Err(error.to_string()))
            }
        }
    }

    /// Why files are polled instead of watched, if they are.
    pub(super) fn unwatched(&self) -> Option<Unwatched> {
        self.lost.clone().map(Unwatched::Refused).or_else(|| self.watcher.unwatched().cloned())
    }

    /// The time until the next [`Self::poll_silent`].
    pub(super) fn pause(&self) -> Duration {
        if self.unwatched().is_some() { POLL } else { WATCHED_POLL }
    }

    /// The files that are open for writing, and since when.
    pub(super) fn unfinished(&self) -> BTreeMap<String, Instant> {
        let waiting = self.waiting.keys().filter_map(|name| Some((name, self.files.get(name)?.unfinished?)));
        waiting.map(|(name, since)| (name.clone(), since)).collect()
    }

    /// Records that the agent could not apply a change, which is read again.
    pub(super) fn reject(&mut self, files: impl IntoIterator<Item = String>) {
        let now = Instant::now();
        for name in files {
            let path = PathBuf::from(&name);
            let known = self.files.entry(name.clone()).or_insert_with(|| KnownFile::new(path));
            known.delivered = Delivered::Rejected;
            self.waiting.insert(name, Waiting { since: now, again: now + RETRY, reason: WaitReason::Failed });
        }
    }

    /// When [`Self::poll`] must be called though nothing is reported.
    pub(super) fn due(&self) -> Option<Instant> {
        self.waiting.values().map(|waiting| waiting.again).chain(self.retry).min()
    }

    /// What to read whose time has come.
    pub(super) fn poll_waiting(&mut self, to_read: &mut ToRead) {
        let now = Instant::now();
        if self.retry.is_some_and(|retry| retry <= now) {
            to_read.add_all();
        }
        for (name, _) in self.waiting.iter().filter(|(_, waiting)| waiting.again <= now) {
            to_read.add_known(name);
        }
    }

    /// When [`Self::poll_places`] may be called again: programs may mount file systems all the time.
    pub(super) fn poll_places_due(&self) -> Instant {
        self.compared + POLL
    }

    /// The whole directory, if the path leads to another one than was read, and the files that its links lead to.
    pub(super) fn poll_places(&mut self, to_read: &mut ToRead) {
        self.compared = Instant::now();
        to_read.set_compared();
        if identity(&self.directory).ok() != self.seen {
            return to_read.add_all();
        }
        self.silent.iter().filter(|name| self.is_other(name)).for_each(|name| to_read.add_known(name));
    }

    /// What may have changed without a report of inotify: the directory itself, and some of its files.
    pub(super) fn poll_silent(&mut self, to_read: &mut ToRead) {
        let is_watched = self.unwatched().is_none();
        let is_moved = identity(&self.directory).ok() != self.seen;
        match is_watched {
            _ if is_moved => to_read.add_all(),
            true if self.listed.elapsed() >= WATCHED_LISTING => to_read.add_names(),
            false if self.listed.elapsed() >= LISTING => to_read.add_all(),
            _ => {}
        }
        if to_read.is_all() {
            return;
        }
        let behind = |name: &str| (Bound::Excluded(name.to_owned()), Bound::Unbounded);
        // Those that inotify watches report each change.
        let silent = self.silent.range(behind(&self.polled[0])).filter(|_| !is_watched);
        let silent: Vec<&String> = silent.take(POLLED).collect();
        let any = self.files.range(behind(&self.polled[1])).map(|(name, _)| name);
        let turn = POLLED.max(self.files.len() / TURNS);
        let any: Vec<&String> = any.take(turn).collect();
        // The next turn begins behind the last file of this turn, or with the first file.
        let next = |polled: &[&String], turn: usize| {
            polled.get(turn - 1).map(ToString::to_string).unwrap_or_default()
        };
        self.polled = [next(&silent, POLLED), next(&any, turn)];
        let polled = silent.into_iter().chain(any).filter(|name| self.is_other(name));
        polled.for_each(|name| to_read.add_known(name));
        self.watch_again();
    }

    /// Whether a file has another fingerprint than the one that was read.
    fn is_other(&self, name: &str) -> bool {
        let is_same = |file: &KnownFile| reading::fingerprint(&file.path) == file.fingerprint;
        !self.files.get(name).is_some_and(is_same)
    }

    /// Watches what the kernel refused to watch before, until it refuses again.
    fn watch_again(&mut self) {
        if self.watcher.unwatched().is_none() {
            return;
        }
        self.watcher.renew();
        for name in self.watcher.unwatched_files() {
            match self.files.get(&name) {
                Some(file) => self.watcher.follow(&name, &file.path),
                None => self.watcher.forget(&name),
            }
            if self.watcher.unwatched().is_some() {
                return;
            }
        }
    }

    fn read(&mut self, to_read: &ToRead) -> io::Result<DirectoryChange> {
        // Watched before it is read, so that a change during the scan is reported.
        self.lost = self.lost.take().or_else(|| to_read.lost().map(str::to_owned));
        self.watcher.renew();
        let seen = identity(&self.directory)?;
        if self.seen.is_none_or(|(before, _)| before != seen.0) {
            for name in &self.silent {
                self.files.get(name).into_iter().for_each(|file| self.watcher.follow(name, &file.path));
            }
        }
        let mut files = self.paths(to_read);
        let is_other =
            |(name, path): (&String, &PathBuf)| self.files.get(name).is_some_and(|known| known.path != *path);
        let mut change = DirectoryChange::default();
        if to_read.is_listed() || self.has_alike || files.iter().any(is_other) {
            let wanted = files.into_keys().collect();
            let are_compared = to_read.is_all() || self.has_alike;
            for (name, paths) in self.list(&wanted, are_compared)? {
                self.look(name, &paths, &mut change);
            }
            self.listed = Instant::now();
        } else {
            while let Some((name, path)) = files.pop_first() {
                self.look(name, &[path], &mut change);
            }
        }
        self.seen = Some(seen);
        // A file that is missing may have been renamed to one of the new files, which then replaces it.
        if !change.texts.is_empty() {
            let missing = self.waiting.iter().filter(|(_, waiting)| waiting.reason == WaitReason::Missing);
            for (name, _) in missing {
                change.states.entry(name.clone()).or_insert(FileState::Missing);
                if let Some(known) = self.files.get_mut(name) {
                    known.delivered = Delivered::Rejected;
                }
            }
        }
        Ok(change)
    }

    /// The files to read, by the name as it is shown.
    fn paths(&self, to_read: &ToRead) -> BTreeMap<String, PathBuf> {
        let mut paths = BTreeMap::new();
        let mut known: Vec<&String> = to_read.known().collect();
        for name in to_read.reported() {
            if reading::is_manifest(name) {
                let path = self.directory.join(name);
                paths.insert(reading::shown(&path), path);
            } else {
                // The links of files may lead through the directory or link of this name.
                known.extend(&self.silent);
            }
        }
        for name in known {
            if let Some(file) = self.files.get(name) {
                paths.entry(name.clone()).or_insert_with(|| file.path.clone());
            }
        }
        paths
    }

    /// The files of the directory that changed, are wanted, or are gone.
    fn list(
        &mut self,
        wanted: &BTreeSet<String>,
        are_compared: bool,
    ) -> io::Result<Vec<(String, Vec<PathBuf>)>> {
        let mut found = reading::list(&self.directory)?;
        self.retry = None;
        self.has_alike = found.values().any(|paths| paths.len() > 1);
        let gone = self.files.iter().filter(|(name, _)| !found.contains_key(*name));
        let gone: Vec<_> = gone.map(|(name, file)| (name.clone(), vec![file.path.clone()])).collect();
        found.retain(|name, paths| {
            let is_same = |known: &KnownFile| {
                known.path == paths[0]
                    && (!are_compared || known.fingerprint == reading::fingerprint(&paths[0]))
            };
            let is_known = paths.len() == 1 && self.files.get(name).is_some_and(is_same);
            !is_known || wanted.contains(name) || self.waiting.contains_key(name)
        });
        Ok(found.into_iter().chain(gone).collect())
    }

    /// Reads one file, and adds its state where it is new to the agent. Several paths are shown by the same name.
    fn look(&mut self, name: String, paths: &[PathBuf], change: &mut DirectoryChange) {
        let path = &paths[0];
        let is_inside = path.parent() == Some(&self.directory);
        self.watch(&name, path);
        let file = match paths.len() {
            1 if is_inside => reading::read(path),
            1 => None,
            _ => Some(reading::alike()),
        };
        let Some(file) = file else { return self.miss(name, is_inside, change) };
        let waiting = Waiting::of(&file, self.waiting.remove(&name));
        let known = self.files.entry(name.clone()).or_insert_with(|| KnownFile::new(path.clone()));
        known.path.clone_from(path);
        known.fingerprint = file.fingerprint;
        if let Some(waiting) = waiting {
            self.waiting.insert(name.clone(), waiting);
            if waiting.reason != WaitReason::Failed {
                known.unfinished.get_or_insert_with(Instant::now);
                return;
            }
        }
        known.unfinished = None;
        let delivered = match &file.reading {
            Reading::Text(text) => Delivered::Text(reading::digest(text)),
            Reading::Unreadable(why) => Delivered::Unreadable(why.clone()),
            Reading::Unfinished => return,
        };
        if known.delivered != delivered {
            known.delivered = delivered;
            change.states.insert(name.clone(), file.reading.state(&name));
            if let Reading::Text(text) = file.reading {
                change.texts.insert(name, text);
            }
        }
    }

    /// Watches a file that may change without an event of the directory. Called before the file is read, so that a change
    /// meanwhile is reported.
    fn watch(&mut self, name: &str, path: &Path) {
        let is_silent = |status: fs::Metadata| status.is_symlink() || status.nlink() > 1;
        if fs::symlink_metadata(path).is_ok_and(is_silent) {
            self.silent.insert(name.to_owned());
            self.watcher.follow(name, path);
        } else if self.silent.remove(name) {
            self.watcher.forget(name);
        }
    }

    /// Records that a name is missing: its file counts as deleted after a moment.
    fn miss(&mut self, name: String, is_inside: bool, change: &mut DirectoryChange) {
        let now = Instant::now();
        let before = self.waiting.remove(&name).filter(|before| before.reason == WaitReason::Missing);
        let since = before.map_or(now, |before| before.since);
        let Some(known) = self.files.get_mut(&name) else { return };
        if known.delivered != Delivered::Nothing && is_inside && since.elapsed() < REPLACED {
            // A file that returns is read, also if it is the same one.
            known.fingerprint = None;
            self.waiting.insert(name, Waiting { since, again: now + SOON, reason: WaitReason::Missing });
            return;
        }
        if self.files.remove(&name).is_some_and(|known| known.delivered != Delivered::Nothing) {
            change.states.insert(name, FileState::Deleted);
        }
    }
}

/// The present identity of a directory.
fn identity(directory: &Path) -> io::Result<DirectoryState> {
    let status = fs::metadata(directory)?;
    Ok(((status.dev(), status.ino()), (status.mtime(), status.mtime_nsec())))
}

impl KnownFile {
    fn new(path: PathBuf) -> Self {
        Self { path, fingerprint: None, delivered: Delivered::Nothing, unfinished: None }
    }
}

#[cfg(test)]
mod tests;
