//! What was applied through the API, on disk: one file for each act, so that an act is there whole or not at all.
//!
//! Journal are numbered and a later one in_force more: it puts objects in the place of what earlier ones say of them, or takes
//! them out. An act of which nothing in_force any more is removed.

use crate::storage;
use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Ending of an act.
const ENDING: &str = "json";
/// Ending of an act that is being taken back.
const REMOVED: &str = "leaving";

/// An act as it is stored: names, and the text that describes those that are put in force.
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
    /// As earlier releases stored one object, with the text of the whole file that it came from.
    Earlier {
        file: String,
        name: String,
        text: String,
    },
}

/// A text that was applied, and what of it in_force still.
#[derive(Debug)]
pub(crate) struct Applied {
    /// Where it is stored.
    pub place: PathBuf,
    /// Name of the file it came from, for messages.
    pub file: String,
    /// The text.
    pub text: String,
    /// The objects of it that are in force.
    pub names: BTreeSet<String>,
}

/// The entries of one directory.
#[derive(Debug)]
pub(crate) struct Journal {
    directory: PathBuf,
    /// By age, oldest first.
    entries: Vec<Entry>,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    place: PathBuf,
    /// All that it is about.
    names: BTreeSet<String>,
    /// What of it in_force: of one that removes, nothing does.
    in_force: BTreeSet<String>,
}

/// An act that is on disk and may be taken back until it is settled.
#[must_use]
#[derive(Debug)]
pub(crate) enum PendingEntry {
    /// It was written here.
    Written(PathBuf),
    /// An earlier act was moved away from here.
    Moved(PathBuf),
    /// There was nothing to do.
    Nothing,
}

impl Journal {
    /// The entries of a directory, and what they put in force.
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

    /// Writes down that objects are put in force.
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

    /// Writes down that objects are taken out of force. Where the only act about them is about nothing else that in_force,
    /// it is moved away: that needs no room.
    pub(crate) fn remove(&mut self, names: BTreeSet<String>) -> anyhow::Result<PendingEntry> {
        let mut about = self.entries.iter().filter(|act| !act.names.is_disjoint(&names));
        match (about.next(), about.next()) {
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

    /// Takes an act back: the directory is as before.
    pub(crate) fn roll_back(&mut self, pending: &PendingEntry) -> anyhow::Result<()> {
        let (place, undone) = match pending {
            PendingEntry::Written(place) => (place, fs::remove_file(place)),
            PendingEntry::Moved(place) => (place, fs::rename(place.with_extension(REMOVED), place)),
            PendingEntry::Nothing => return Ok(()),
        };
        undone.with_context(|| {
            format!("{} would have the next start put in force what is not", place.display())
        })
    }

    /// Counts on an act from now on, and removes entries of which nothing in_force any more.
    pub(crate) fn commit(&mut self, pending: PendingEntry, names: BTreeSet<String>, is_put: bool) {
        match pending {
            PendingEntry::Written(place) => self.add(place, names, is_put),
            PendingEntry::Moved(place) => {
                self.entries.retain(|act| act.place != place);
                forget(&place.with_extension(REMOVED));
            }
            PendingEntry::Nothing => {}
        }
        // Oldest first: one that removes is needed for as long as something older is about the same.
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
            // It may be there all the same, and is not to be found by the next start.
            forget(&place);
            return Err(error).with_context(refused);
        }
        self.next += 1;
        Ok(PendingEntry::Written(place))
    }
}

/// Removes a file that nothing depends on; whether it is gone.
fn forget(place: &Path) -> bool {
    match fs::remove_file(place) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, place = %place.display(), "a file that is not needed any more stays");
            false
        }
        _ => true,
    }
}

/// The entries of a directory, oldest first: those of earlier releases have names instead of numbers.
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
            // What an agent that ended meanwhile was about to remove.
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

/// What to say of a file without which the agent cannot know what was in force.
pub(crate) fn damaged(place: &Path, what: &str) -> String {
    format!(
        "{place} holds what was applied and is in force, and {what}; bring it back from a copy, or remove it and apply \
         what it held again once the agent runs. The agent does not start without it, since that could let through what \
         it refuses; what was in force stays in force meanwhile",
        place = place.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("nexin-applied-{name}-{}", std::process::id())))
        }

        fn entries(&self) -> Journal {
            Journal::load(&self.0).unwrap().0
        }

        /// What in_force, as `name=text`.
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

    impl Drop for Scratch {
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
    fn what_was_applied_last_counts_and_nothing_else_stays_on_disk() {
        let scratch = Scratch::new("last");
        let mut entries = scratch.entries();
        put(&mut entries, "one", &["a", "b", "c"]);
        put(&mut entries, "two", &["b"]);
        assert_eq!(scratch.in_force(), ["a=one", "b=two", "c=one"]);
        remove(&mut entries, &["b"]);
        assert_eq!(scratch.in_force(), ["a=one", "c=one"], "the earlier text does not come back");
        remove(&mut entries, &["a"]);
        assert_eq!(scratch.in_force(), ["c=one"]);
        let mut entries = scratch.entries();
        put(&mut entries, "three", &["c", "a"]);
        assert_eq!((scratch.in_force(), scratch.files()), (vec!["a=three".to_string(), "c=three".into()], 1));
        remove(&mut entries, &["a", "c"]);
        assert_eq!((scratch.in_force().len(), scratch.files()), (0, 0));
    }

    #[test]
    fn an_act_that_is_taken_back_was_never_there() {
        let scratch = Scratch::new("back");
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
    fn what_an_earlier_release_stored_is_found_and_makes_way() {
        let scratch = Scratch::new("earlier");
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
    fn a_damaged_act_is_named_with_what_to_do() {
        let scratch = Scratch::new("damaged");
        put(&mut scratch.entries(), "one", &["a"]);
        let place = scratch.0.join("000000000001.json");
        for bytes in ["", "{\"file\":\"f\"", "[]", "{}", "\u{0}"] {
            fs::write(&place, bytes).unwrap();
            let said = format!("{:#}", Journal::load(&scratch.0).unwrap_err());
            assert!(said.contains("000000000001.json") && said.contains("remove it and apply"), "{said}");
        }
    }
}
