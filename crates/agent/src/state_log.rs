//! The state on disk: a log to which each change is appended.

mod earlier;
mod stored;

use crate::entry_log::{EntryLog, LogEntry, ReadLogError};
use crate::paths::Paths;
use crate::state::State;
use crate::storage;
use anyhow::{Context, anyhow};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What to do with a file that cannot be read.
const ADVICE: &str = "move it away to start with no workloads";

/// The log, and the state that it contains.
#[derive(Debug)]
pub(crate) struct StateLog {
    log: EntryLog,
    saved: State,
    /// The state of an earlier release, until the log replaces its file.
    earlier: Option<(PathBuf, State)>,
    /// Whether the last call of [`Self::save`] failed.
    has_failed: bool,
}

impl StateLog {
    /// Reads the state; it is empty if there is no file.
    ///
    /// A file of an earlier release is newer than the log: the log was written from an older one, or a user returned to that
    /// release for some time.
    pub(crate) fn load(paths: &Paths) -> anyhow::Result<(Self, State)> {
        let (place, earlier_place) = (paths.state(), paths.earlier_state());
        let damaged = |place: &Path| format!("{} is damaged; {ADVICE}", place.display());
        let unreadable = |place: &Path| format!("cannot read {}", place.display());
        let (log, texts) = match EntryLog::read(&place) {
            Ok(read) => read,
            Err(ReadLogError::Unreadable(error)) => return Err(error).with_context(|| unreadable(&place)),
            Err(ReadLogError::Damaged(why)) => return Err(anyhow!(why)).with_context(|| damaged(&place)),
        };
        let saved = stored::restore(&texts).with_context(|| damaged(&place))?;
        let earlier = match fs::read(&earlier_place) {
            Ok(bytes) => {
                let state = earlier::parse(&bytes).with_context(|| damaged(&earlier_place))?;
                Some((earlier_place, state))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| unreadable(&earlier_place)),
        };
        let state = earlier.as_ref().map_or_else(|| saved.clone(), |(_, state)| state.clone());
        Ok((Self { log, saved, earlier, has_failed: false }, state))
    }

    /// Saves what changed: after a crash of the agent the state is the one before or this one. Changes of workloads and
    /// identities alone may be lost when the host ends: both end with it.
    pub(crate) fn save(&mut self, state: &State) -> anyhow::Result<()> {
        if let Some((place, earlier)) = self.earlier.take() {
            // Before any change, so that the file is as new as the log while both are there.
            let replaced = self.append(&earlier).and_then(|()| Ok(remove(&place)?));
            if replaced.is_err() {
                self.earlier = Some((place, earlier));
                return replaced;
            }
        }
        self.append(state)
    }

    fn append(&mut self, state: &State) -> anyhow::Result<()> {
        let changes = stored::changes(&self.saved, state)?;
        let entries = changes.iter().map(|(key, text)| match text {
            Some(text) => LogEntry::Put(key, text),
            None => LogEntry::Remove(key),
        });
        let entries: Vec<LogEntry<'_>> = entries.collect();
        let is_checked = entries.is_empty() || self.has_failed;
        let durability = stored::durability((&self.saved, state), &changes);
        let mut written =
            self.log.append_durably(&entries, durability).map(|pending| self.log.commit(pending));
        if written.is_ok() {
            self.saved = state.clone();
            // A smaller change may still find room on a disk that is full.
            written = if is_checked { self.log.check() } else { Ok(()) };
        }
        self.has_failed = written.is_err();
        written.with_context(|| format!("cannot write {}", self.log.path().display()))
    }
}

/// Removes a file durably.
fn remove(place: &Path) -> io::Result<()> {
    match fs::remove_file(place) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => place.parent().map_or(Ok(()), storage::sync_directory),
    }
}

#[cfg(test)]
mod tests;
