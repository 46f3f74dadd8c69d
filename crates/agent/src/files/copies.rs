//! Copies of the last valid text of each policy file, beside the agent's state: a file that is broken when the agent
//! starts keeps its policies in force.

mod earlier;

use crate::entry_log::{Durability, EntryLog, LogEntry, ReadLogError};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Name of the log that contains the copies.
const LOG: &str = "files.log";

/// A copy, or the log of copies, that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DamagedCopy {
    /// Where it is.
    pub copy: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

/// The copies in one directory.
#[derive(Debug)]
pub(crate) struct Copies {
    log: EntryLog,
    /// Changes that are not saved yet: the new text of a file, or none for a file that is deleted.
    unsaved: BTreeMap<String, Option<String>>,
    /// Copies of an earlier release that the log does not replace yet.
    earlier: Vec<PathBuf>,
}

impl Copies {
    /// Reads the copies of a directory: the texts by the names of their files, and the copies that cannot be read.
    pub(crate) fn load(directory: &Path) -> io::Result<(Self, BTreeMap<String, String>, Vec<DamagedCopy>)> {
        let place = directory.join(LOG);
        let (mut unsaved, mut earlier, mut damaged) = (BTreeMap::new(), Vec::new(), Vec::new());
        let (log, mut texts) = match EntryLog::read(&place) {
            Ok(found) => found,
            Err(ReadLogError::Unreadable(error)) if !place.is_dir() => return Err(error),
            Err(error) => {
                damaged.push(DamagedCopy { copy: place.clone(), why: error.to_string() });
                (EntryLog::empty(&place), BTreeMap::new())
            }
        };
        for place in earlier::places(directory)? {
            match earlier::read(&place) {
                Ok(Some(copy)) => {
                    unsaved.insert(copy.file.clone(), Some(copy.text.clone()));
                    texts.insert(copy.file, copy.text);
                    earlier.push(place);
                }
                Ok(None) => {}
                Err(why) => damaged.push(DamagedCopy { copy: place, why }),
            }
        }
        Ok((Self { log, unsaved, earlier }, texts, damaged))
    }

    /// Saves the new texts of files, and removes the copies of files without a text, with one fsync. What cannot be saved
    /// is saved by the next call.
    pub(crate) fn save(
        &mut self,
        changes: impl IntoIterator<Item = (String, Option<String>)>,
    ) -> io::Result<()> {
        self.save_durably(changes, Durability::Host)
    }

    /// As [`Self::save`], for changes that must outlive the host or only this process.
    pub(crate) fn save_durably(
        &mut self,
        changes: impl IntoIterator<Item = (String, Option<String>)>,
        durability: Durability,
    ) -> io::Result<()> {
        self.unsaved.extend(changes);
        let entries = self.unsaved.iter().map(|change| match change {
            (file, Some(text)) => LogEntry::Put(file, text),
            (file, None) => LogEntry::Remove(file),
        });
        let pending = self.log.append_durably(&entries.collect::<Vec<_>>(), durability)?;
        self.log.commit(pending);
        self.unsaved.clear();
        while let Some(first) = self.earlier.last() {
            remove(first)?;
            self.earlier.pop();
        }
        Ok(())
    }

    /// Removes copies that cannot be read and are not needed.
    pub(crate) fn discard(damaged: &[DamagedCopy]) {
        for DamagedCopy { copy, .. } in damaged {
            if let Err(error) = remove(copy) {
                tracing::warn!(%error, copy = %copy.display(), "a damaged copy cannot be removed");
            }
        }
    }
}

