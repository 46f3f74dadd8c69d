//! Which watches report changes of which paths.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};

/// A change that was noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::files) enum Reported {
    /// The file of this name in the directory changed.
    Name(OsString),
    /// The known file that is shown by this name changed, or its path leads elsewhere.
    Known(String),
    /// Any file may have changed.
    Any,
    /// Paths may lead elsewhere, since file systems were mounted or unmounted.
    Mounts,
    /// Nothing is reported any more, and why.
    Lost(String),
}

/// A watched path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Watched {
    /// The directory of policy files.
    Directory,
    /// A file in the directory, by its name as it is shown.
    File(String),
}

/// A watch, and the name in its directory that matters; none for the watch of a file.
pub(super) type Trail = Vec<(i32, Option<OsString>)>;

/// The watched paths by watch, and the watches of each path.
#[derive(Debug, Default)]
pub(super) struct Interests {
    /// The watch of the directory, in which every name matters.
    pub(super) directory: Option<i32>,
    watches: HashMap<i32, HashMap<Option<OsString>, BTreeSet<Watched>>>,
    trails: BTreeMap<Watched, Trail>,
}

impl Interests {
    /// Whether a path uses this watch.
    pub(super) fn knows(&self, watch: i32) -> bool {
        self.watches.contains_key(&watch)
    }

    /// Replaces the trail of a path; returns the watches that no path uses any more.
    pub(super) fn replace(&mut self, watched: &Watched, trail: Trail) -> Vec<i32> {
        for (watch, name) in &trail {
            let names = self.watches.entry(*watch).or_default();
            names.entry(name.clone()).or_default().insert(watched.clone());
        }
        let before = match trail.is_empty() {
            true => self.trails.remove(watched),
            false => self.trails.insert(watched.clone(), trail),
        };
        before.into_iter().flatten().filter_map(|step| self.leave(watched, step)).collect()
    }

    /// The changes that an event of a watch means; `name` is the name in a watched directory.
    pub(super) fn reports(&self, watch: i32, name: Option<&OsStr>) -> Vec<Reported> {
        let own = name.filter(|_| self.directory == Some(watch));
        let mut reports: Vec<Reported> =
            own.map(|name| Reported::Name(name.to_owned())).into_iter().collect();
        let Some(names) = self.watches.get(&watch) else { return reports };
        let watched: BTreeSet<&Watched> = match name {
            Some(name) => names.get(&Some(name.to_owned())).into_iter().flatten().collect(),
            // The watched inode itself changed, or is gone.
            None => names.values().flatten().collect(),
        };
        reports.extend(watched.into_iter().map(|watched| match watched {
            Watched::Directory => Reported::Any,
            Watched::File(shown) => Reported::Known(shown.clone()),
        }));
        reports
    }

    /// Removes a step that the path's present trail does not have; returns the watch if no path uses it any more.
    fn leave(&mut self, watched: &Watched, step: (i32, Option<OsString>)) -> Option<i32> {
        if self.trails.get(watched).is_some_and(|trail| trail.contains(&step)) {
            return None;
        }
        let (watch, name) = step;
        let names = self.watches.get_mut(&watch)?;
        if let Some(of_name) = names.get_mut(&name) {
            of_name.remove(watched);
            if of_name.is_empty() {
                names.remove(&name);
            }
        }
        if !names.is_empty() {
            return None;
        }
        self.watches.remove(&watch).map(|_| watch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_concerns_the_paths_that_pass_the_name() {
        let mut interests = Interests { directory: Some(3), ..Interests::default() };
        let file = |name: &str| Watched::File(name.into());
        let name = |name: &str| Some(OsString::from(name));
        interests.replace(&Watched::Directory, vec![(1, name("etc")), (2, name("policies")), (3, None)]);
        interests.replace(&file("a"), vec![(3, name("..data")), (4, None)]);
        interests.replace(&file("b"), vec![(3, name("..data")), (5, None)]);
        let reports = |watch, name: Option<&str>| interests.reports(watch, name.map(OsStr::new));
        let known = |name: &str| Reported::Known(name.into());
        assert_eq!(reports(2, Some("other")), []);
        assert_eq!(reports(2, Some("policies")), [Reported::Any]);
        assert_eq!(reports(1, None), [Reported::Any], "the directory of the name is gone");
        assert_eq!(reports(3, Some("..data")), [Reported::Name("..data".into()), known("a"), known("b")]);
        assert_eq!(reports(3, Some("c.yaml")), [Reported::Name("c.yaml".into())]);
        assert_eq!(reports(3, None), [Reported::Any, known("a"), known("b")]);
        assert_eq!(reports(4, None), [known("a")]);
        assert_eq!(reports(9, Some("etc")), []);
        // The directory's own watch outlasts the trails through it.
        assert_eq!(interests.replace(&file("a"), vec![(3, name("..data")), (6, None)]), [4]);
        assert_eq!(interests.replace(&file("a"), Vec::new()), [6]);
        assert_eq!(interests.replace(&file("b"), Vec::new()), [5]);
        assert!(interests.knows(3) && !interests.knows(5));
    }
}
