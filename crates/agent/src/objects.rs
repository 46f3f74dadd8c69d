//! The objects in force, by name and by source: a file, or a client that applied the object.
//!
//! A file is applied whole or not at all: while it has an error, its earlier objects stay in force. A change is computed
//! from the sources that it touches, and made whole or dropped.

mod index;
mod object_id;
mod parsing;
mod refusals;

pub(crate) use object_id::{Named, ObjectId};
pub(crate) use parsing::{Described, ParsedText, parse_described};

use crate::cluster_objects::is_cluster_source;
use control::Change;
use identity::SharedMap;
pub(crate) use index::SourcedObject;
use index::{Index, Replacements};
use manifest::Object;
use parsing::parse;
use refusals::Candidates;
use std::collections::{BTreeMap, BTreeSet};

/// The state of a file when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FileState {
    /// The file has these objects.
    Valid(Vec<Named>),
    /// The file's text has these errors: its earlier objects stay in force.
    Invalid(Vec<String>),
    /// The file cannot be read, and why: its earlier objects stay in force.
    Unreadable(String),
    /// The file is being written: its earlier objects stay in force, and that is no error.
    Unfinished,
    /// The name has just disappeared and may return: its earlier objects stay in force, unless other files contain
    /// all of them.
    Missing,
    /// The file is deleted, with its objects.
    Deleted,
}

impl FileState {
    /// The state of a file with this text.
    pub(crate) fn parse(file: &str, text: &str) -> Self {
        parse(file, text).map_or_else(Self::Invalid, Self::Valid)
    }
}

/// The states of files that changed, by name.
pub(crate) type FileStates = BTreeMap<String, FileState>;

/// The objects in force.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    index: Index,
    /// The errors of files whose present text is not in force.
    problems: BTreeMap<String, Vec<String>>,
    /// The objects of valid files that are refused because other sources contain some of them.
    refused: Candidates,
}

/// A change of the objects: [`Objects::commit`] makes it whole, and a change that is dropped changes nothing.
#[must_use]
#[derive(Debug, Default)]
pub(crate) struct ObjectChanges {
    changes: Vec<Change>,
    replacements: Replacements,
    /// The new errors of files; an empty list if they have none any more.
    problems: BTreeMap<String, Vec<String>>,
    refused: Candidates,
}

impl ObjectChanges {
    /// Takes what the world must change.
    pub(crate) fn take(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Adds a change of other objects, which was computed from the same objects as this one.
    pub(crate) fn append(&mut self, other: Self) {
        let Self { changes, replacements, problems, refused } = other;
        self.changes.extend(changes);
        self.replacements.extend(replacements);
        self.problems.extend(problems);
        self.refused.extend(refused);
    }
}

impl Objects {
    /// What the states of files change; files without a state stay as they are.
    ///
    /// A file with an error, a file that has become empty, and a file with an object of another source are problems, and
    /// their earlier objects stay.
    pub(crate) fn update(&self, files: FileStates) -> ObjectChanges {
        let mut update = ObjectChanges::default();
        // A refused file gets its objects when the source that contains them loses them.
        let mut candidates: Candidates = self
            .resolvable(|source| files.contains_key(source))
            .filter(|(file, _)| !files.contains_key(*file))
            .map(|(file, objects)| (file.clone(), objects.clone()))
            .collect();
        let mut missing = Vec::new();
        for (file, state) in files {
            let problems = match state {
                FileState::Unfinished => continue,
                FileState::Missing => {
                    missing.push(file);
                    continue;
                }
                FileState::Deleted => {
                    update.replacements.insert(file.clone(), None);
                    Vec::new()
                }
                FileState::Unreadable(why) => vec![format!("{file}: {why}")],
                FileState::Invalid(messages) => messages,
                FileState::Valid(objects) if objects.is_empty() && self.has_objects(&file) => {
                    vec![format!("{file} is empty; remove it to delete its objects")]
                }
                FileState::Valid(objects) => {
                    candidates.insert(file, objects);
                    continue;
                }
            };
            update.problems.insert(file, problems);
        }
        let found: BTreeSet<&ObjectId> = candidates.values().flatten().map(|(name, _)| name).collect();
        missing.retain(|file| {
            self.index.names(file).unwrap_or_default().iter().all(|name| found.contains(name))
        });
        for file in missing {
            update.problems.insert(file.clone(), Vec::new());
            update.replacements.insert(file, None);
        }
        self.take_candidates(candidates, &mut update);
        update.changes = self.index.changes(&update.replacements);
        update
    }