/// Removes a file, which may be gone.
fn remove(place: &Path) -> io::Result<()> {
    match fs::remove_file(place) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct ScratchDirectory(PathBuf);

    impl ScratchDirectory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("nexin-copies-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn texts(&self) -> BTreeMap<String, String> {
            Copies::load(&self.0).unwrap().1
        }
    }

    impl Drop for ScratchDirectory {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn save(copies: &mut Copies, changes: &[(&str, Option<&str>)]) -> io::Result<()> {
        let change = |(file, text): &(&str, Option<&str>)| (file.to_string(), text.map(ToString::to_string));
        copies.save(changes.iter().map(change))
    }

    fn texts(texts: &[(&str, &str)]) -> BTreeMap<String, String> {
        texts.iter().map(|(file, text)| (file.to_string(), text.to_string())).collect()
    }

    #[test]
    fn a_saved_copy_is_read_until_its_file_is_gone() {
        let scratch = ScratchDirectory::new("found");
        let (mut copies, ..) = Copies::load(&scratch.0).unwrap();
        let long = format!("/p/{}.yaml", "\u{e9}".repeat(125));
        save(&mut copies, &[("/a/b.yaml", Some("one")), ("/a/c.yaml", Some("two")), (&long, Some("l"))])
            .unwrap();
        save(&mut copies, &[("/a/b.yaml", None), ("/none.yaml", None)]).unwrap();
        assert_eq!(scratch.texts(), texts(&[("/a/c.yaml", "two"), (&long, "l")]));
    }

    #[test]
    fn copies_that_cannot_be_saved_are_saved_later() {
        let scratch = ScratchDirectory::new("stopped");
        // A directory blocks the path of the log.
        fs::create_dir(scratch.0.join(LOG)).unwrap();
        let mut copies = Copies::load(&scratch.0).unwrap().0;
        save(&mut copies, &[("/a", Some("a")), ("/b", Some("b"))]).unwrap_err();
        save(&mut copies, &[("/b", None), ("/c", Some("c"))]).unwrap_err();
        fs::remove_dir(scratch.0.join(LOG)).unwrap();
        save(&mut copies, &[]).unwrap();
        assert_eq!(scratch.texts(), texts(&[("/a", "a"), ("/c", "c")]));
    }

    #[test]
    fn many_copies_are_one_change_of_one_file() {
        let scratch = ScratchDirectory::new("many");
        let (mut copies, ..) = Copies::load(&scratch.0).unwrap();
        let files: Vec<String> = (0..5000).map(|number| format!("/p/{number}.yaml")).collect();
        let all: Vec<(&str, Option<&str>)> = files.iter().map(|file| (file.as_str(), Some("text"))).collect();
        save(&mut copies, &all).unwrap();
        assert_eq!((scratch.texts().len(), fs::read_dir(&scratch.0).unwrap().count()), (5000, 1));
    }

    #[test]
    fn copies_of_an_earlier_release_are_taken_over_and_damaged_copies_are_named() {
        let scratch = ScratchDirectory::new("earlier");
        fs::write(scratch.0.join("%2Fp%2F%251.yaml.copies"), "old").unwrap();
        fs::write(scratch.0.join("%2Fp%2Fa.yaml.copies"), "older").unwrap();
        fs::write(scratch.0.join("%2Fp%2Fa.yaml.json"), r#"{"file": "/p/a.yaml", "text": "old"}"#).unwrap();
        fs::write(scratch.0.join("%2Fp%2Fb.yaml.json"), r#"{"file": "/p/b.yaml", "te"#).unwrap();
        let (mut copies, found, damaged) = Copies::load(&scratch.0).unwrap();
        assert_eq!(found, texts(&[("/p/%1.yaml", "old"), ("/p/a.yaml", "old")]));
        assert_eq!(damaged.len(), 1);
        assert!(
            damaged[0].copy.ends_with("%2Fp%2Fb.yaml.json") && damaged[0].why.contains("EOF"),
            "{damaged:?}"
        );
        Copies::discard(&damaged);
        save(&mut copies, &[("/p/c.yaml", Some("new"))]).unwrap();
        assert_eq!(
            scratch.texts(),
            texts(&[("/p/%1.yaml", "old"), ("/p/a.yaml", "old"), ("/p/c.yaml", "new")])
        );
        assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_log_is_named_and_replaced() {
        let scratch = ScratchDirectory::new("damaged");
        save(&mut Copies::load(&scratch.0).unwrap().0, &[("/a", Some("one"))]).unwrap();
        let mut bytes = fs::read(scratch.0.join(LOG)).unwrap();
        bytes[50] ^= 1;
        fs::write(scratch.0.join(LOG), bytes).unwrap();
        let (mut copies, found, damaged) = Copies::load(&scratch.0).unwrap();
        assert!(found.is_empty() && damaged.len() == 1 && damaged[0].copy.ends_with(LOG), "{damaged:?}");
        Copies::discard(&damaged);
        save(&mut copies, &[("/a", Some("two"))]).unwrap();
        assert_eq!(scratch.texts(), texts(&[("/a", "two")]));
    }
}
