//! The journal of applied manifests: the own text of each object that a client applied, by the object's name.
//!
//! A request to apply or delete objects is one change of the log, so that it is on disk completely or not at all.

mod earlier;

use crate::entry_log::{EntryLog, LogEntry, PendingRecord, ReadLogError};
use crate::storage;
use anyhow::Context;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Name of the log.
const LOG: &str = "objects.log";

/// An applied text, and its objects that are still in force.
#[derive(Debug)]
pub(crate) struct Applied {
    /// The file that stores it.
    pub place: PathBuf,
    /// Name of the manifest file, for messages.
    pub file: String,
    /// The text.
    pub text: String,
    /// Its objects that are in force.
    pub names: BTreeSet<String>,
}

/// The applied objects of one directory.
#[derive(Debug)]
pub(crate) struct Journal {
    log: EntryLog,
    /// Files of an earlier release that the log does not replace yet, oldest first.
    earlier: VecDeque<PathBuf>,
    /// The own texts of all objects in force, until the log replaces these files.
    texts: BTreeMap<String, String>,
}

impl Journal {
    /// Reads the applied objects of a directory that are in force.
    pub(crate) fn load(directory: &Path) -> anyhow::Result<(Self, Vec<Applied>)> {
        let place = directory.join(LOG);
        let (log, mut texts) = EntryLog::read(&place).map_err(|error| {
            let what = match &error {
                ReadLogError::Unreadable(_) => "it cannot be read",
                ReadLogError::Damaged(_) => "it is damaged",
            };
            anyhow::Error::from(error).context(damaged(&place, what))
        })?;
        // Files of an earlier release are newer than the log: the log was written from older ones, or a user returned to
        // that release for some time.
        let entries = earlier::read(directory, damaged)?;
        let mut last: BTreeMap<&String, &Path> = BTreeMap::new();
        for entry in &entries {
            last.extend(entry.names.iter().map(|name| (name, entry.place.as_path())));
        }
        texts.retain(|name, _| !last.contains_key(name));
        let mut applied: Vec<Applied> = Vec::with_capacity(texts.len());
        for (name, text) in texts {
            applied.push(Applied { place: place.clone(), file: name.clone(), text, names: [name].into() });
        }
        for entry in &entries {
            let is_last = |name: &&String| last.get(name).is_some_and(|place| *place == entry.place);
            let names: BTreeSet<String> = entry.names.iter().filter(is_last).cloned().collect();
            if let Some((file, text)) = entry.manifest.clone().filter(|_| !names.is_empty()) {
                applied.push(Applied { place: entry.place.clone(), file, text, names });
            }
        }
        let earlier = entries.into_iter().map(|entry| entry.place).collect();
        Ok((Self { log, earlier, texts: BTreeMap::new() }, applied))
    }

    /// Whether an earlier release stored some objects, so that [`Self::take_over`] must be called.
    pub(crate) fn is_of_earlier_release(&self) -> bool {
        !self.earlier.is_empty()
    }

    /// Replaces the files of an earlier release; `texts` are the own texts of all objects in force. A failure is retried
    /// before the next change.
    pub(crate) fn take_over(&mut self, texts: BTreeMap<String, String>) {
        self.texts = texts;
        if let Err(error) = self.replace_earlier() {
            tracing::warn!(%error, "applied manifests of an earlier release are not rewritten yet");
        }
    }

    /// Records a request: objects with their own texts, and objects that are deleted.
    ///
    /// # Errors
    /// It is not recorded.
    pub(crate) fn record(&mut self, entries: &[LogEntry<'_>]) -> anyhow::Result<PendingRecord> {
        let place = self.log.path().to_path_buf();
        let refused = || format!("cannot write {}", place.display());
        self.replace_earlier().with_context(refused)?;
        self.log.append(entries).with_context(refused)
    }

    /// Rolls a request back: the journal is as before.
    pub(crate) fn roll_back(&mut self, pending: &PendingRecord) -> anyhow::Result<()> {
        self.log.roll_back(pending).with_context(|| {
            format!("{} would make the next start apply what is not applied now", self.log.path().display())
        })
    }

    /// Commits a request.
    pub(crate) fn commit(&mut self, pending: PendingRecord) {
        self.log.commit(pending);
    }

    /// Writes the log, and then removes the files of an earlier release, oldest first: those that remain after a crash
    /// change nothing in the log.
    fn replace_earlier(&mut self) -> io::Result<()> {
        if self.earlier.is_empty() {
            return Ok(());
        }
        let gone = self.log.keys().filter(|name| !self.texts.contains_key(*name)).map(str::to_owned);
        let gone: Vec<String> = gone.collect();
        let removals = gone.iter().map(|name| LogEntry::Remove(name));
        let puts = self.texts.iter().map(|(name, text)| LogEntry::Put(name, text));
        let pending = self.log.append(&puts.chain(removals).collect::<Vec<_>>())?;
        self.log.commit(pending);
        while let Some(first) = self.earlier.front() {
            match fs::remove_file(first) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => drop(self.earlier.pop_front()),
            }
        }
        self.texts.clear();
        self.log.path().parent().map_or(Ok(()), storage::sync_directory)
    }
}