    /// Adds or replaces objects, each with a source of its own. An object of another source is an error.
    pub(crate) fn put(&self, described: Vec<(String, Named)>) -> Result<ObjectChanges, Vec<String>> {
        let elsewhere = described.iter().filter_map(|(source, (name, _))| {
            let other = self.source(name).filter(|other| *other != source)?;
            Some(format!("{name} is described in {other}; change it there"))
        });
        let elsewhere: Vec<String> = elsewhere.collect();
        if !elsewhere.is_empty() {
            return Err(elsewhere);
        }
        Ok(self.replace(described.into_iter().map(|(source, named)| (source, Some(vec![named]))).collect()))
    }

    /// Removes all objects of sources.
    pub(crate) fn remove(&self, sources: impl IntoIterator<Item = String>) -> ObjectChanges {
        self.replace(sources.into_iter().map(|source| (source, None)).collect())
    }

    /// Makes a change that was computed from these objects.
    pub(crate) fn commit(&mut self, update: ObjectChanges) {
        for file in update.problems.keys() {
            self.refused.remove(file);
        }
        self.refused.extend(update.refused);
        self.problems.extend(update.problems);
        self.problems.retain(|_, messages| !messages.is_empty());
        self.index.replace(update.replacements);
    }

    /// The objects by name, each with its source, as they are now.
    pub(crate) fn by_name(&self) -> SharedMap<ObjectId, SourcedObject> {
        self.index.by_name()
    }

    /// The object with this name as text, and the source that contains it.
    pub(crate) fn source_of_named(&self, text: &str) -> Option<(&ObjectId, &str)> {
        self.index.find_written(text)
    }

    /// The object with this name.
    pub(crate) fn object(&self, name: &ObjectId) -> Option<&Object> {
        self.index.object(name)
    }

    /// The source that contains an object.
    pub(crate) fn source(&self, name: &ObjectId) -> Option<&str> {
        self.index.source(name)
    }

    /// The files with objects in force.
    pub(crate) fn files(&self) -> impl Iterator<Item = &str> {
        self.index.sources().filter(|source| !is_applied_source(source) && !is_cluster_source(source))
    }

    /// Whether the present text of a file is in force.
    pub(crate) fn is_in_force(&self, file: &str) -> bool {
        self.index.names(file).is_some() && !self.problems.contains_key(file)
    }

    /// Whether a file is refused for objects that no other source contains any more.
    pub(crate) fn has_resolvable(&self) -> bool {
        self.resolvable(|_| false).next().is_some()
    }

    /// The errors of files whose present text is not in force.
    pub(crate) fn problems(&self) -> Vec<String> {
        self.problems.values().flatten().cloned().collect()
    }

    /// Accepts the new objects of files, except of files that are refused.
    fn take_candidates(&self, candidates: Candidates, update: &mut ObjectChanges) {
        let mut refusals = refusals::refusals(&self.index, &update.replacements, &candidates);
        for (file, objects) in candidates {
            let why = refusals.remove(&file);
            if why.is_some() {
                update.refused.insert(file.clone(), objects);
            } else {
                update.replacements.insert(file.clone(), Some(objects));
            }
            update.problems.insert(file, why.into_iter().collect());
        }
    }

    /// Refused files whose objects no source contains, except themselves and sources that `may_change`.
    fn resolvable(&self, may_change: impl Fn(&str) -> bool) -> impl Iterator<Item = (&String, &Vec<Named>)> {
        self.refused.iter().filter(move |(file, objects)| {
            let is_free = |name| {
                self.index.source(name).is_none_or(|source| source == file.as_str() || may_change(source))
            };
            objects.iter().all(|(name, _)| is_free(name))
        })
    }

    fn replace(&self, replacements: Replacements) -> ObjectChanges {
        let changes = self.index.changes(&replacements);
        ObjectChanges { changes, replacements, ..ObjectChanges::default() }
    }

