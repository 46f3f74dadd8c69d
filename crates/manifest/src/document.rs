//! One document: its `apiVersion`, `kind` and `metadata`, and whom to ask for the rest.

use crate::item::{Fields, Item, Nulls};
use crate::kind::{self, KINDS, Known};
use crate::label;
use crate::name;
use crate::object::Object;
use crate::order;
use std::collections::BTreeMap;

/// What a document says of itself before its content.
#[derive(Clone, Debug)]
pub(crate) struct Header<'a> {
    pub(crate) api_version: &'a str,
    pub(crate) kind: &'a str,
    /// None where it is missing or wrong, which has been reported.
    pub(crate) name: Option<String>,
    /// Where the name is given.
    pub(crate) name_given: Option<Item<'a>>,
    /// `default` where none is given.
    pub(crate) namespace: String,
    /// Where the namespace is given.
    pub(crate) namespace_given: Option<Item<'a>>,
    pub(crate) labels: BTreeMap<String, String>,
    /// Where the labels are given.
    pub(crate) labels_given: Option<Item<'a>>,
    pub(crate) annotations: Option<Item<'a>>,
    /// The number that the cluster gave it.
    pub(crate) uid: Option<&'a str>,
    pub(crate) owners: Option<Item<'a>>,
}

/// An object with the document that describes it.
#[derive(Clone, Debug)]
pub(crate) struct Described<'a> {
    pub(crate) object: Object,
    /// An item, where the document is a list.
    pub(crate) document: Item<'a>,
}

/// The kind of the documents that `nexin test` runs.
pub(crate) const TEST: (&str, &str) = ("nexin.io/v1alpha1", "PolicyTest");

/// Reads a document, or each of the items of a list. A document with errors gives nothing; one that is no object of
/// Kubernetes, such as the values of a chart or a list of patches, is skipped.
pub(crate) fn read<'a>(item: &Item<'a>) -> Vec<Described<'a>> {
    if item.is_list() || item.is_without(&["apiVersion", "kind"]) || is_chart(item) {
        item.report().skip();
        return Vec::new();
    }
    read_object(item)
}

/// Whether it is the `Chart.yaml` of a Helm chart: that has an `apiVersion`, but says by itself what it is called.
fn is_chart(item: &Item<'_>) -> bool {
    let is_object = !item.is_without(&["kind", "metadata", "spec"]);
    !is_object && ["name", "version"].iter().all(|name| !item.is_without(&[name]))
}

/// Reads what is certainly meant to be an object, or a list of objects.
pub(crate) fn read_object<'a>(item: &Item<'a>) -> Vec<Described<'a>> {
    read_in(item, None)
}

/// Reads a document, or an item of a list of one kind, which need not repeat it.
fn read_in<'a>(item: &Item<'a>, list: Option<&'static Known>) -> Vec<Described<'a>> {
    let mark = item.report().mark();
    let Some(mut fields) = item.fields(Nulls::Absent) else { return Vec::new() };
    match subject(&mut fields, list) {
        None => Vec::new(),
        Some(What::List(of)) => {
            let items = fields.take("items");
            fields.ignore(&["metadata"]);
            fields.finish();
            items.iter().flat_map(Item::list).flat_map(|item| read_in(&item, of)).collect()
        }
        Some(What::One(known, api_version)) => {
            let object = one(fields, known, api_version);
            let object = object.filter(|_| item.report().is_clean_since(mark));
            object.map(|object| Described { object, document: item.clone() }).into_iter().collect()
        }
    }
}

/// What a document describes.
enum What<'a> {
    /// One object, and the version it is written in.
    One(&'static Known, &'a str),
    /// Objects of any kind, or of one.
    List(Option<&'static Known>),
}

/// Reads `apiVersion` and `kind`, if it is one that is read.
fn subject<'a>(fields: &mut Fields<'a>, list: Option<&'static Known>) -> Option<What<'a>> {
    if let Some(known) = list
        && !fields.has("kind")
        && !fields.has("apiVersion")
    {
        fields.ignore(&["apiVersion", "kind"]);
        return Some(What::One(known, known.api_version));
    }
    let (version, kind) = (fields.require("apiVersion"), fields.require("kind"));
    let (version, kind) = (version?, kind?);
    let (version_text, kind_text) = (version.text()?, kind.text()?);
    let find = |name: &str| {
        let of_kind = |known: &&Known| known.kind == name && known.is_of(version_text);
        KINDS.iter().find(of_kind)
    };
    if let Some(known) = find(kind_text) {
        return Some(What::One(known, version_text));
    }
    if (version_text, kind_text) == ("v1", "List") {
        return Some(What::List(None));
    }
    if let Some(known) = kind_text.strip_suffix("List").and_then(find) {
        return Some(What::List(Some(known)));
    }
    refuse_or_skip(&version, &kind);
    None
}

/// Deals with a document of a kind that is not read: an error where one of ours was meant, otherwise no affair of ours.
fn refuse_or_skip(version: &Item<'_>, kind: &Item<'_>) {
    let (Some(version_text), Some(kind_text)) = (version.text(), kind.text()) else { return };
    let is_ours = |known: &&Known| kind::is_near_group(version_text, known.api_version);
    if (version_text, kind_text) == TEST {
        kind.error("a PolicyTest says what is expected, it sets nothing; run it with `nexin test`");
    } else if kind::LATER.contains(&kind_text) && kind::group(version_text) == "cilium.io" {
        kind.not_supported(kind_text);
    } else if let Some(known) = KINDS.iter().find(|known| known.kind == kind_text)
        && KINDS.iter().any(|any| is_ours(&any))
    {
        version.error(format!("{version_text:?} has no {kind_text}; write {}", known.api_version));
    } else if let Some(meant) = kind::nearest_in(version_text, kind_text) {
        kind.error(format!("{kind_text} is no kind that is read here, did you mean `{meant}`?"));
    } else {
        kind.report().skip();
    }
}

fn one<'a>(mut fields: Fields<'a>, known: &'static Known, api_version: &'a str) -> Option<Object> {
    let header = header(&mut fields, api_version, known.kind);
    if let Some(item) = header.namespace_given.as_ref().filter(|_| known.is_clusterwide) {
        item.error(format!("{} has no namespace; leave it out", known.kind));
    }
    order::refuse_elsewhere(&header);
    (known.read)(fields, header)
}

/// Reads `metadata`, in which everything that kubectl writes may stand.
pub(crate) fn header<'a>(fields: &mut Fields<'a>, api_version: &'a str, kind: &'a str) -> Header<'a> {
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
    // What the cluster is to number has no name yet but the beginning of one.
    let stem =
        fields.take("generateName").and_then(|item| item.text()).filter(|_| kind::is_of_workloads(kind));
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
