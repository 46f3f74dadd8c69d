//! Layer-7 rule sets as files: written by the agent, read by the node proxy, one file for each number.
//!
//! A file is written before any row names its number and never changes, so the proxy needs nothing else to find the
//! rules of a connection; it goes on without an agent, and a set that it cannot read is a set that allows nothing.

use crate::{proxy_group, storage};
use l7::Matcher;
use l7::rule::{HeaderRule, HttpRule};
use serde::{Deserialize, Serialize};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Ending of a set's file.
const ENDING: &str = "json";

/// The writing side.
#[derive(Debug)]
pub(crate) struct Publisher {
    directory: PathBuf,
    /// The files of the sets, as they were written or found.
    published: RefCell<BTreeMap<u32, FileIdentity>>,
    /// Whether files can be given to the proxy's group.
    can_share: Cell<bool>,
}

/// Inode and time of change: another file under the same name has another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileIdentity {
    inode: u64,
    changed: (i64, i64),
}

/// A rule as the file has it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredRule {
    method: Option<String>,
    path: Option<String>,
    host: Option<String>,
    headers: Vec<(String, Option<String>)>,
}

impl Publisher {
    /// Publishes in this directory, which is made when there is something to publish.
    pub(crate) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_path_buf(), published: RefCell::default(), can_share: Cell::new(true) }
    }

    /// Makes a set readable.
    pub(crate) fn publish<'a>(
        &self,
        number: u32,
        rules: impl IntoIterator<Item = &'a HttpRule>,
    ) -> io::Result<()> {
        let stored: Vec<StoredRule> = rules.into_iter().map(StoredRule::from_rule).collect();
        self.prepare()?;
        let path = path(&self.directory, number);
        // Shared before it has its name: an agent that is killed meanwhile leaves nothing that the proxy cannot read.
        storage::replace_shared(&path, &serde_json::to_vec(&stored)?, |file| {
            self.shared(proxy_group::open_file(file));
            Ok(())
        })?;
        self.published.borrow_mut().insert(number, FileIdentity::current(&self.directory, number)?);
        Ok(())
    }

    /// Makes the directory where it is not there, and lets the proxy read it.
    pub(crate) fn prepare(&self) -> io::Result<()> {
        storage::make_directory(&self.directory)?;
        self.shared(proxy_group::share(&self.directory));
        Ok(())
    }

    /// Lets the proxy read the sets that an earlier run left.
    pub(crate) fn share(&self) -> io::Result<()> {
        self.prepare()?;
        for entry in self.entries()? {
            if !proxy_group::may(&fs::metadata(&entry)?, 0o4) {
                self.shared(proxy_group::open_file(&entry));
            }
        }
        Ok(())
    }

    /// Of the sets in force those that are not there as they were published, or that the proxy may not read.
    pub(crate) fn lost<'a, T: 'a>(&self, sets: impl Iterator<Item = (u32, T)> + 'a) -> Vec<(u32, T)> {
        let published = self.published.borrow();
        let is_whole = |number: u32| {
            let Ok(status) = fs::metadata(path(&self.directory, number)) else { return false };
            let is_same = published.get(&number) == Some(&FileIdentity::from_metadata(&status));
            is_same && (proxy_group::may(&status, 0o4) || !self.can_share.get())
        };
        sets.filter(|(number, _)| !is_whole(*number)).collect()
    }

    /// Notes whether files can be given to the proxy's group. Where they cannot, the proxy has stayed root.
    fn shared(&self, result: io::Result<()>) {
        let could = self.can_share.replace(result.is_ok());
        if let Err(error) = result
            && could
        {
            tracing::warn!(%error, "a user of the proxy's own may not read its rule sets");
        }
    }

    /// Removes a set that no row names any more.
    pub(crate) fn withdraw(&self, number: u32) {
        self.published.borrow_mut().remove(&number);
        if let Err(error) = fs::remove_file(path(&self.directory, number)) {
            tracing::debug!(%error, number, "a rule set was not there to be removed");
        }
    }

    /// Removes every set but these: what an earlier run left behind.
    pub(crate) fn keep_only(&self, numbers: &BTreeSet<u32>) -> io::Result<()> {
        for entry in self.entries()? {
            let number = entry.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
            if number.is_none_or(|number| !numbers.contains(&number)) {
                fs::remove_file(entry)?;
            }
        }
        Ok(())
    }

    /// The highest number in use, so that a new run does not give an old one another meaning.
    pub(crate) fn highest(&self) -> io::Result<u32> {
        let mut highest = 0;
        for stem in self.entries()? {
            let number: Option<u32> = stem.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
            highest = highest.max(number.unwrap_or(0));
        }
        Ok(highest)
    }

    /// The sets that can be read, by number; where the same rules are there twice, by the lower one.
    pub(crate) fn published(&self) -> io::Result<BTreeMap<u32, BTreeSet<HttpRule>>> {
        let mut published = BTreeMap::new();
        for entry in self.entries()? {
            let number = entry.file_stem().and_then(|stem| stem.to_str()?.parse::<u32>().ok());
            let is_set = entry.extension().is_some_and(|ending| ending == ENDING);
            let Some(number) = number.filter(|_| is_set) else { continue };
            // One that is damaged is published anew, under another number.
            let identity = FileIdentity::current(&self.directory, number)?;
            let Ok(stored) = serde_json::from_slice::<Vec<StoredRule>>(&fs::read(entry)?) else { continue };
            self.published.borrow_mut().insert(number, identity);
            published.insert(number, stored.into_iter().map(HttpRule::from).collect());
        }
        Ok(published)
    }

    /// Every file of the directory; none where there is no directory.
    fn entries(&self) -> io::Result<Vec<PathBuf>> {
        match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            entries => entries?.map(|entry| Ok(entry?.path())).collect(),
        }
    }
}