    fn has_objects(&self, file: &str) -> bool {
        self.index.names(file).is_some_and(|names| !names.is_empty())
    }
}

/// The objects with the source that stands for a file where a client applied an object.
pub(crate) fn with_applied_sources(objects: impl IntoIterator<Item = Named>) -> Vec<(String, Named)> {
    objects.into_iter().map(|named| (applied_source(&named.0), named)).collect()
}

/// The source of an object that a client applied.
pub(crate) fn applied_source(name: &ObjectId) -> String {
    format!("{APPLIED}{name}")
}

/// Whether a source is that of an applied object, and not a file.
pub(crate) fn is_applied_source(source: &str) -> bool {
    source.starts_with(APPLIED)
}

/// Prefix of the sources of applied objects. No path of a file begins with it.
const APPLIED: &str = "applied:";

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    const A: &str = "{apiVersion: v1, kind: Namespace, metadata: {name: a}}";
    const B: &str = "{apiVersion: v1, kind: Namespace, metadata: {name: b}}";

    /// Makes a change; returns it as `+name` and `-name`.
    fn make(objects: &mut Objects, files: FileStates) -> Vec<String> {
        let mut update = objects.update(files);
        let changes = update.take().into_iter().map(|change| match change {
            Change::Namespace { name, .. } => format!("+{name}"),
            Change::RemoveNamespace(name) => format!("-{name}"),
            other => panic!("{other:?}"),
        });
        let changes = changes.collect();
        objects.commit(update);
        changes
    }

    /// Makes the change to a directory with these files, of which none is unchanged.
    fn update(objects: &mut Objects, files: &[(&str, &str)]) -> Vec<String> {
        let mut states: FileStates =
            objects.files().map(|file| (file.to_string(), FileState::Deleted)).collect();
        states.extend(files.iter().map(|(file, text)| (file.to_string(), FileState::parse(file, text))));
        make(objects, states)
    }

    #[test]
    fn a_file_without_objects_is_not_an_error() {
        let mut objects = Objects::default();
        let files = [
            ("kustomization.yaml", "resources: [a.yaml]"),
            ("patch.yaml", "- {op: remove, path: /spec}"),
            ("z", A),
        ];
        assert_eq!(update(&mut objects, &files), ["+a"]);
        assert_eq!(objects.problems(), Vec::<String>::new());
    }

    #[test]
    fn an_object_that_moves_between_files_stays_in_force() {
        let mut objects = Objects::default();
        assert_eq!(update(&mut objects, &[("z", A)]), ["+a"]);
        assert!(update(&mut objects, &[("a", A)]).is_empty(), "renamed");
        assert!(update(&mut objects, &[("a", B), ("z", A)]) == ["+b"], "{objects:?}");
        assert_eq!(objects.problems(), Vec::<String>::new());
    }

    #[test]
    fn of_two_files_with_the_same_object_the_new_file_is_refused() {
        let mut objects = Objects::default();
        update(&mut objects, &[("z", A)]);
        assert!(update(&mut objects, &[("a", A), ("z", A)]).is_empty());
        assert_eq!(objects.problems(), ["a: Namespace/a is already described in z"]);
        assert!(objects.is_in_force("z") && !objects.is_in_force("a"));
        assert!(update(&mut objects, &[("a", A)]).is_empty());
        assert!(objects.is_in_force("a"));
    }

