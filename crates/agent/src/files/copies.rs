//! Copies of the last valid text of each policy file, beside the agent's state: a file that is broken when the agent
//! starts keeps its policies in force.

use crate::storage;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

/// Extension of a copy.
const ENDING: &str = "json";
/// Extension of a copy of earlier releases: the text alone, under the escaped path.
const EARLIER_ENDING: &str = "copies";
/// Maximum length of a name that shows the whole path; a longer path is complete only inside the copy.
const MAX_NAME: usize = 160;

/// A copy.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredCopy {
    file: String,
    text: String,
}

/// A copy that cannot be read.
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
    directory: PathBuf,
    known: BTreeMap<String, KnownCopy>,
}

/// A copy on disk.
#[derive(Debug)]
struct KnownCopy {
    place: PathBuf,
    text: u64,
}

impl Copies {
    /// Reads the copies of a directory: the texts by the names of their files, and the copies that cannot be read.
    pub(crate) fn load(directory: &Path) -> io::Result<(Self, BTreeMap<String, String>, Vec<DamagedCopy>)> {
        let mut known = Self { directory: directory.to_path_buf(), known: BTreeMap::new() };
        let (mut texts, mut damaged) = (BTreeMap::new(), Vec::new());
        for place in copies(directory)? {
            match read(&place) {
                Ok(Some(StoredCopy { file, text })) => {
                    known.known.insert(file.clone(), KnownCopy { place, text: digest(&text) });
                    texts.insert(file, text);
                }
                Ok(None) => {}
                Err(why) => damaged.push(DamagedCopy { copy: place, why }),
            }
        }
        Ok((known, texts, damaged))
    }

    /// Saves the texts of files, and removes the copies of files that do not exist. A failure of one file does not
    /// affect the others; the failures are returned.
    pub(crate) fn keep<'a>(
        &mut self,
        texts: impl Iterator<Item = (&'a str, &'a str)>,
        is_there: impl Fn(&str) -> bool,
    ) -> Vec<String> {
        let mut failures = Vec::new();
        if let Err(error) = storage::make_directory(&self.directory) {
            failures.push(format!("{} cannot be created: {error}", self.directory.display()));
        }
        let mut is_changed = false;
        for (file, text) in texts {
            match self.keep_one(file, text) {
                Ok(is_new) => is_changed |= is_new,
                Err(error) => failures.push(format!("{file}: {error}")),
            }
        }
        if is_changed && let Err(error) = storage::sync_directory(&self.directory) {
            failures.push(format!("{}: {error}", self.directory.display()));
        }
        let gone: Vec<String> = self.known.keys().filter(|file| !is_there(file)).cloned().collect();
        for file in gone {
            match self.known.get(&file).map_or(Ok(()), |known| fs::remove_file(&known.place)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    failures.push(format!("the copy of {file}, which is gone, cannot be removed: {error}"));
                }
                _ => drop(self.known.remove(&file)),
            }
        }
        failures
    }

    /// Removes copies that cannot be read and are not needed.
    pub(crate) fn discard(damaged: &[DamagedCopy]) {
        for DamagedCopy { copy, .. } in damaged {
            if let Err(error) = fs::remove_file(copy) {
                tracing::warn!(%error, copy = %copy.display(), "a damaged copy cannot be removed");
            }
        }
    }

    /// Saves one text; returns whether it differs from the copy.
    fn keep_one(&mut self, file: &str, text: &str) -> io::Result<bool> {
        let (place, digest) = (self.place(file), digest(text));
        let known = self.known.get(file);
        if known.is_some_and(|known| known.place == place && known.text == digest) {
            return Ok(false);
        }
        let copy = StoredCopy { file: file.to_string(), text: text.to_string() };
        storage::move_into(&place, &serde_json::to_vec(&copy)?)?;
        if let Some(earlier) = known.filter(|known| known.place != place) {
            fs::remove_file(&earlier.place)?;
        }
        self.known.insert(file.to_string(), KnownCopy { place, text: digest });
        Ok(true)
    }

    fn place(&self, file: &str) -> PathBuf {
        let name = escape(file);
        let name = if name.len() <= MAX_NAME {
            name
        } else {
            // The end of a path distinguishes files best.
            let start = (name.len() - MAX_NAME..).find(|&place| name.is_char_boundary(place));
            format!("{:016x}{}", digest(file), &name[start.unwrap_or(name.len())..])
        };
        self.directory.join(format!("{name}.{ENDING}"))
    }
}

/// The copies in a directory; none if the directory does not exist.
fn copies(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut places = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    places
        .retain(|place| place.extension().is_some_and(|ending| ending == ENDING || ending == EARLIER_ENDING));
    // A copy of this release comes after the copy of an earlier release that it replaces.
    places.sort_by_key(|place| (place.extension().is_some_and(|ending| ending == ENDING), place.clone()));
    Ok(places)
}

