//! Copies as earlier releases stored them: a file for each copy.

use serde::Deserialize;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Extension of a copy.
const ENDING: &str = "json";
/// Extension of a copy of a still earlier release: the text alone, under the escaped path.
const TEXT_ENDING: &str = "copies";

/// A copy.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EarlierCopy {
    pub(super) file: String,
    pub(super) text: String,
}

/// The copies in a directory, those of the earliest release first; none if the directory does not exist.
pub(super) fn places(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut places = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    places.retain(|place| place.extension().is_some_and(|ending| ending == ENDING || ending == TEXT_ENDING));
    places.sort_by_key(|place| (place.extension().is_some_and(|ending| ending == ENDING), place.clone()));
    Ok(places)
}

/// Reads a copy; none if it was removed meanwhile.
pub(super) fn read(place: &Path) -> Result<Option<EarlierCopy>, String> {
    let bytes = match fs::read(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes.map_err(|error| error.to_string())?,
    };
    if place.extension().is_some_and(|ending| ending == ENDING) {
        return serde_json::from_slice(&bytes).map(Some).map_err(|error| error.to_string());
    }
    let text = String::from_utf8(bytes).map_err(|error| error.to_string())?;
    let name = place.file_stem().and_then(|name| name.to_str()).ok_or("its name is not UTF-8")?;
    Ok(Some(EarlierCopy { file: name.replace("%2F", "/").replace("%25", "%"), text }))
}
