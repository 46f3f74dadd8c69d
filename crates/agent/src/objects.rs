//! The objects in force, by the file that contains them.
//!
//! A file is applied whole or not at all: while it has an error, its earlier objects stay in force.

use control::{Change, RemoteNode};
use manifest::{CidrGroup, Diagnostic, Endpoints, NodeObject, Object};
use policy::rule::PolicyId;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The name of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ObjectId {
    /// A policy.
    Policy(PolicyId),
    /// A service, by namespace and name.
    Service(String, String),
    /// A namespace.
    Namespace(String),
    /// The listed addresses of a service: its namespace, its name, and the EndpointSlice's name if there is one.
    Endpoints(String, String, Option<String>),
    /// A CIDR group.
    CidrGroup(String),
    /// A node.
    Node(String),
}

/// An object and its name.
pub(crate) type Named = (ObjectId, Object);

/// The state of a file when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FileState {
    /// The file has this text.
    Text(String),
    /// The file cannot be read, and why: its earlier objects stay in force.
    Unreadable(String),
    /// The file is being written: its earlier objects stay in force, and that is no error.
    Unfinished,
    /// The name has just disappeared and may return: its earlier objects stay in force, unless other files contain
    /// all of them.
    Missing,
}

/// The states of a directory's files, by name.
pub(crate) type FileStates = BTreeMap<String, FileState>;

/// The objects in force, by the file that contains them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Objects {
    files: BTreeMap<String, Vec<Named>>,
    problems: BTreeMap<String, Vec<String>>,
}

impl Objects {
    /// Updates the objects from the present states of files; returns the changes.
    ///
    /// Files that `belong` to the directory and have no state are deleted, with their objects. A file with an error,
    /// a file that has become empty, and a file with an object of another file are problems, and their earlier
    /// objects stay. An unfinished file keeps its objects.
    pub(crate) fn update(&mut self, texts: &FileStates, belongs: impl Fn(&str) -> bool) -> Vec<Change> {
        let before = self.by_name();
        self.files.retain(|file, _| !belongs(file) || texts.contains_key(file));
        self.problems.retain(|file, _| match texts.get(file) {
            Some(reading) => matches!(reading, FileState::Unfinished | FileState::Missing),
            None => !belongs(file),
        });
        let mut read = BTreeMap::new();
        for (file, reading) in texts {
            let text = match reading {
                FileState::Text(text) => Ok(text.as_str()),
                FileState::Unreadable(why) => Err(why.as_str()),
                FileState::Unfinished | FileState::Missing => continue,
            };
            match self.read(file, text) {
                Ok(objects) => drop(read.insert(file.clone(), objects)),
                Err(messages) => drop(self.problems.insert(file.clone(), messages)),
            }
        }
        let found: BTreeSet<&ObjectId> = read.values().flatten().map(|(name, _)| name).collect();
        self.files.retain(|file, objects| {
            texts.get(file) != Some(&FileState::Missing)
                || objects.iter().any(|(name, _)| !found.contains(name))
        });
        while let Some((file, message)) = self.duplicate(&read) {
            read.remove(&file);
            self.problems.insert(file, vec![message]);
        }
        self.files.extend(read);
        changes(before, self.by_name())
    }

    /// Adds or replaces objects, each with a source of its own. An object of another source is an error.
    pub(crate) fn put(&mut self, described: Vec<(String, Named)>) -> Result<Vec<Change>, Vec<String>> {
        let elsewhere = described.iter().filter_map(|(source, (name, _))| {
            let other = self.source(name).filter(|other| *other != source)?;
            Some(format!("{name} is described in {other}; change it there"))
        });
        let elsewhere: Vec<String> = elsewhere.collect();
        if !elsewhere.is_empty() {
            return Err(elsewhere);
        }
        let before = self.by_name();
        self.files.extend(described.into_iter().map(|(source, named)| (source, vec![named])));
        Ok(changes(before, self.by_name()))
    }

    /// Removes all objects of a file.
    pub(crate) fn forget(&mut self, file: &str) -> Vec<Change> {
        let objects = self.files.remove(file).unwrap_or_default();
        objects.into_iter().map(|(name, _)| name.removal()).collect()
    }

    /// Records an error of a file or directory; its earlier objects stay in force.
    pub(crate) fn note(&mut self, file: &str, why: &str) {
        self.problems.insert(file.to_string(), vec![format!("{file}: {why}")]);
    }

