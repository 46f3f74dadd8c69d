//! Layer-7 rule sets as files: written by the agent, read by the node proxy, one file for each set.
//!
//! A file is written before any map entry contains its number, and never changes. So the proxy finds the rules of a
//! connection without an agent. A set that it cannot read allows no request.

use crate::{proxy_group, storage};
use l7::rule::{HeaderRule, HttpRule};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Extension of a set's file.
const ENDING: &str = "json";

/// Writes the files.
#[derive(Debug)]
pub(crate) struct Publisher {
    directory: PathBuf,
    /// The identities of the sets' files.
    published: RefCell<BTreeMap<u32, FileIdentity>>,
    /// Whether the group of files can be changed to the proxy's.
    can_share: Cell<bool>,
}

/// Inode and modification time: they distinguish a file from another one with the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileIdentity {
    inode: u64,
    changed: (i64, i64),
}

/// A rule, as it is stored.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredRule<'a> {
    method: Option<Cow<'a, str>>,
    path: Option<Cow<'a, str>>,
    host: Option<Cow<'a, str>>,
    headers: Vec<(Cow<'a, str>, Option<Cow<'a, str>>)>,
}

impl Publisher {
    /// Publishes sets in this directory, which is created with the first set.
    pub(crate) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_path_buf(), published: RefCell::default(), can_share: Cell::new(true) }
    }

    /// Writes a set's file.
    pub(crate) fn publish<'a>(
        &self,
        number: u32,
        rules: impl IntoIterator<Item = &'a HttpRule>,
    ) -> io::Result<()> {
        let stored: Vec<StoredRule<'_>> = rules.into_iter().map(StoredRule::from_rule).collect();
        self.prepare()?;
        let path = path(&self.directory, number);
        // Shared before the file gets its name: an agent that is killed meanwhile leaves no file that the proxy
        // cannot read.
        storage::replace_shared(&path, &serde_json::to_vec(&stored)?, |file| {
            self.shared(proxy_group::open_file(file));
            Ok(())
        })?;
        self.published.borrow_mut().insert(number, FileIdentity::current(&self.directory, number)?);
        Ok(())
    }

    /// Creates the directory if it does not exist, and allows the proxy to read it.
    pub(crate) fn prepare(&self) -> io::Result<()> {
        storage::make_directory(&self.directory)?;
        self.shared(proxy_group::share(&self.directory));
        Ok(())
    }

    /// Allows the proxy to read the sets of an earlier run.
    pub(crate) fn share(&self) -> io::Result<()> {
        self.prepare()?;
        for entry in self.entries()? {
            if !proxy_group::may(&fs::metadata(&entry)?, 0o4) {
                self.shared(proxy_group::open_file(&entry));
            }
        }
        Ok(())
    }

    /// Those of the sets whose files are missing, changed or not readable for the proxy.
    pub(crate) fn lost<'a, T: 'a>(&self, sets: impl Iterator<Item = (u32, T)> + 'a) -> Vec<(u32, T)> {
        let published = self.published.borrow();
        let is_intact = |number: u32| {
            let Ok(status) = fs::metadata(path(&self.directory, number)) else { return false };
            let is_same = published.get(&number) == Some(&FileIdentity::from_metadata(&status));
            is_same && (proxy_group::may(&status, 0o4) || !self.can_share.get())
        };
        sets.filter(|(number, _)| !is_intact(*number)).collect()
    }

    /// Records whether the group of files can be changed. If it cannot, neither can the proxy change its user.
    fn shared(&self, result: io::Result<()>) {
        let could = self.can_share.replace(result.is_ok());
        if let Err(error) = result
            && could
        {
            tracing::warn!(%error, "the proxy's group cannot get access to the rule sets");
        }
    }

    /// Removes a set that no map entry contains any more.
    pub(crate) fn withdraw(&self, number: u32) {
        self.published.borrow_mut().remove(&number);
        if let Err(error) = fs::remove_file(path(&self.directory, number)) {
            tracing::debug!(%error, number, "the file of a removed rule set was gone already");
        }
    }

    /// Removes every set of an earlier run except these.
    pub(crate) fn keep_only(&self, numbers: &BTreeSet<u32>) -> io::Result<()> {
        for entry in self.entries()? {
            let number = entry.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
            if number.is_none_or(|number| !numbers.contains(&number)) {
                fs::remove_file(entry)?;
            }
        }
        Ok(())
    }

    /// The highest number in use; a new run must not use it for another set.
    pub(crate) fn highest(&self) -> io::Result<u32> {
        let mut highest = 0;
        for stem in self.entries()? {
            let number: Option<u32> = stem.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
            highest = highest.max(number.unwrap_or(0));
        }
        Ok(highest)
    }

    /// The readable sets by number.
    pub(crate) fn published(&self) -> io::Result<BTreeMap<u32, BTreeSet<HttpRule>>> {
        let mut published = BTreeMap::new();
        for entry in self.entries()? {
            let Some(number) = number(&entry) else { continue };
            // A damaged set is published again, under another number.
            let identity = FileIdentity::current(&self.directory, number)?;
            let Ok(stored) = serde_json::from_slice::<Vec<StoredRule<'_>>>(&fs::read(entry)?) else {
                continue;
            };
            self.published.borrow_mut().insert(number, identity);
            published.insert(number, stored.into_iter().map(HttpRule::from).collect());
        }
        Ok(published)
    }

    /// Every file of the directory; none if the directory does not exist.
    fn entries(&self) -> io::Result<Vec<PathBuf>> {
        match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            entries => entries?.map(|entry| Ok(entry?.path())).collect(),
        }
    }
}

