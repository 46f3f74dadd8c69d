//! One document: dispatches to the reader of its kind.

use crate::header;
use crate::item::{Fields, Item, Nulls};
use crate::kind::{self, KINDS, KindReader};
use crate::object::Object;
use crate::order;

/// An object with the document that describes it.
#[derive(Clone, Debug)]
pub(crate) struct DescribedObject<'a> {
    pub(crate) object: Object,
    /// An item, if the document is a list.
    pub(crate) document: Item<'a>,
    kind: (&'a str, &'static str),
}

impl DescribedObject<'_> {
    /// The item of a list as a document of its own; none for a whole document.
    pub(crate) fn list_item(&self) -> Option<String> {
        if self.document.is_document() {
            return None;
        }
        // An item of a list of one kind may lack both.
        if !self.document.is_without(&["apiVersion", "kind"]) {
            return Some(self.document.json());
        }
        let (version, kind) = self.kind;
        let fields = self.document.json();
        Some(format!("{{\"apiVersion\":\"{version}\",\"kind\":\"{kind}\",{}", fields.strip_prefix('{')?))
    }
}

/// The `apiVersion` and `kind` of the documents that `nexin test` runs.
pub(crate) const TEST: (&str, &str) = ("nexin.io/v1alpha1", "PolicyTest");

/// Reads a document, or each item of a list. A document with errors yields nothing. A document that is no Kubernetes
/// object, such as chart values or a list of patches, is skipped.
pub(crate) fn read<'a>(item: &Item<'a>) -> Vec<DescribedObject<'a>> {
    if item.is_list() || item.is_without(&["apiVersion", "kind"]) || is_chart(item) {
        item.report().skip();
        return Vec::new();
    }
    read_object(item)
}

/// Whether it is the `Chart.yaml` of a Helm chart, which has an `apiVersion` and a `name` at the top level.
fn is_chart(item: &Item<'_>) -> bool {
    let is_object = !item.is_without(&["kind", "metadata", "spec"]);
    !is_object && ["name", "version"].iter().all(|name| !item.is_without(&[name]))
}

/// Reads a document that must be an object or a list of objects.
pub(crate) fn read_object<'a>(item: &Item<'a>) -> Vec<DescribedObject<'a>> {
    read_in(item, None)
}

/// Reads a document, or an item of a list of one kind, which may omit `apiVersion` and `kind`.
fn read_in<'a>(item: &Item<'a>, list: Option<&'static KindReader>) -> Vec<DescribedObject<'a>> {
    let mark = item.report().mark();
    let Some(mut fields) = item.fields(Nulls::Absent) else { return Vec::new() };
    match content(&mut fields, list) {
        None => Vec::new(),
        Some(DocumentContent::List(of)) => {
            let items = fields.take("items");
            fields.ignore(&["metadata"]);
            fields.finish();
            items.iter().flat_map(Item::list).flat_map(|item| read_in(&item, of)).collect()
        }
        Some(DocumentContent::One(known, api_version)) => {
            let object = one(fields, known, api_version);
            let object = object.filter(|_| item.report().is_clean_since(mark));
            let kind = (api_version, known.kind);
            object
                .map(|object| DescribedObject { object, document: item.clone(), kind })
                .into_iter()
                .collect()
        }
    }
}

/// The content of a document.
enum DocumentContent<'a> {
    /// One object, and its `apiVersion`.
    One(&'static KindReader, &'a str),
    /// A list of objects: of any kind, or of one.
    List(Option<&'static KindReader>),
}

/// Reads `apiVersion` and `kind`; none if no reader knows them.
fn content<'a>(fields: &mut Fields<'a>, list: Option<&'static KindReader>) -> Option<DocumentContent<'a>> {
    if let Some(known) = list
        && !fields.has("kind")
        && !fields.has("apiVersion")
    {
        fields.ignore(&["apiVersion", "kind"]);
        return Some(DocumentContent::One(known, known.api_version));
    }
    let (version, kind) = (fields.require("apiVersion"), fields.require("kind"));
    let (version, kind) = (version?, kind?);
    let (version_text, kind_text) = (version.text()?, kind.text()?);
    let find = |name: &str| {
        let of_kind = |known: &&KindReader| known.kind == name && known.is_of(version_text);
        KINDS.iter().find(of_kind)
    };
    if let Some(known) = find(kind_text) {
        return Some(DocumentContent::One(known, version_text));
    }
    if (version_text, kind_text) == ("v1", "List") {
        return Some(DocumentContent::List(None));
    }
    if let Some(known) = kind_text.strip_suffix("List").and_then(find) {
        return Some(DocumentContent::List(Some(known)));
    }
    refuse_or_skip(&version, &kind);
    None
}

/// Reports a document of an unknown kind as an error if a known kind was probably meant, otherwise skips it.
fn refuse_or_skip(version: &Item<'_>, kind: &Item<'_>) {
    let (Some(version_text), Some(kind_text)) = (version.text(), kind.text()) else { return };
    let is_ours = |known: &&KindReader| kind::is_near_group(version_text, known.api_version);
    if (version_text, kind_text) == TEST {
        kind.error("a PolicyTest is not applied; run it with `nexin test`");
    } else if kind::LATER.contains(&kind_text) && header::group(version_text) == "cilium.io" {
        kind.not_supported(kind_text);
    } else if let Some(known) = KINDS.iter().find(|known| known.kind == kind_text)
        && KINDS.iter().any(|any| is_ours(&any))
    {
        version.error(format!("{version_text:?} has no {kind_text}; write {}", known.api_version));
    } else if let Some(meant) = kind::nearest_in(version_text, kind_text) {
        kind.error(format!("{kind_text} is not a known kind, did you mean `{meant}`?"));
    } else {
        kind.report().skip();
    }
}

fn one<'a>(mut fields: Fields<'a>, known: &'static KindReader, api_version: &'a str) -> Option<Object> {
    let header = header::read(&mut fields, api_version, known.kind);
    if let Some(item) = header.namespace_given.as_ref().filter(|_| known.is_clusterwide) {
        item.error(format!("{} has no namespace; leave it out", known.kind));
    }
    order::refuse_elsewhere(&header);
    (known.read)(fields, header)
}
