//! The header of a document: `apiVersion`, `kind` and `metadata`.

use crate::item::{Fields, Item, Nulls};
use crate::{label, name, workload};
use std::collections::BTreeMap;

/// `apiVersion`, `kind` and `metadata` of a document.
#[derive(Clone, Debug)]
pub(crate) struct Header<'a> {
    pub(crate) api_version: &'a str,
    pub(crate) kind: &'a str,
    /// None if it is missing or invalid, which has been reported.
    pub(crate) name: Option<String>,
    /// The item of the name.
    pub(crate) name_given: Option<Item<'a>>,
    /// `default` if the document has none.
    pub(crate) namespace: String,
    /// The item of the namespace.
    pub(crate) namespace_given: Option<Item<'a>>,
    pub(crate) labels: BTreeMap<String, String>,
    /// The item of the labels.
    pub(crate) labels_given: Option<Item<'a>>,
    pub(crate) annotations: Option<Item<'a>>,
    /// The UID that the API server assigned.
    pub(crate) uid: Option<&'a str>,
    pub(crate) owners: Option<Item<'a>>,
}

/// Reads `metadata`, with every field that kubectl writes.
pub(crate) fn read<'a>(fields: &mut Fields<'a>, api_version: &'a str, kind: &'a str) -> Header<'a> {
    let mut header = Header {
        api_version,
        kind,
        name: None,
        name_given: None,
        namespace: "default".to_owned(),
        namespace_given: None,
        labels: BTreeMap::new(),
        labels_given: None,
        annotations: None,
        uid: None,
        owners: None,
    };
    let Some(metadata) = fields.require("metadata") else { return header };
    let Some(mut fields) = metadata.fields(Nulls::Absent) else { return header };
    // DocumentContent the cluster is to number has no name yet but the beginning of one.
    let stem = fields.take("generateName").and_then(|item| item.text()).filter(|_| workload::runs_pods(kind));
    header.name_given = if stem.is_some() { fields.take("name") } else { fields.require("name") };
    let stem = stem.map(|stem| stem.trim_end_matches(['-', '.']).to_owned());
    header.name = header.name_given.as_ref().map_or(stem, name::object);
    header.namespace_given = fields.take("namespace");
    let namespace = header.namespace_given.as_ref().and_then(name::namespace);
    header.namespace = namespace.unwrap_or(header.namespace);
    header.labels_given = fields.take("labels");
    header.labels = header.labels_given.as_ref().map(label::read).unwrap_or_default();
    header.uid = fields.take("uid").and_then(|item| item.text());
    header.owners = fields.take("ownerReferences");
    header.annotations = fields.take("annotations");
    fields.ignore(&[
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generation",
        "managedFields",
        "resourceVersion",
        "selfLink",
    ]);
    fields.finish();
    header
}

/// The group of an `apiVersion`; empty for the core group.
pub(crate) fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}
