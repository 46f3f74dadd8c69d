//! A durable map of keys to texts in one file, to which changes are appended.
//!
//! A change is on disk completely or not at all, and costs one fsync, however many entries it has; a change that matters until
//! the host ends costs none. It can be rolled back until it is committed; one change is committed or rolled back before the next one. A log that contains more that is
//! replaced than is in use is written anew. A log keeps room for removals, so that these are possible on a full disk.

mod format;

pub(crate) use format::LogEntry;

use crate::storage::{self, DeviceInode};
use format::{HEADER, TextRange};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// The room for further records that a log keeps.
const ROOM: usize = 16 << 10;

/// A log of entries.
#[derive(Debug)]
pub(crate) struct EntryLog {
    path: PathBuf,
    /// The file, open for reading, so that its disk can be remounted read-only.
    file: Option<OpenLog>,
    texts: BTreeMap<String, TextRange>,
    /// The number of bytes of the entries in use.
    used: usize,
    /// The end of the last record; the size of the file.
    tail: usize,
    size: usize,
    /// Why the file must be written anew before the next change: it is not there, or its state is uncertain.
    is_stale: bool,
    /// Whether an incomplete record follows the last one.
    is_torn: bool,
}

/// The open file of a log.
#[derive(Debug)]
struct OpenLog {
    file: File,
    identity: DeviceInode,
}

/// What a change must outlive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// The process: the change is written. When the host ends, it may be lost, and all changes after it.
    Process,
    /// The host: the change is on disk, and all changes before it.
    Host,
}

/// A change that is on disk and can be rolled back until it is committed.
#[must_use]
#[derive(Debug)]
pub(crate) struct PendingRecord {
    /// The file, open for writing; none for a change without entries.
    file: Option<File>,
    start: usize,
    durability: Durability,
    /// The keys that it changes, with the positions of their new texts.
    entries: Vec<(String, Option<TextRange>)>,
}

/// Why a log cannot be read.
#[derive(Debug, Error)]
pub(crate) enum ReadLogError {
    /// The file cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// The file is damaged, and how.
    #[error("it is damaged: {0}")]
    Damaged(String),
}

impl EntryLog {
    /// A log without entries, which replaces the file at this path with the first change.
    pub(crate) fn empty(path: &Path) -> Self {
        Self {
            path: path.to_path_buf(),
            file: None,
            texts: BTreeMap::new(),
            used: 0,
            tail: HEADER,
            size: 0,
            is_stale: true,
            is_torn: false,
        }
    }