/// Reads a set and compiles it.
pub(crate) fn compile(directory: &Path, number: u32) -> anyhow::Result<(FileIdentity, Matcher)> {
    let mut file = File::open(path(directory, number))?;
    let identity = FileIdentity::from_metadata(&file.metadata()?);
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let stored: Vec<StoredRule> = serde_json::from_slice(&bytes)?;
    let rules: Vec<HttpRule> = stored.into_iter().map(HttpRule::from).collect();
    Ok((identity, Matcher::new(&rules)?))
}

impl FileIdentity {
    /// That of a set's file as it is now.
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

impl StoredRule {
    fn from_rule(rule: &HttpRule) -> Self {
        let headers = rule.headers.iter().map(|header| (header.name.clone(), header.value.clone()));
        Self {
            method: rule.method.clone(),
            path: rule.path.clone(),
            host: rule.host.clone(),
            headers: headers.collect(),
        }
    }
}

impl From<StoredRule> for HttpRule {
    fn from(stored: StoredRule) -> Self {
        let headers = stored.headers.into_iter().map(|(name, value)| HeaderRule { name, value });
        Self { method: stored.method, path: stored.path, host: stored.host, headers: headers.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use l7::rule::RequestView;

    #[test]
    fn a_published_set_is_read_as_it_was_and_a_missing_one_is_an_error() {
        let directory = std::env::temp_dir().join(format!("nexin-rule-sets-{}", std::process::id()));
        let publisher = Publisher::new(&directory);
        let rule =
            HttpRule { method: Some("GET".into()), path: Some("/public".into()), ..HttpRule::default() };
        publisher.publish(7, std::slice::from_ref(&rule)).unwrap();
        assert_eq!(publisher.highest().unwrap(), 7);
        fs::write(directory.join("9.json"), "[{").unwrap();
        assert_eq!(publisher.published().unwrap(), BTreeMap::from([(7, BTreeSet::from([rule]))]));
        assert_eq!(publisher.highest().unwrap(), 9, "a number is not given twice, whatever the file says");
        let (first, matcher) = compile(&directory, 7).unwrap();
        let request = |path| RequestView { method: "GET", path, host: "app1", headers: &[] };
        assert_eq!(matcher.matches(&request("/public")), Some(0));
        assert_eq!(matcher.matches(&request("/private")), None);
        assert!(compile(&directory, 8).is_err());
        let all = HttpRule { path: Some("/private".into()), ..HttpRule::default() };
        publisher.publish(7, &[all]).unwrap();
        assert_ne!(FileIdentity::current(&directory, 7).unwrap(), first, "another file is another set");
        publisher.keep_only(&BTreeSet::new()).unwrap();
        assert_eq!(publisher.highest().unwrap(), 0);
        fs::remove_dir(&directory).unwrap();
    }
}