/// Reads a set.
pub(crate) fn read(directory: &Path, number: u32) -> anyhow::Result<(FileIdentity, Vec<HttpRule>)> {
    let mut file = File::open(path(directory, number))?;
    let identity = FileIdentity::from_metadata(&file.metadata()?);
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let stored: Vec<StoredRule<'_>> = serde_json::from_slice(&bytes)?;
    Ok((identity, stored.into_iter().map(HttpRule::from).collect()))
}

/// The number of the set with this file.
pub(crate) fn number(file: &Path) -> Option<u32> {
    file.file_stem()?
        .to_str()?
        .parse()
        .ok()
        .filter(|_| file.extension().is_some_and(|ending| ending == ENDING))
}

impl FileIdentity {
    /// The identity of a set's present file.
    pub(crate) fn current(directory: &Path, number: u32) -> io::Result<Self> {
        Ok(Self::from_metadata(&fs::metadata(path(directory, number))?))
    }

    fn from_metadata(status: &fs::Metadata) -> Self {
        Self { inode: status.ino(), changed: (status.mtime(), status.mtime_nsec()) }
    }
}

fn path(directory: &Path, number: u32) -> PathBuf {
    directory.join(format!("{number}.{ENDING}"))
}

impl<'a> StoredRule<'a> {
    fn from_rule(rule: &'a HttpRule) -> Self {
        let text = |text: &'a Option<String>| text.as_deref().map(Cow::Borrowed);
        let headers = rule.headers.iter().map(|header| (header.name.as_str().into(), text(&header.value)));
        Self {
            method: text(&rule.method),
            path: text(&rule.path),
            host: text(&rule.host),
            headers: headers.collect(),
        }
    }
}

impl From<StoredRule<'_>> for HttpRule {
    fn from(stored: StoredRule<'_>) -> Self {
        let text = |text: Option<Cow<'_, str>>| text.map(Cow::into_owned);
        let headers = stored.headers.into_iter();
        let headers = headers.map(|(name, value)| HeaderRule { name: name.into_owned(), value: text(value) });
        Self {
            method: text(stored.method),
            path: text(stored.path),
            host: text(stored.host),
            headers: headers.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use l7::rule::RequestView;

    #[test]
    fn a_published_set_is_read_unchanged_and_a_missing_set_is_an_error() {
        let directory = std::env::temp_dir().join(format!("nexin-rule-sets-{}", std::process::id()));
        let publisher = Publisher::new(&directory);
        let rule =
            HttpRule { method: Some("GET".into()), path: Some("/public".into()), ..HttpRule::default() };
        publisher.publish(7, std::slice::from_ref(&rule)).unwrap();
        assert_eq!(publisher.highest().unwrap(), 7);
        fs::write(directory.join("9.json"), "[{").unwrap();
        assert_eq!(publisher.published().unwrap(), BTreeMap::from([(7, BTreeSet::from([rule]))]));
        assert_eq!(
            publisher.highest().unwrap(),
            9,
            "a number is not assigned twice, whatever the file contains"
        );
        let (first, rules) = read(&directory, 7).unwrap();
        let matcher = l7::Matcher::new(&rules).unwrap();
        let request = |path| RequestView { method: "GET", path, host: "app1", headers: &[] };
        assert_eq!(matcher.matches(&request("/public")), Some(0));
        assert_eq!(matcher.matches(&request("/private")), None);
        assert!(read(&directory, 8).is_err());
        let all = HttpRule { path: Some("/private".into()), ..HttpRule::default() };
        publisher.publish(7, &[all]).unwrap();
        assert_ne!(FileIdentity::current(&directory, 7).unwrap(), first, "another file is another set");
        publisher.keep_only(&BTreeSet::new()).unwrap();
        assert_eq!(publisher.highest().unwrap(), 0);
        fs::remove_dir(&directory).unwrap();
    }
}
