//! What to read in the next scan of the directory.

use super::watch::Reported;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};

/// The files to read.
#[derive(Debug, Default)]
pub(super) struct ToRead {
    /// All files whose fingerprint changed.
    is_all: bool,
    /// All names that are new or gone.
    are_names: bool,
    /// Names that inotify reported.
    reported: BTreeSet<OsString>,
    /// Known files, by their name as it is shown.
    known: BTreeSet<String>,
    /// Whether paths may lead elsewhere.
    is_moved: bool,
    /// Why inotify reports nothing any more.
    lost: Option<String>,
}

impl ToRead {
    /// The whole directory.
    pub(super) fn all() -> Self {
        Self { is_all: true, ..Self::default() }
    }

    /// Adds the whole directory.
    pub(super) fn add_all(&mut self) {
        self.is_all = true;
    }

    /// Adds the names that are new or gone.
    pub(super) fn add_names(&mut self) {
        self.are_names = true;
    }

    /// Adds a known file.
    pub(super) fn add_known(&mut self, name: &str) {
        self.known.insert(name.to_owned());
    }

    /// Adds what inotify reported.
    pub(super) fn add(&mut self, reported: Reported) {
        match reported {
            Reported::Name(name) => drop(self.reported.insert(name)),
            Reported::Known(name) => drop(self.known.insert(name)),
            Reported::Any => self.is_all = true,
            Reported::Mounts => self.is_moved = true,
            Reported::Lost(why) => (self.is_all, self.lost) = (true, Some(why)),
        }
    }

    /// Whether paths may lead elsewhere.
    pub(super) fn is_moved(&self) -> bool {
        self.is_moved
    }

    /// Records that the paths were compared.
    pub(super) fn set_compared(&mut self) {
        self.is_moved = false;
    }

    /// Whether there is nothing to read.
    pub(super) fn is_empty(&self) -> bool {
        !self.is_all && !self.are_names && self.reported.is_empty() && self.known.is_empty()
    }

    /// Whether the whole directory is listed.
    pub(super) fn is_listed(&self) -> bool {
        self.is_all || self.are_names
    }

    /// Whether the whole directory is read.
    pub(super) fn is_all(&self) -> bool {
        self.is_all
    }

    /// Why inotify reports nothing from now on.
    pub(super) fn lost(&self) -> Option<&str> {
        self.lost.as_deref()
    }

    /// The names that inotify reported.
    pub(super) fn reported(&self) -> impl Iterator<Item = &OsStr> {
        self.reported.iter().map(OsString::as_os_str)
    }

    /// The known files.
    pub(super) fn known(&self) -> impl Iterator<Item = &String> {
        self.known.iter()
    }
}
