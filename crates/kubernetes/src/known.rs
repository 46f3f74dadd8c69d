//! The objects of a kind that were reported, so that a later list yields only what differs.

use crate::object::{ObservedObject, ReadObject, ResourceName, text_hash};
use std::collections::{BTreeMap, BTreeSet};

/// Objects by name, with the hashes of their texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownObjects(BTreeMap<ResourceName, u64>);

impl FromIterator<(ResourceName, u64)> for KnownObjects {
    fn from_iter<I: IntoIterator<Item = (ResourceName, u64)>>(objects: I) -> Self {
        Self(objects.into_iter().collect())
    }
}

impl KnownObjects {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes an object over; none if its text is known.
    pub(crate) fn put(&mut self, object: ReadObject) -> Option<ObservedObject> {
        let hash = text_hash(&object.text);
        let before = self.0.insert(object.name.clone(), hash);
        let ReadObject { name, text, .. } = object;
        (before != Some(hash)).then_some(ObservedObject { name, text: Some(text) })
    }

    /// Removes an object; none if it is not known.
    pub(crate) fn remove(&mut self, name: ResourceName) -> Option<ObservedObject> {
        self.0.remove(&name)?;
        Some(ObservedObject { name, text: None })
    }

    /// Takes a whole list over: what differs, and what is not in the list any more.
    pub(crate) fn replace(&mut self, list: Vec<ReadObject>) -> Vec<ObservedObject> {
        let present: BTreeSet<ResourceName> = list.iter().map(|object| object.name.clone()).collect();
        let gone: Vec<_> = self.0.keys().filter(|name| !present.contains(name)).cloned().collect();
        let mut observed: Vec<_> = gone.into_iter().filter_map(|name| self.remove(name)).collect();
        observed.extend(list.into_iter().filter_map(|object| self.put(object)));
        observed
    }
}
