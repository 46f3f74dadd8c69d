//! Entries of the journal as earlier releases stored them: a file for each request to apply or delete objects.
//!
//! Entries are numbered. A later entry replaces the objects of earlier entries, or deletes them.

use anyhow::Context;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Extension of an entry.
const ENDING: &str = "json";
/// Extension of an entry that was being removed.
const REMOVED: &str = "leaving";

/// An entry as it is stored: the names of its objects, and the text that contains them.
#[derive(Debug, Deserialize)]
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
    /// An entry of a still earlier release: one object, with the text of the whole file.
    One {
        file: String,
        name: String,
        text: String,
    },
}

/// An entry.
#[derive(Debug)]
pub(super) struct EarlierEntry {
    pub(super) place: PathBuf,
    /// The objects that it applies or deletes.
    pub(super) names: BTreeSet<String>,
    /// The name and the text of the manifest file; none for an entry that deletes.
    pub(super) manifest: Option<(String, String)>,
}

/// Reads the entries of a directory, oldest first; `refused` is the message on an entry that cannot be read.
pub(super) fn read(
    directory: &Path,
    refused: impl Fn(&Path, &str) -> String,
) -> anyhow::Result<Vec<EarlierEntry>> {
    let mut entries = Vec::new();
    for place in places(directory)? {
        let bytes = fs::read(&place).with_context(|| refused(&place, "it cannot be read"))?;
        let stored = serde_json::from_slice(&bytes).with_context(|| refused(&place, "it is damaged"))?;
        let (names, manifest) = match stored {
            Stored::Put { file, names, text } => (names, Some((file, text))),
            Stored::Remove { removed } => (removed, None),
            Stored::One { file, name, text } => ([name].into(), Some((file, text))),
        };
        entries.push(EarlierEntry { place, names, manifest });
    }
    Ok(entries)
}

/// The files of a directory's entries, oldest first; files of still earlier releases have names instead of numbers.
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
            // The agent stopped before it removed the file; a failure only uses space.
            Some(ending) if ending == REMOVED => drop(fs::remove_file(&place)),
            _ => {}
        }
    }
    places.sort_by_key(|place| {
        let number = place.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        (number, place.clone())
    });
    Ok(places)
}