    #[test]
    fn a_file_that_is_broken_or_has_become_empty_keeps_its_objects() {
        let mut objects = Objects::default();
        update(&mut objects, &[("a", A)]);
        for text in ["", "kind: ["] {
            assert!(update(&mut objects, &[("a", text)]).is_empty());
            assert_eq!(objects.problems().len(), 1);
        }
        assert_eq!(update(&mut objects, &[]), ["-a"]);
        assert_eq!(objects.problems(), Vec::<String>::new());
    }
    #[test]
    fn an_unreadable_or_unfinished_file_keeps_its_objects() {
        let mut objects = Objects::default();
        update(&mut objects, &[("a", A)]);
        let mut now = |reading: FileState| {
            let changes = make(&mut objects, [("a".to_string(), reading)].into());
            assert!(changes.is_empty(), "{changes:?}");
            objects.problems()
        };
        assert_eq!(now(FileState::Unfinished), Vec::<String>::new());
        assert_eq!(now(FileState::Unreadable("is a directory".into())), ["a: is a directory"]);
        assert_eq!(now(FileState::Unfinished), ["a: is a directory"], "nothing new is known");
        assert_eq!(now(FileState::parse("a", A)), Vec::<String>::new());
    }
    #[test]
    fn a_missing_file_is_replaced_by_a_file_with_the_same_objects() {
        let mut objects = Objects::default();
        update(&mut objects, &[("a", A)]);
        let states =
            FileStates::from([("a".into(), FileState::Missing), ("b".into(), FileState::parse("b", B))]);
        assert_eq!(make(&mut objects, states), ["+b"], "its objects stay");
        let states =
            FileStates::from([("a".into(), FileState::Missing), ("c".into(), FileState::parse("c", A))]);
        assert!(make(&mut objects, states).is_empty(), "it was renamed");
        assert_eq!(objects.files().collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(objects.problems(), Vec::<String>::new());
    }

    #[test]
    fn a_refused_file_gets_its_objects_when_their_source_loses_them() {
        let mut objects = Objects::default();
        let applied = objects.put(with_applied_sources(parse("x", A).unwrap())).unwrap();
        objects.commit(applied);
        assert!(update(&mut objects, &[("a", A)]).is_empty());
        assert_eq!(objects.problems(), ["a: Namespace/a is already described in applied:Namespace/a"]);
        assert!(!objects.has_resolvable());
        let removal = objects.remove([applied_source(&ObjectId::Namespace("a".into()))]);
        objects.commit(removal);
        assert!(objects.has_resolvable());
        assert_eq!(make(&mut objects, FileStates::new()), ["+a"]);
        assert!(objects.is_in_force("a") && !objects.has_resolvable());
        // In one step with the change of the file that contains them.
        assert!(make(&mut objects, [("b".to_string(), FileState::parse("b", A))].into()).is_empty());
        assert!(make(&mut objects, [("a".to_string(), FileState::Deleted)].into()).is_empty());
        assert_eq!((objects.files().collect::<Vec<_>>(), objects.problems()), (vec!["b"], Vec::new()));
    }

    #[test]
    fn a_refused_file_keeps_its_objects_from_others() {
        let mut objects = Objects::default();
        update(&mut objects, &[("m", A), ("z", B)]);
        // m gives a to n and takes b, which z has: m is refused and keeps a, so n is refused, too.
        let states =
            [("m".to_string(), FileState::parse("m", B)), ("n".to_string(), FileState::parse("n", A))];
        assert!(make(&mut objects, states.into()).is_empty());
        assert_eq!(
            objects.problems(),
            ["m: Namespace/b is already described in z", "n: Namespace/a is already described in m"]
        );
        assert_eq!(objects.source(&ObjectId::Namespace("a".into())), Some("m"));
    }

    #[test]
    fn a_dropped_change_changes_nothing() {
        let mut objects = Objects::default();
        update(&mut objects, &[("a", A)]);
        drop(objects.update(
            [("a".to_string(), FileState::Deleted), ("b".to_string(), FileState::parse("b", B))].into(),
        ));
        assert_eq!(objects.files().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn written_names_are_found() {
        let mut objects = Objects::default();
        let slice = "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: s, labels: \
                     {kubernetes.io/service-name: web}}, addressType: IPv4, endpoints: [], ports: []}";
        let states =
            [("a", A), ("s", slice)].map(|(file, text)| (file.to_string(), FileState::parse(file, text)));
        let both = objects.update(states.into());
        objects.commit(both);
        for (text, source) in [
            ("Namespace/a", Some("a")),
            ("EndpointSlice/default/s", Some("s")),
            ("EndpointSlice/default/t", None),
            ("Namespace/b", None),
            ("Namespace/default/a", None),
            ("a", None),
        ] {
            assert_eq!(objects.source_of_named(text).map(|(_, source)| source), source, "{text}");
        }
    }

    /// The shortest time in which one of this many objects is changed.
    fn one_change_among(count: usize) -> Duration {
        let mut objects = Objects::default();
        let file = |number: usize, label: usize| {
            let text = format!(
                "{{apiVersion: v1, kind: Namespace, metadata: {{name: n{number}, labels: {{l: v{label}}}}}}}"
            );
            (format!("f{number}"), FileState::parse("f", &text))
        };
        let all = objects.update((0..count).map(|number| file(number, 0)).collect());
        objects.commit(all);
        let changes = (1..=30).map(|label| {
            let states = [file(count / 2, label)].into();
            let begin = Instant::now();
            let one = objects.update(states);
            objects.commit(one);
            begin.elapsed()
        });
        changes.min().unwrap()
    }

    #[test]
    fn a_change_of_one_file_costs_the_same_among_many_files() {
        let (few, many) = (one_change_among(200), one_change_among(3200));
        assert!(many < few * 4, "{few:?} among 200, {many:?} among 3,200");
    }
}
