//! Which objects are in force and which file each of them came from.
//!
//! A file is taken whole or not at all: while it has an error, what it said before stays in force.

use control::Change;
use manifest::{Diagnostic, Object};
use policy::rule::PolicyId;
use std::collections::BTreeMap;
use std::fmt;

/// Names one object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ObjectName {
    /// A policy.
    Policy(PolicyId),
    /// A service, by namespace and name.
    Service(String, String),
    /// A namespace.
    Namespace(String),
}

/// The objects in force, by the file that they came from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Objects {
    files: BTreeMap<String, Vec<(ObjectName, Object)>>,
    problems: BTreeMap<String, Vec<String>>,
}

impl Objects {
    /// Reads a file anew; the changes take it from what it said before to what it says now.
    ///
    /// On errors nothing changes, and the messages are kept until the file is read again.
    pub(crate) fn read(&mut self, file: &str, text: &str) -> Result<Vec<Change>, Vec<String>> {
        match self.parse(file, text).and_then(|objects| self.unclaimed(file, objects)) {
            Ok(objects) => {
                self.problems.remove(file);
                Ok(self.replace(file, objects))
            }
            Err(messages) => {
                self.problems.insert(file.to_string(), messages.clone());
                Err(messages)
            }
        }
    }

    /// Takes one object in, as the only one that `file` stands for; it may be there already, but not from another.
    pub(crate) fn put(
        &mut self,
        file: &str,
        name: ObjectName,
        object: Object,
    ) -> Result<Vec<Change>, Vec<String>> {
        match self.source(&name) {
            Some(other) if other != file => {
                Err(vec![format!("{name} is described in {other}; change it there")])
            }
            _ => Ok(self.replace(file, vec![(name, object)])),
        }
    }

    /// The object that people call so, and the file that it came from.
    pub(crate) fn source_of_named(&self, text: &str) -> Option<(ObjectName, String)> {
        self.files.iter().find_map(|(file, objects)| {
            let (name, _) = objects.iter().find(|(name, _)| name.to_string() == text)?;
            Some((name.clone(), file.clone()))
        })
    }

    /// Notes that a file cannot be read at all; what it said before stays in force.
    pub(crate) fn unreadable(&mut self, file: &str, why: &str) {
        self.problems.insert(file.to_string(), vec![format!("{file}: {why}")]);
    }

    /// Takes everything that the file said out of force.
    pub(crate) fn forget(&mut self, file: &str) -> Vec<Change> {
        self.problems.remove(file);
        let objects = self.files.remove(file).unwrap_or_default();
        objects.into_iter().map(|(name, _)| name.removal()).collect()
    }

    /// The file that an object came from.
    pub(crate) fn source(&self, name: &ObjectName) -> Option<&str> {
        let holds = |objects: &Vec<(ObjectName, Object)>| objects.iter().any(|(known, _)| known == name);
        self.files.iter().find(|(_, objects)| holds(objects)).map(|(file, _)| file.as_str())
    }

    /// The files that are known, with or without objects in force.
    pub(crate) fn files(&self) -> impl Iterator<Item = &str> {
        self.files.keys().chain(self.problems.keys()).map(String::as_str)
    }

    /// All messages about files that are not in force as they stand.
    pub(crate) fn problems(&self) -> Vec<String> {
        self.problems.values().flatten().cloned().collect()
    }

    /// The objects that a text describes, or all that is wrong with it, without taking anything in force.
    pub(crate) fn parse(&self, file: &str, text: &str) -> Result<Vec<(ObjectName, Object)>, Vec<String>> {
        let objects = manifest::parse(file, text).map_err(|found| messages(&found))?;
        let mut named: Vec<(ObjectName, Object)> = Vec::new();
        let mut wrong = Vec::new();
        for object in objects.objects {
            match ObjectName::of(&object) {
                None => wrong.push(format!(
                    "{file}: a workload cannot be applied to a node; start it with `nexin run`"
                )),
                Some(name) if named.iter().any(|(known, _)| *known == name) => {
                    wrong.push(format!("{file}: {name} is described twice"));
                }
                Some(name) => named.push((name, object)),
            }
        }
        if wrong.is_empty() { Ok(named) } else { Err(wrong) }
    }

    /// The objects, unless one of them is described elsewhere.
    fn unclaimed(
        &self,
        file: &str,
        objects: Vec<(ObjectName, Object)>,
    ) -> Result<Vec<(ObjectName, Object)>, Vec<String>> {
        let claimed = objects.iter().filter_map(|(name, _)| {
            let other = self.source(name).filter(|other| *other != file)?;
            Some(format!("{file}: {name} is already described in {other}"))
        });
        let wrong: Vec<String> = claimed.collect();
        if wrong.is_empty() { Ok(objects) } else { Err(wrong) }
    }

    fn replace(&mut self, file: &str, objects: Vec<(ObjectName, Object)>) -> Vec<Change> {
        let old = self.files.remove(file).unwrap_or_default();
        let gone = old.iter().filter(|(name, _)| objects.iter().all(|(kept, _)| kept != name));
        let mut changes: Vec<Change> = gone.map(|(name, _)| name.clone().removal()).collect();
        let news = objects.iter().filter(|entry| !old.contains(entry));
        changes.extend(news.filter_map(|(_, object)| arrival(object.clone())));
        self.files.insert(file.to_string(), objects);
        changes
    }
}

impl ObjectName {
    /// The name of an object that can be in force on a node; workloads are started, not applied.
    pub(crate) fn of(object: &Object) -> Option<Self> {
        match object {
            Object::Policy(policy) => Some(Self::Policy(policy.id.clone())),
            Object::Service(service) => Some(Self::Service(service.namespace.clone(), service.name.clone())),
            Object::Namespace(namespace) => Some(Self::Namespace(namespace.name.clone())),
            Object::Workload(_) => None,
        }
    }

    /// The change that takes it out of force.
    pub(crate) fn removal(self) -> Change {
        match self {
            Self::Policy(id) => Change::RemovePolicy(id),
            Self::Service(namespace, name) => Change::RemoveService { namespace, name },
            Self::Namespace(name) => Change::RemoveNamespace(name),
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy(id) => id.fmt(f),
            Self::Service(namespace, name) => write!(f, "Service/{namespace}/{name}"),
            Self::Namespace(name) => write!(f, "Namespace/{name}"),
        }
    }
}

fn arrival(object: Object) -> Option<Change> {
    Some(match object {
        Object::Policy(policy) => Change::Policy(policy),
        Object::Service(service) => Change::Service(service),
        Object::Namespace(namespace) => Change::Namespace { name: namespace.name, labels: namespace.labels },
        Object::Workload(_) => return None,
    })
}

fn messages(found: &[Diagnostic]) -> Vec<String> {
    found.iter().map(ToString::to_string).collect()
}
