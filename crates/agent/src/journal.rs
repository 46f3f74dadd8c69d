//! The journal of applied manifests: each request to apply or delete objects is one file, so that a request is on
//! disk completely or not at all.
//!
//! Entries are numbered. A later entry replaces the objects of earlier entries, or deletes them. An entry without
//! objects in force is removed.

use crate::storage;
use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Extension of an entry.
const ENDING: &str = "json";
/// Extension of an entry that is being removed.
const REMOVED: &str = "leaving";

/// An entry as it is stored: the names of its objects, and the text that contains them.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Stored {
    Put {
        file: String,
        names: BTreeSet<String>,
        text: String,
    },
    Remove {
        removed: BTreeSet<String>,
    },
    /// An entry of an earlier release: one object, with the text of the whole file.
    Earlier {
        file: String,
        name: String,
        text: String,
    },
}

/// An applied text, and its objects that are still in force.
#[derive(Debug)]
pub(crate) struct Applied {
    /// The file of the entry.
    pub place: PathBuf,
    /// Name of the manifest file, for messages.
    pub file: String,
    /// The text.
    pub text: String,
    /// Its objects that are in force.
    pub names: BTreeSet<String>,
}

/// The entries of one directory.
#[derive(Debug)]
pub(crate) struct Journal {
    directory: PathBuf,
    /// Oldest first.
    entries: Vec<Entry>,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    place: PathBuf,
    /// The objects that it applies or deletes.
    names: BTreeSet<String>,
    /// Its objects that are in force; none for an entry that deletes.
    in_force: BTreeSet<String>,
}

/// An entry that is on disk and can be rolled back until it is committed.
#[must_use]
#[derive(Debug)]
pub(crate) enum PendingEntry {
    /// The entry was written to this file.
    Written(PathBuf),
    /// An earlier entry was moved away from this file.
    Moved(PathBuf),
    /// Nothing had to be recorded.
    Nothing,
}

impl Journal {
    /// Reads the entries of a directory, and the objects in force.
    pub(crate) fn load(directory: &Path) -> anyhow::Result<(Self, Vec<Applied>)> {
        let mut entries = Self { directory: directory.to_path_buf(), entries: Vec::new(), next: 1 };
        let mut applied = Vec::new();
        for place in places(directory)? {
            let stored = read(&place)?;
            let number = place.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
            entries.next = entries.next.max(number.map_or(1, |number| number.saturating_add(1)));
            let (names, is_put) = match &stored {
                Stored::Put { names, .. } => (names.clone(), true),
                Stored::Remove { removed } => (removed.clone(), false),
                Stored::Earlier { name, .. } => ([name.clone()].into(), true),
            };
            entries.add(place.clone(), names, is_put);
            if let Stored::Put { file, text, .. } | Stored::Earlier { file, text, .. } = stored {
                applied.push(Applied { place, file, text, names: BTreeSet::new() });
            }
        }
        for one in &mut applied {
            let act = entries.entries.iter().find(|act| act.place == one.place);
            one.names = act.map(|act| act.in_force.clone()).unwrap_or_default();
        }
        applied.retain(|one| !one.names.is_empty());
        Ok((entries, applied))
    }

    /// Records that objects are applied.
    pub(crate) fn put(
        &mut self,
        file: &str,
        text: &str,
        names: BTreeSet<String>,
    ) -> anyhow::Result<PendingEntry> {
        if names.is_empty() {
            return Ok(PendingEntry::Nothing);
        }
        self.write(&Stored::Put { file: file.into(), names, text: text.into() })
    }

    /// Records that objects are deleted. If a single entry applies them and no other object in force, that entry is
    /// moved away, which needs no disk space.
    pub(crate) fn remove(&mut self, names: BTreeSet<String>) -> anyhow::Result<PendingEntry> {
        let mut related = self.entries.iter().filter(|act| !act.names.is_disjoint(&names));
        match (related.next(), related.next()) {
            (None, _) => Ok(PendingEntry::Nothing),
            (Some(act), None) if act.in_force.is_subset(&names) => {
                let place = act.place.clone();
                let refused = || format!("{} cannot be moved away", place.display());
                fs::rename(&place, place.with_extension(REMOVED)).with_context(refused)?;
                Ok(PendingEntry::Moved(place))
            }
            _ => self.write(&Stored::Remove { removed: names }),
        }
    }

    /// Rolls an entry back: the directory is as before.
    pub(crate) fn roll_back(&mut self, pending: &PendingEntry) -> anyhow::Result<()> {
        let (place, undone) = match pending {
            PendingEntry::Written(place) => (place, fs::remove_file(place)),
            PendingEntry::Moved(place) => (place, fs::rename(place.with_extension(REMOVED), place)),
            PendingEntry::Nothing => return Ok(()),
        };
        undone.with_context(|| {
            format!("{} would make the next start apply what is not applied now", place.display())
        })
    }

    /// Commits an entry, and removes entries that are not needed any more.
    pub(crate) fn commit(&mut self, pending: PendingEntry, names: BTreeSet<String>, is_put: bool) {
        match pending {
            PendingEntry::Written(place) => self.add(place, names, is_put),
            PendingEntry::Moved(place) => {
                self.entries.retain(|act| act.place != place);
                forget(&place.with_extension(REMOVED));
            }
            PendingEntry::Nothing => {}
        }
        // Oldest first: an entry that deletes an object is needed while an older entry applies it.
        let mut older: BTreeSet<String> = BTreeSet::new();
        self.entries.retain(|act| {
            let is_needed = !act.in_force.is_empty() || !act.names.is_disjoint(&older);
            let stays = is_needed || !forget(&act.place);
            if stays {
                older.extend(act.names.iter().cloned());
            }
            stays
        });
    }