    /// The object with this name as text, and the file that contains it.
    pub(crate) fn source_of_named(&self, text: &str) -> Option<(ObjectId, String)> {
        self.files.iter().find_map(|(file, objects)| {
            let (name, _) = objects.iter().find(|(name, _)| name.to_string() == text)?;
            Some((name.clone(), file.clone()))
        })
    }

    /// The object with this name.
    pub(crate) fn object(&self, name: &ObjectId) -> Option<&Object> {
        self.files.values().flatten().find(|(known, _)| known == name).map(|(_, object)| object)
    }

    /// The file that contains an object.
    pub(crate) fn source(&self, name: &ObjectId) -> Option<&str> {
        let holds = |objects: &Vec<Named>| objects.iter().any(|(known, _)| known == name);
        self.files.iter().find(|(_, objects)| holds(objects)).map(|(file, _)| file.as_str())
    }

    /// The files with objects in force.
    pub(crate) fn files(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Whether the present text of a file is in force.
    pub(crate) fn is_in_force(&self, file: &str) -> bool {
        self.files.contains_key(file) && !self.problems.contains_key(file)
    }

    /// The errors of files whose present text is not in force.
    pub(crate) fn problems(&self) -> Vec<String> {
        self.problems.values().flatten().cloned().collect()
    }

    fn read(&self, file: &str, text: Result<&str, &str>) -> Result<Vec<Named>, Vec<String>> {
        let text = text.map_err(|why| vec![format!("{file}: {why}")])?;
        let objects = parse(file, text)?;
        let had = self.files.get(file).is_some_and(|objects| !objects.is_empty());
        if objects.is_empty() && had {
            return Err(vec![format!("{file} is empty; remove it to delete its objects")]);
        }
        Ok(objects)
    }

    /// A file with an object that another file contains, and the message; of the two files preferably the one that
    /// did not contain it before.
    fn duplicate(&self, read: &BTreeMap<String, Vec<Named>>) -> Option<(String, String)> {
        let kept = self.files.iter().filter(|(file, _)| !read.contains_key(*file));
        let mut owners: BTreeMap<&ObjectId, &String> = BTreeMap::new();
        for (file, objects) in kept.chain(read) {
            for (name, _) in objects {
                let Some(owner) = owners.insert(name, file) else { continue };
                let held = |file: &String| self.source(name) == Some(file);
                let (duplicate, other) =
                    if held(file) && read.contains_key(owner) { (owner, file) } else { (file, owner) };
                return Some((
                    duplicate.clone(),
                    format!("{duplicate}: {name} is already described in {other}"),
                ));
            }
        }
        None
    }

    fn by_name(&self) -> BTreeMap<ObjectId, Object> {
        self.files.values().flatten().cloned().collect()
    }
}

/// Parses the objects of a text, or returns all its errors.
pub(crate) fn parse(file: &str, text: &str) -> Result<Vec<Named>, Vec<String>> {
    let manifest = manifest::parse(file, text).map_err(|found| messages(&found))?;
    let mut named: Vec<Named> = Vec::new();
    let mut invalid = Vec::new();
    for object in manifest.objects {
        match ObjectId::from_object(&object) {
            // Workloads are started, not applied; their manifests may stand beside policies.
            None => {}
            Some(name) if named.iter().any(|(known, _)| *known == name) => {
                invalid.push(format!("{file}: {name} is described twice"));
            }
            Some(name) => named.push((name, object)),
        }
    }
    if invalid.is_empty() { Ok(named) } else { Err(invalid) }
}

/// The objects with the source that stands for a file where a client applied an object.
pub(crate) fn with_applied_sources(described: Vec<Named>) -> Vec<(String, Named)> {
    described.into_iter().map(|named| (applied_source(&named.0), named)).collect()
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

/// The changes between two sets of objects.
fn changes(before: BTreeMap<ObjectId, Object>, after: BTreeMap<ObjectId, Object>) -> Vec<Change> {
    let removed = before.keys().filter(|name| !after.contains_key(name)).cloned().map(ObjectId::removal);
    let added = after.iter().filter(|(name, object)| before.get(name) != Some(object));
    removed.chain(added.filter_map(|(_, object)| addition(object.clone()))).collect()
}

impl ObjectId {
    /// The name of an object; none for workloads, which are started and not applied.
    pub(crate) fn from_object(object: &Object) -> Option<Self> {
        match object {
            Object::Policy(policy) => Some(Self::Policy(policy.id.clone())),
            Object::Service(service) => Some(Self::Service(service.namespace.clone(), service.name.clone())),
            Object::Namespace(namespace) => Some(Self::Namespace(namespace.name.clone())),
            Object::Endpoints(Endpoints { namespace, service, slice_name, .. }) => {
                Some(Self::Endpoints(namespace.clone(), service.clone(), slice_name.clone()))
            }
            Object::CidrGroup(group) => Some(Self::CidrGroup(group.name.clone())),
            Object::Node(node) => Some(Self::Node(node.name.clone())),
            Object::Workload(_) => None,
        }
    }

    /// The change that removes the object.
    pub(crate) fn removal(self) -> Change {
        match self {
            Self::Policy(id) => Change::RemovePolicy(id),
            Self::Service(namespace, name) => Change::RemoveService { namespace, name },
            Self::Namespace(name) => Change::RemoveNamespace(name),
            Self::Endpoints(namespace, service, slice_name) => Change::EndpointSlices {
                namespace,
                service,
                list: slice_name.unwrap_or_default(),
                slices: Vec::new(),
            },
            Self::CidrGroup(name) => Change::RemoveCidrGroup(name),
            Self::Node(name) => Change::RemoveRemoteNode(name),
        }
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy(id) => id.fmt(f),
            Self::Service(namespace, name) => write!(f, "Service/{namespace}/{name}"),
            Self::Namespace(name) => write!(f, "Namespace/{name}"),
            Self::Endpoints(namespace, _, Some(slice)) => write!(f, "EndpointSlice/{namespace}/{slice}"),
            Self::Endpoints(namespace, service, None) => write!(f, "Endpoints/{namespace}/{service}"),
            Self::CidrGroup(name) => write!(f, "CiliumCIDRGroup/{name}"),
            Self::Node(name) => write!(f, "Node/{name}"),
        }
    }
}

fn addition(object: Object) -> Option<Change> {
    Some(match object {
        Object::Policy(policy) => Change::Policy(policy),
        Object::Service(service) => Change::Service(Box::new(service)),
        Object::Namespace(namespace) => Change::Namespace { name: namespace.name, labels: namespace.labels },
        Object::Endpoints(Endpoints { namespace, service, slice_name, slices }) => {
            let list = slice_name.unwrap_or_default();
            Change::EndpointSlices { namespace, service, list, slices }
        }
        Object::CidrGroup(CidrGroup { name, group }) => Change::CidrGroup { name, group },
        Object::Node(NodeObject { name, labels, addresses }) => {
            Change::RemoteNode(Box::new(RemoteNode { name, labels, addresses }))
        }
        Object::Workload(_) => return None,
    })
}

fn messages(found: &[Diagnostic]) -> Vec<String> {
    found.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "{apiVersion: v1, kind: Namespace, metadata: {name: a}}";
    const B: &str = "{apiVersion: v1, kind: Namespace, metadata: {name: b}}";

    fn texts(files: &[(&str, &str)]) -> FileStates {
        files.iter().map(|(file, text)| (file.to_string(), FileState::Text(text.to_string()))).collect()
    }

    fn update(objects: &mut Objects, files: &[(&str, &str)]) -> Vec<String> {
        let changes = objects.update(&texts(files), |_| true);
        changes
            .into_iter()
            .map(|change| match change {
                Change::Namespace { name, .. } => format!("+{name}"),
                Change::RemoveNamespace(name) => format!("-{name}"),
                other => panic!("{other:?}"),
            })
            .collect()
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
            let changes = objects.update(&[("a".to_string(), reading)].into(), |_| true);
            assert!(changes.is_empty(), "{changes:?}");
            objects.problems()
        };
        assert_eq!(now(FileState::Unfinished), Vec::<String>::new());
        assert_eq!(now(FileState::Unreadable("is a directory".into())), ["a: is a directory"]);
        assert_eq!(now(FileState::Unfinished), ["a: is a directory"], "nothing new is known");
        assert_eq!(now(FileState::Text(A.into())), Vec::<String>::new());
    }
    #[test]
    fn a_missing_file_is_replaced_by_a_file_with_the_same_objects() {
        let mut objects = Objects::default();
        update(&mut objects, &[("a", A)]);
        let text = |text: &str| FileState::Text(text.into());
        let texts = FileStates::from([("a".into(), FileState::Missing), ("b".into(), text(B))]);
        assert_eq!(objects.update(&texts, |_| true).len(), 1, "its objects stay");
        let texts = FileStates::from([
            ("a".into(), FileState::Missing),
            ("b".into(), text(B)),
            ("c".into(), text(A)),
        ]);
        assert!(objects.update(&texts, |_| true).is_empty(), "it was renamed");
        assert_eq!(objects.files().collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(objects.problems(), Vec::<String>::new());
    }
}