/// The message on a damaged file, without which the agent cannot determine the policies in force.
pub(crate) fn damaged(place: &Path, what: &str) -> String {
    format!(
        "{place} records policies that are in force, and {what}; restore it from a copy, or remove it and apply its \
         manifests again once the agent runs. The agent does not start without it, since traffic that its policies \
         deny could be forwarded; the policies that were in force stay in force meanwhile",
        place = place.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    struct ScratchDirectory(PathBuf);

    impl ScratchDirectory {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("nexin-applied-{name}-{}", std::process::id())))
        }

        fn journal(&self) -> Journal {
            Journal::load(&self.0).unwrap().0
        }

        /// The objects in force, as `name=text`.
        fn in_force(&self) -> Vec<String> {
            let (_, applied) = Journal::load(&self.0).unwrap();
            let said = |one: &Applied| {
                one.names.iter().map(|name| format!("{name}={}", one.text)).collect::<Vec<_>>()
            };
            let mut in_force: Vec<String> = applied.iter().flat_map(said).collect();
            in_force.sort();
            in_force
        }

        fn files(&self) -> usize {
            fs::read_dir(&self.0).unwrap().count()
        }
    }

    impl Drop for ScratchDirectory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn record(journal: &mut Journal, entries: &[LogEntry<'_>]) {
        let pending = journal.record(entries).unwrap();
        journal.commit(pending);
    }

    #[test]
    fn the_last_text_of_an_object_is_in_force() {
        let scratch = ScratchDirectory::new("last");
        let mut journal = scratch.journal();
        record(&mut journal, &["a", "b", "c"].map(|name| LogEntry::Put(name, "one")));
        record(&mut journal, &[LogEntry::Put("b", "two")]);
        assert_eq!(scratch.in_force(), ["a=one", "b=two", "c=one"]);
        record(&mut journal, &[LogEntry::Remove("b")]);
        assert_eq!(scratch.in_force(), ["a=one", "c=one"], "the earlier text does not return");
        record(&mut scratch.journal(), &[LogEntry::Remove("a"), LogEntry::Put("c", "three")]);
        assert_eq!((scratch.in_force(), scratch.files()), (vec!["c=three".to_string()], 1));
    }

    #[test]
    fn a_request_that_is_rolled_back_leaves_the_journal_as_before() {
        let scratch = ScratchDirectory::new("back");
        let mut journal = scratch.journal();
        record(&mut journal, &["a", "b"].map(|name| LogEntry::Put(name, "one")));
        for entries in [vec![LogEntry::Put("a", "two")], vec![LogEntry::Remove("a"), LogEntry::Remove("b")]] {
            let pending = journal.record(&entries).unwrap();
            journal.roll_back(&pending).unwrap();
            assert_eq!(scratch.in_force(), ["a=one", "b=one"]);
        }
    }

    /// Entries as earlier releases wrote them, by name of their file.
    const EARLIER: [(&str, &str); 5] = [
        ("Namespace.b.json", r#"{"file": "f", "name": "Namespace/b", "text": "one"}"#),
        ("000000000001.json", r#"{"file": "f", "names": ["a", "Namespace/b", "c", "d"], "text": "two"}"#),
        ("000000000002.json", r#"{"removed": ["c", "x"]}"#),
        ("000000000003.json", r#"{"file": "f", "names": ["d"], "text": "three"}"#),
        ("000000000009.leaving", r#"{"file": "f", "names": ["e"], "text": "four"}"#),
    ];

    fn write(scratch: &ScratchDirectory, (file, stored): (&str, &str)) {
        fs::create_dir_all(&scratch.0).unwrap();
        fs::write(scratch.0.join(file), stored).unwrap();
    }

    #[test]
    fn entries_of_an_earlier_release_are_taken_over() {
        let scratch = ScratchDirectory::new("earlier");
        EARLIER.iter().for_each(|entry| write(&scratch, *entry));
        let in_force = ["Namespace/b=two", "a=two", "d=three"];
        assert_eq!(scratch.in_force(), in_force);
        let mut journal = scratch.journal();
        assert!(journal.is_of_earlier_release());
        let texts = in_force.map(|one| one.split_once('=').unwrap());
        journal.take_over(texts.map(|(name, text)| (name.into(), text.into())).into());
        assert_eq!((scratch.in_force(), scratch.files()), (in_force.map(String::from).into(), 1));
        assert!(!scratch.journal().is_of_earlier_release());
        // The agent was killed before it removed the last of them.
        for remaining in 0..4 {
            EARLIER[remaining..4].iter().for_each(|entry| write(&scratch, *entry));
            assert_eq!(scratch.in_force(), in_force, "from {remaining} on");
            for (file, _) in &EARLIER[remaining..4] {
                fs::remove_file(scratch.0.join(file)).unwrap();
            }
        }
        // The earlier release ran once more.
        write(&scratch, ("000000000001.json", r#"{"removed": ["a"]}"#));
        assert_eq!(scratch.in_force(), ["Namespace/b=two", "d=three"]);
        let mut journal = scratch.journal();
        journal.take_over(
            [("Namespace/b", "two"), ("d", "three")].map(|(name, text)| (name.into(), text.into())).into(),
        );
        record(&mut journal, &[LogEntry::Put("a", "five")]);
        assert_eq!(scratch.in_force(), ["Namespace/b=two", "a=five", "d=three"]);
    }

    #[test]
    fn an_object_among_many_is_stored_once_with_its_own_text() {
        let scratch = ScratchDirectory::new("many");
        let text = |label: usize| {
            let filler = "x".repeat(250);
            format!(
                "{{apiVersion: v1, kind: Namespace, metadata: {{name: a, labels: {{a: v{label}, b: {filler}}}}}}}"
            )
        };
        let names: Vec<String> = (0..1000).map(|number| format!("Namespace/n{number}")).collect();
        let whole = text(0);
        let mut journal = scratch.journal();
        record(&mut journal, &names.iter().map(|name| LogEntry::Put(name, &whole)).collect::<Vec<_>>());
        for (edit, name) in names.iter().take(100).enumerate() {
            record(&mut journal, &[LogEntry::Put(name, &text(edit))]);
        }
        let applied = Journal::load(&scratch.0).unwrap().1;
        assert!(applied.len() == 1000 && applied.iter().all(|one| one.text.len() <= text(100).len()));
        let stored = fs::metadata(scratch.0.join(LOG)).unwrap().len();
        assert!(stored < 2 * 1000 * whole.len() as u64, "{stored} bytes");
    }

    #[test]
    fn a_damaged_journal_is_reported_with_advice() {
        let scratch = ScratchDirectory::new("damaged");
        record(&mut scratch.journal(), &[LogEntry::Put("a", "one")]);
        let whole = fs::read(scratch.0.join(LOG)).unwrap();
        let said = || format!("{:#}", Journal::load(&scratch.0).unwrap_err());
        for bytes in
            [b"", "{\"file\":\"f\"".as_bytes(), b"{}", &whole[..60], &[&whole[..40], &[0; 40][..]].concat()]
        {
            fs::write(scratch.0.join(LOG), bytes).unwrap();
            assert!(said().contains(LOG) && said().contains("remove it and apply"), "{}", said());
        }
        fs::write(scratch.0.join(LOG), whole).unwrap();
        for bytes in ["", "{\"file\":\"f\"", "[]", "{}", "\u{0}"] {
            write(&scratch, ("000000000001.json", bytes));
            assert!(
                said().contains("000000000001.json") && said().contains("remove it and apply"),
                "{}",
                said()
            );
        }
    }
}