    /// Reads a log, and the texts by key; the log is empty if there is no file.
    pub(crate) fn read(path: &Path) -> Result<(Self, BTreeMap<String, String>), ReadLogError> {
        let mut file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok((Self::empty(path), BTreeMap::new()));
            }
            file => file?,
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let contents = format::read(&bytes).map_err(ReadLogError::Damaged)?;
        let text = |(key, range): (&String, &TextRange)| {
            (key.clone(), String::from_utf8_lossy(&bytes[range.clone()]).into_owned())
        };
        let texts = contents.texts.iter().map(text).collect();
        let sizes = contents.texts.iter().map(|(key, range)| format::put_size(key.len(), range.len()));
        let open = OpenLog { identity: storage::identity_of(&file)?, file };
        let log = Self {
            file: Some(open),
            used: sizes.sum(),
            texts: contents.texts,
            tail: contents.tail,
            size: bytes.len(),
            is_stale: false,
            is_torn: contents.is_torn,
            ..Self::empty(path)
        };
        Ok((log, texts))
    }

    /// The path of the file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The keys that have a text.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.texts.keys().map(String::as_str)
    }

    /// Writes a change to disk.
    ///
    /// # Errors
    /// The change is not written, and the entries are as before.
    pub(crate) fn append(&mut self, entries: &[LogEntry<'_>]) -> io::Result<PendingRecord> {
        self.append_durably(entries, Durability::Host)
    }

    /// As [`Self::append`], for a change that must outlive the host or only this process.
    pub(crate) fn append_durably(
        &mut self,
        entries: &[LogEntry<'_>],
        durability: Durability,
    ) -> io::Result<PendingRecord> {
        if entries.is_empty() {
            return Ok(PendingRecord { file: None, start: self.tail, durability, entries: Vec::new() });
        }
        let record = format::record(entries).ok_or(io::ErrorKind::FileTooLarge)?;
        let is_removal = entries.iter().all(|entry| matches!(entry, LogEntry::Remove(_)));
        let file = self.open()?;
        let end = self.tail + record.len();
        let room = self.make_room(&file, end + ROOM);
        if !is_removal || end > self.size {
            room?;
        }
        let start = self.tail;
        let sync = || if durability == Durability::Host { file.sync_data() } else { Ok(()) };
        if let Err(error) = file.write_all_at(&record, start as u64).and_then(|()| sync()) {
            // A part of it may be on disk.
            self.is_stale = clear(&file, start, end).is_err();
            return Err(error);
        }
        self.tail = end;
        let texts = entries.iter().zip(format::texts(entries, start)).map(|(entry, range)| {
            (entry.key().to_owned(), matches!(entry, LogEntry::Put(..)).then_some(range))
        });
        Ok(PendingRecord { file: Some(file), start, durability, entries: texts.collect() })
    }

    /// Checks that changes can be written, and makes room for the next ones: a disk that is full or read-only is noticed before
    /// a change needs it.
    pub(crate) fn check(&mut self) -> io::Result<()> {
        let file = self.open()?;
        self.make_room(&file, self.tail + 2 * ROOM)
    }

    /// Commits a change. It is on disk already, so that a failure here concerns only the size of the file.
    pub(crate) fn commit(&mut self, pending: PendingRecord) {
        let Some(file) = pending.file else { return };
        for (key, range) in pending.entries {
            let size = |range: &TextRange| format::put_size(key.len(), range.len());
            let added = range.as_ref().map_or(0, size);
            let before = match range {
                Some(range) => self.texts.insert(key.clone(), range),
                None => self.texts.remove(&key),
            };
            self.used = self.used + added - before.as_ref().map_or(0, size);
        }
        // A committed record must be readable after the end of the host, so one that may be lost is not marked.
        let marked = match pending.durability {
            Durability::Process => Ok(()),
            Durability::Host => file.write_all_at(&format::header(self.tail, self.size), 0),
        };
        let unused = self.tail - HEADER - self.used;
        let compacted = marked
            .and_then(|()| if unused > ROOM.max(self.used / 2) { self.rewrite().map(drop) } else { Ok(()) });
        if let Err(error) = compacted {
            tracing::warn!(%error, log = %self.path.display(), "a log contains more than it needs");
        }
    }

    /// Rolls a change back: the file is as before.
    ///
    /// # Errors
    /// The next reader may find the change.
    pub(crate) fn roll_back(&mut self, pending: &PendingRecord) -> io::Result<()> {
        let Some(file) = &pending.file else { return Ok(()) };
        let end = std::mem::replace(&mut self.tail, pending.start);
        let cleared = clear(file, pending.start, end);
        self.is_stale |= cleared.is_err();
        cleared
    }

    /// Opens the file for writing; writes it anew first if another program removed or replaced it.
    fn open(&mut self) -> io::Result<File> {
        let open = || OpenOptions::new().read(true).write(true).open(&self.path);
        let is_known = |file: &File| match (&self.file, storage::identity_of(file)) {
            (Some(known), Ok(now)) => known.identity == now,
            _ => false,
        };
        let found = if self.is_stale { None } else { Some(open()) };
        let file = match found {
            Some(Ok(file)) if is_known(&file) => file,
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => return self.rewrite(),
        };
        if self.is_torn {
            clear(&file, self.tail, self.size)?;
            self.is_torn = false;
        }
        Ok(file)
    }

    /// Writes a file with the entries in use, which replaces the present file; returns it, open for writing.
    fn rewrite(&mut self) -> io::Result<File> {
        let texts = self.present_texts()?;
        let entries: Vec<LogEntry<'_>> = texts.iter().map(|(key, text)| LogEntry::Put(key, text)).collect();
        let mut bytes = vec![0; HEADER];
        if !entries.is_empty() {
            bytes.extend(format::record(&entries).ok_or(io::ErrorKind::FileTooLarge)?);
        }
        let tail = bytes.len();
        let size = tail + ROOM;
        bytes.resize(size, 0);
        bytes[..HEADER].copy_from_slice(&format::header(tail, size));
        if let Some(directory) = self.path.parent() {
            storage::make_directory(directory)?;
        }
        storage::replace(&self.path, &bytes)?;
        let file = OpenOptions::new().read(true).write(true).open(&self.path)?;
        let open = OpenLog { identity: storage::identity_of(&file)?, file: File::open(&self.path)? };
        let keys = texts.iter().map(|(key, _)| key.clone());
        self.texts = keys.zip(format::texts(&entries, HEADER)).collect();
        self.file = Some(open);
        (self.tail, self.size) = (tail, size);
        (self.is_stale, self.is_torn) = (false, false);
        Ok(file)
    }

    /// The texts of all keys, read from the present file.
    fn present_texts(&self) -> io::Result<Vec<(String, String)>> {
        if self.texts.is_empty() {
            return Ok(Vec::new());
        }
        let mut bytes = vec![0; self.tail];
        let file = self.file.as_ref().ok_or_else(|| io::Error::other("the log is not open"))?;
        file.file.read_exact_at(&mut bytes, 0)?;
        let text = |(key, range): (&String, &TextRange)| {
            let text = String::from_utf8(bytes[range.clone()].to_vec()).map_err(io::Error::other)?;
            Ok((key.clone(), text))
        };
        self.texts.iter().map(text).collect()
    }

    /// Extends the file with zeros to twice what is missing, so that few changes extend it.
    fn make_room(&mut self, file: &File, needed: usize) -> io::Result<()> {
        if needed <= self.size {
            return Ok(());
        }
        let zeros = vec![0; needed - self.size + ROOM];
        file.write_all_at(&zeros, self.size as u64)?;
        self.size += zeros.len();
        Ok(())
    }
}

/// Overwrites a part of a file with zeros, durably.
fn clear(file: &File, start: usize, end: usize) -> io::Result<()> {
    file.write_all_at(&vec![0; end - start], start as u64)?;
    file.sync_data()
}

#[cfg(test)]
mod crashes;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    struct ScratchLog(PathBuf);

    impl ScratchLog {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("nexin-log-{name}-{}.log", std::process::id()));
            let _ = fs::remove_file(&path);
            Self(path)
        }

        fn log(&self) -> EntryLog {
            EntryLog::read(&self.0).unwrap().0
        }

        fn texts(&self) -> Vec<String> {
            let (_, texts) = EntryLog::read(&self.0).unwrap();
            texts.into_iter().map(|(key, text)| format!("{key}={text}")).collect()
        }

        fn size(&self) -> u64 {
            fs::metadata(&self.0).unwrap().len()
        }
    }

    impl Drop for ScratchLog {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    fn change(log: &mut EntryLog, entries: &[LogEntry<'_>]) {
        let pending = log.append(entries).unwrap();
        log.commit(pending);
    }

    #[test]
    fn the_last_text_of_a_key_counts() {
        let scratch = ScratchLog::new("last");
        let mut log = scratch.log();
        change(&mut log, &[LogEntry::Put("a", "one"), LogEntry::Put("b", "two")]);
        change(&mut log, &[LogEntry::Put("b", ""), LogEntry::Remove("a"), LogEntry::Remove("x")]);
        assert_eq!(scratch.texts(), ["b="]);
        change(&mut scratch.log(), &[LogEntry::Put("c", "three")]);
        assert_eq!(scratch.texts(), ["b=", "c=three"]);
        assert_eq!(scratch.log().keys().collect::<Vec<_>>(), ["b", "c"]);
    }

    #[test]
    fn changes_that_are_rolled_back_leave_the_log_as_before() {
        let scratch = ScratchLog::new("back");
        let mut log = scratch.log();
        change(&mut log, &[LogEntry::Put("a", "one")]);
        for entry in [LogEntry::Put("a", "two"), LogEntry::Remove("a")] {
            let pending = log.append(&[entry]).unwrap();
            assert_ne!(scratch.texts(), ["a=one"], "written, not committed");
            log.roll_back(&pending).unwrap();
            assert_eq!(scratch.texts(), ["a=one"]);
        }
        let nothing = log.append(&[]).unwrap();
        log.roll_back(&nothing).unwrap();
        change(&mut log, &[LogEntry::Put("b", "three")]);
        assert_eq!(scratch.texts(), ["a=one", "b=three"]);
    }

    #[test]
    fn a_writer_that_is_killed_leaves_the_change_or_nothing() {
        let scratch = ScratchLog::new("killed");
        let mut log = scratch.log();
        change(&mut log, &[LogEntry::Put("a", "one")]);
        let before = fs::read(&scratch.0).unwrap();
        drop(log.append(&[LogEntry::Put("a", "two"), LogEntry::Put("b", "three")]).unwrap());
        let after = fs::read(&scratch.0).unwrap();
        let changed = after.iter().zip(&before).rposition(|(after, before)| after != before).unwrap();
        for written in 0..=changed + 1 {
            let torn = [&after[..written], &before[written..]].concat();
            fs::write(&scratch.0, &torn).unwrap();
            let found = scratch.texts();
            assert!(found == ["a=one"] || found == ["a=two", "b=three"], "{written}: {found:?}");
            change(&mut scratch.log(), &[LogEntry::Put("c", "c")]);
            assert_eq!(scratch.texts(), [found, vec!["c=c".into()]].concat(), "{written}");
        }
    }

    #[test]
    fn the_end_of_the_host_loses_only_changes_that_need_not_outlive_it() {
        let scratch = ScratchLog::new("host");
        let mut log = scratch.log();
        change(&mut log, &[LogEntry::Put("a", "one")]);
        let committed = log.tail;
        let mut ends = vec![committed];
        for entry in [LogEntry::Put("b", "two"), LogEntry::Put("c", "three")] {
            let pending = log.append_durably(&[entry], Durability::Process).unwrap();
            log.commit(pending);
            ends.push(log.tail);
        }
        assert_eq!(scratch.texts(), ["a=one", "b=two", "c=three"], "the end of the process loses nothing");
        let whole = fs::read(&scratch.0).unwrap();
        // The kernel writes pages in any order, so that any bytes may be missing.
        for start in committed..ends[2] {
            for end in start + 1..=ends[2] {
                let mut lost = whole.clone();
                lost[start..end].fill(0);
                fs::write(&scratch.0, &lost).unwrap();
                let kept = if lost[..] == whole[..] { 2 } else { usize::from(start >= ends[1]) };
                let expected = &["a=one", "b=two", "c=three"][..=kept];
                assert_eq!(scratch.texts(), expected, "{start} to {end}");
            }
        }
        fs::write(&scratch.0, &whole).unwrap();
        let mut log = scratch.log();
        change(&mut log, &[LogEntry::Put("d", "four")]);
        let mut damaged = whole;
        damaged[ends[1] + 9] ^= 1;
        damaged[..HEADER].copy_from_slice(&fs::read(&scratch.0).unwrap()[..HEADER]);
        fs::write(&scratch.0, &damaged).unwrap();
        EntryLog::read(&scratch.0).expect_err("a change that is on disk commits all before it");
    }

    #[test]
    fn a_log_stays_small_however_often_a_text_changes() {
        let scratch = ScratchLog::new("small");
        let mut log = scratch.log();
        let text = "x".repeat(1000);
        let keys: Vec<String> = (0..200).map(|key| format!("key{key:03}")).collect();
        let all: Vec<LogEntry<'_>> = keys.iter().map(|key| LogEntry::Put(key, &text)).collect();
        change(&mut log, &all);
        let whole = scratch.size();
        for _ in 0..3 {
            for key in &keys {
                change(&mut log, &[LogEntry::Put(key, &text)]);
            }
        }
        assert!(scratch.size() < whole * 2, "{} after {whole}", scratch.size());
        assert_eq!(scratch.texts().len(), keys.len());
        for key in &keys {
            change(&mut log, &[LogEntry::Remove(key)]);
        }
        assert!(scratch.size() < 3 * ROOM as u64 && scratch.texts().is_empty());
    }

    #[test]
    fn a_log_that_another_program_removes_is_written_again() {
        let scratch = ScratchLog::new("removed");
        let mut log = scratch.log();
        change(&mut log, &[LogEntry::Put("a", "one")]);
        fs::remove_file(&scratch.0).unwrap();
        change(&mut log, &[LogEntry::Put("b", "two")]);
        assert_eq!(scratch.texts(), ["a=one", "b=two"]);
    }

    #[test]
    fn a_damaged_log_is_an_error() {
        let scratch = ScratchLog::new("damaged");
        change(&mut scratch.log(), &[LogEntry::Put("a", "one")]);
        let whole = fs::read(&scratch.0).unwrap();
        for damaged in [&whole[..whole.len() / 2], b"", b"{}\n"] {
            fs::write(&scratch.0, damaged).unwrap();
            assert!(matches!(EntryLog::read(&scratch.0), Err(ReadLogError::Damaged(_))));
        }
    }
}