    fn add(&mut self, place: PathBuf, names: BTreeSet<String>, is_put: bool) {
        for act in &mut self.entries {
            act.in_force.retain(|name| !names.contains(name));
        }
        let in_force = if is_put { names.clone() } else { BTreeSet::new() };
        self.entries.push(Entry { place, names, in_force });
    }

    fn write(&mut self, stored: &Stored) -> anyhow::Result<PendingEntry> {
        let place = self.directory.join(format!("{:012}.{ENDING}", self.next));
        let refused = || format!("cannot write {}", place.display());
        storage::make_directory(&self.directory).with_context(refused)?;
        if let Err(error) = storage::replace(&place, &serde_json::to_vec(stored)?) {
            // The file may exist nevertheless; the next start must not find it.
            forget(&place);
            return Err(error).with_context(refused);
        }
        self.next += 1;
        Ok(PendingEntry::Written(place))
    }
}

/// Removes an unneeded file; returns whether it is gone.
fn forget(place: &Path) -> bool {
    match fs::remove_file(place) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, place = %place.display(), "a file that is not needed any more cannot be removed");
            false
        }
        _ => true,
    }
}

/// The files of a directory's entries, oldest first; files of earlier releases have names instead of numbers.
fn places(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let unreadable = || format!("{} cannot be read", directory.display());
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(unreadable)?,
    };
    let mut places = Vec::new();
    for entry in entries {
        let place = entry.with_context(unreadable)?.path();
        match place.extension() {
            Some(ending) if ending == ENDING => places.push(place),
            // An earlier agent stopped before it removed the file.
            Some(ending) if ending == REMOVED => drop(forget(&place)),
            _ => {}
        }
    }
    places.sort_by_key(|place| {
        let number = place.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        (number, place.clone())
    });
    Ok(places)
}

fn read(place: &Path) -> anyhow::Result<Stored> {
    let bytes = fs::read(place).with_context(|| damaged(place, "it cannot be read"))?;
    serde_json::from_slice(&bytes).with_context(|| damaged(place, "it is damaged"))
}

/// The message on a damaged entry, without which the agent cannot determine the policies in force.
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

        fn entries(&self) -> Journal {
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

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(ToString::to_string).collect()
    }

    fn put(entries: &mut Journal, text: &str, which: &[&str]) {
        let pending = entries.put("f", text, names(which)).unwrap();
        entries.commit(pending, names(which), true);
    }

    fn remove(entries: &mut Journal, which: &[&str]) {
        let pending = entries.remove(names(which)).unwrap();
        entries.commit(pending, names(which), false);
    }

    #[test]
    fn the_last_entry_of_an_object_is_in_force_and_others_are_removed_from_disk() {
        let scratch = ScratchDirectory::new("last");
        let mut entries = scratch.entries();
        put(&mut entries, "one", &["a", "b", "c"]);
        put(&mut entries, "two", &["b"]);
        assert_eq!(scratch.in_force(), ["a=one", "b=two", "c=one"]);
        remove(&mut entries, &["b"]);
        assert_eq!(scratch.in_force(), ["a=one", "c=one"], "the earlier text does not return");
        remove(&mut entries, &["a"]);
        assert_eq!(scratch.in_force(), ["c=one"]);
        let mut entries = scratch.entries();
        put(&mut entries, "three", &["c", "a"]);
        assert_eq!((scratch.in_force(), scratch.files()), (vec!["a=three".to_string(), "c=three".into()], 1));
        remove(&mut entries, &["a", "c"]);
        assert_eq!((scratch.in_force().len(), scratch.files()), (0, 0));
    }

    #[test]
    fn an_entry_that_is_rolled_back_leaves_the_directory_as_before() {
        let scratch = ScratchDirectory::new("back");
        let mut entries = scratch.entries();
        put(&mut entries, "one", &["a", "b"]);
        for pending in [
            entries.put("f", "two", names(&["a"])),
            entries.remove(names(&["a"])),
            entries.remove(names(&["a", "b"])),
        ] {
            entries.roll_back(&pending.unwrap()).unwrap();
        }
        assert_eq!((scratch.in_force(), scratch.files()), (vec!["a=one".to_string(), "b=one".into()], 1));
    }

    #[test]
    fn entries_of_an_earlier_release_are_read_and_replaced() {
        let scratch = ScratchDirectory::new("earlier");
        fs::create_dir_all(&scratch.0).unwrap();
        for name in ["NetworkPolicy/default/a", "Namespace/b"] {
            let stored = format!("{{\"file\":\"f\",\"name\":\"{name}\",\"text\":\"old\"}}");
            fs::write(scratch.0.join(format!("{}.json", name.replace('/', "."))), stored).unwrap();
        }
        assert_eq!(scratch.in_force(), ["Namespace/b=old", "NetworkPolicy/default/a=old"]);
        put(&mut scratch.entries(), "new", &["Namespace/b"]);
        assert_eq!(scratch.in_force(), ["Namespace/b=new", "NetworkPolicy/default/a=old"]);
        assert_eq!(scratch.files(), 2);
    }

    #[test]
    fn a_damaged_entry_is_reported_with_advice() {
        let scratch = ScratchDirectory::new("damaged");
        put(&mut scratch.entries(), "one", &["a"]);
        let place = scratch.0.join("000000000001.json");
        for bytes in ["", "{\"file\":\"f\"", "[]", "{}", "\u{0}"] {
            fs::write(&place, bytes).unwrap();
            let said = format!("{:#}", Journal::load(&scratch.0).unwrap_err());
            assert!(said.contains("000000000001.json") && said.contains("remove it and apply"), "{said}");
        }
    }
}
