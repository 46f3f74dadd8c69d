//! The objects in force, each stored once, found by name and by source.

use super::object_id::{Named, ObjectId, addition};
use control::Change;
use identity::SharedMap;
use manifest::Object;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The new objects of sources; none for a source that is deleted.
pub(crate) type Replacements = BTreeMap<String, Option<Vec<Named>>>;

/// The objects in force. A name has one source.
#[derive(Debug, Default)]
pub(crate) struct Index {
    by_name: SharedMap<ObjectId, SourcedObject>,
    by_source: BTreeMap<Arc<str>, Vec<ObjectId>>,
}

/// An object and its source.
#[derive(Clone, Debug)]
pub(crate) struct SourcedObject {
    source: Arc<str>,
    object: Arc<Object>,
}

impl SourcedObject {
    /// The file that contains the object, or the source of an object that a client applied.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }
}

impl Index {
    /// The objects by name; a clone shares them.
    pub(crate) fn by_name(&self) -> SharedMap<ObjectId, SourcedObject> {
        self.by_name.clone()
    }

    /// The object with this name.
    pub(crate) fn object(&self, name: &ObjectId) -> Option<&Object> {
        self.by_name.get(name).map(|sourced| &*sourced.object)
    }

    /// The source of an object.
    pub(crate) fn source(&self, name: &ObjectId) -> Option<&str> {
        self.by_name.get(name).map(|sourced| &*sourced.source)
    }

    /// The names of a source's objects; none if the source is unknown.
    pub(crate) fn names(&self, source: &str) -> Option<&[ObjectId]> {
        self.by_source.get(source).map(Vec::as_slice)
    }

    /// All sources.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &str> {
        self.by_source.keys().map(|source| &**source)
    }

    /// The object whose name is written like this, and its source.
    pub(crate) fn find_written(&self, text: &str) -> Option<(&ObjectId, &str)> {
        let found = match ObjectId::from_written(text) {
            Some(name) => self.by_name.iter_from(&name).next().filter(|(found, _)| **found == name),
            None => self.find_slice(text),
        };
        found.map(|(name, sourced)| (name, &*sourced.source))
    }

    /// The EndpointSlice whose name is written like this. Its service, which precedes it in the order of names, is not
    /// written.
    fn find_slice(&self, text: &str) -> Option<(&ObjectId, &SourcedObject)> {
        let (namespace, _) = text.strip_prefix("EndpointSlice/")?.split_once('/')?;
        let first = ObjectId::Endpoints(namespace.to_owned(), String::new(), None);
        self.by_name
            .iter_from(&first)
            .take_while(|(name, _)| matches!(name, ObjectId::Endpoints(other, ..) if other == namespace))
            .find(|(name, _)| name.to_string() == text)
    }

    /// What replacements change: removals first, in the order of names.
    pub(crate) fn changes(&self, replacements: &Replacements) -> Vec<Change> {
        let after: BTreeMap<&ObjectId, &Object> =
            replacements.values().flatten().flatten().map(|(name, object)| (name, &**object)).collect();
        let before = replacements.keys().filter_map(|source| self.names(source)).flatten();
        let removed: BTreeSet<&ObjectId> = before.filter(|name| !after.contains_key(name)).collect();
        let removed = removed.into_iter().cloned().map(ObjectId::removal);
        let added = after.iter().filter(|(name, object)| self.object(name) != Some(**object));
        removed.chain(added.filter_map(|(_, object)| addition(object))).collect()
    }

    /// Makes replacements, which give no object two sources.
    pub(crate) fn replace(&mut self, replacements: Replacements) {
        for source in replacements.keys() {
            for name in self.by_source.remove(source.as_str()).unwrap_or_default() {
                self.by_name.remove(&name);
            }
        }
        for (source, objects) in replacements {
            let Some(objects) = objects else { continue };
            let source: Arc<str> = source.into();
            let names = objects.iter().map(|(name, _)| name.clone()).collect();
            self.by_source.insert(Arc::clone(&source), names);
            for (name, object) in objects {
                self.by_name.insert(name, SourcedObject { source: source.clone(), object });
            }
        }
    }
}