/// Reads a copy; none if it was removed meanwhile.
fn read(place: &Path) -> Result<Option<StoredCopy>, String> {
    let bytes = match fs::read(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes.map_err(|error| error.to_string())?,
    };
    if place.extension().is_some_and(|ending| ending == ENDING) {
        return serde_json::from_slice(&bytes).map(Some).map_err(|error| error.to_string());
    }
    let text = String::from_utf8(bytes).map_err(|error| error.to_string())?;
    let name = place.file_stem().and_then(|name| name.to_str()).ok_or("its name is not UTF-8")?;
    Ok(Some(StoredCopy { file: unescape(name), text }))
}

/// A hash of a text.
fn digest(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// A file name for a path: `/` and `%` are percent-encoded.
fn escape(path: &str) -> String {
    path.replace('%', "%25").replace('/', "%2F")
}

fn unescape(name: &str) -> String {
    name.replace("%2F", "/").replace("%25", "%")
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

    #[test]
    fn escaped_paths_are_unescaped_to_the_same_path() {
        for path in ["/etc/nexin/a.yaml", "a%2Fb", "%", "%25/x"] {
            assert_eq!(unescape(&escape(path)), path);
            assert!(!escape(path).contains('/'));
        }
    }

    #[test]
    fn a_saved_copy_is_read_until_its_file_is_gone() {
        let scratch = ScratchDirectory::new("found");
        let (mut copies, ..) = Copies::load(&scratch.0).unwrap();
        let both = [("/a/b.yaml", "one"), ("/a/c.yaml", "two")];
        assert_eq!(copies.keep(both.into_iter(), |_| true), Vec::<String>::new());
        assert_eq!(copies.keep(std::iter::empty(), |file| file == "/a/c.yaml"), Vec::<String>::new());
        assert_eq!(scratch.texts(), [("/a/c.yaml".to_string(), "two".to_string())].into());
    }

    #[test]
    fn long_names_that_end_alike_have_copies_of_their_own() {
        let scratch = ScratchDirectory::new("long");
        let (mut copies, ..) = Copies::load(&scratch.0).unwrap();
        let names = ["x", "y", "\u{e9}"].map(|first| format!("/p/{}.yaml", first.repeat(250 / first.len())));
        let texts = names.iter().map(|name| (name.as_str(), name.as_str()));
        assert_eq!(copies.keep(texts, |_| true), Vec::<String>::new());
        let expected = names.iter().map(|name| (name.clone(), name.clone())).collect();
        assert_eq!(scratch.texts(), expected);
        assert_eq!(copies.keep(std::iter::empty(), |_| false), Vec::<String>::new());
        assert!(scratch.texts().is_empty());
    }

    #[test]
    fn a_file_that_cannot_be_saved_does_not_affect_others() {
        let scratch = ScratchDirectory::new("stopped");
        let (mut copies, ..) = Copies::load(&scratch.0).unwrap();
        copies.keep([("/b", "b"), ("/old", "old")].into_iter(), |_| true);
        // A directory blocks the name of the copy.
        fs::create_dir(copies.place("/a")).unwrap();
        let failures =
            copies.keep([("/a", "a"), ("/b", "new"), ("/c", "c")].into_iter(), |file| file != "/old");
        assert!(failures.len() == 1 && failures[0].starts_with("/a: "), "{failures:?}");
        fs::remove_dir(copies.place("/a")).unwrap();
        let expected = [("/b", "new"), ("/c", "c")].map(|(file, text)| (file.to_string(), text.to_string()));
        assert_eq!(scratch.texts(), expected.into());
    }

    #[test]
    fn copies_of_an_earlier_release_are_replaced_and_damaged_copies_are_named() {
        let scratch = ScratchDirectory::new("earlier");
        fs::write(scratch.0.join("%2Fp%2Fa.yaml.copies"), "old").unwrap();
        fs::write(scratch.0.join("%2Fp%2Fb.yaml.json"), "{\"file\": \"/p/b.yaml\", \"te").unwrap();
        let (mut copies, texts, damaged) = Copies::load(&scratch.0).unwrap();
        assert_eq!(texts, [("/p/a.yaml".to_string(), "old".to_string())].into());
        assert_eq!(damaged.len(), 1);
        assert!(
            damaged[0].copy.ends_with("%2Fp%2Fb.yaml.json") && damaged[0].why.contains("EOF"),
            "{damaged:?}"
        );
        copies.keep([("/p/a.yaml", "old")].into_iter(), |_| true);
        assert!(!scratch.0.join("%2Fp%2Fa.yaml.copies").exists());
        assert_eq!(scratch.texts(), texts);
    }
}
