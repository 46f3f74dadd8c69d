//! One document: its `apiVersion`, `kind` and `metadata`, and whom to ask for the rest.

use crate::item::{Fields, Item, Nulls};
use crate::kubernetes::{network_policy, service, workload};
use crate::nearest::hint;
use crate::object::{Namespace, Object};
use crate::{cilium, name};
use policy::rule::Kind;
use std::collections::BTreeMap;

/// What a document says of itself before its content.
#[derive(Clone, Debug)]
pub(crate) struct Header<'a> {
    pub(crate) api_version: &'a str,
    pub(crate) kind: &'a str,
    /// None where it is missing or wrong, which has been reported.
    pub(crate) name: Option<String>,
    /// `default` where none is given.
    pub(crate) namespace: String,
    /// Where the namespace is given.
    pub(crate) namespace_given: Option<Item<'a>>,
    pub(crate) labels: BTreeMap<String, String>,
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

/// Kinds that are read, with their API.
const KINDS: &[(&str, &str)] = &[
    ("cilium.io/v2", "CiliumNetworkPolicy"),
    ("cilium.io/v2", "CiliumClusterwideNetworkPolicy"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("v1", "List"),
    ("v1", "Namespace"),
    ("v1", "Service"),
    ("v1", "Pod"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "ReplicaSet"),
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "DaemonSet"),
];

/// Kinds that bear on policy and are not read yet.
const LATER: &[&str] = &[
    "ClusterNetworkPolicy",
    "AdminNetworkPolicy",
    "BaselineAdminNetworkPolicy",
    "CiliumCIDRGroup",
    "CiliumEgressGatewayPolicy",
    "CiliumEnvoyConfig",
    "CiliumClusterwideEnvoyConfig",
    "CiliumLocalRedirectPolicy",
];

/// Reads a document, or each of the items of a list. A document with errors gives nothing.
pub(crate) fn read<'a>(item: &Item<'a>) -> Vec<Described<'a>> {
    let mark = item.report().mark();
    let Some(mut fields) = item.fields(Nulls::Absent) else { return Vec::new() };
    let Some((api_version, kind)) = kind(&mut fields) else { return Vec::new() };
    if kind == "List" {
        let items = fields.take("items");
        fields.ignore(&["metadata"]);
        fields.finish();
        return items.iter().flat_map(Item::list).flat_map(|item| read(&item)).collect();
    }
    let header = header(&mut fields, api_version, kind);
    let object = content(fields, header);
    let object = object.filter(|_| item.report().is_clean_since(mark));
    object.map(|object| Described { object, document: item.clone() }).into_iter().collect()
}

/// Reads `apiVersion` and `kind`, if it is one that is read.
fn kind<'a>(fields: &mut Fields<'a>) -> Option<(&'a str, &'a str)> {
    let (version, kind) = (fields.require("apiVersion"), fields.require("kind"));
    let (version, kind) = (version?, kind?);
    let (version_text, kind_text) = (version.text()?, kind.text()?);
    let old_form = (version_text, kind_text) == ("cilium.io/v1", "CiliumNetworkPolicy");
    if old_form || KINDS.contains(&(version_text, kind_text)) {
        return Some((version_text, kind_text));
    }
    if (version_text, kind_text) == TEST {
        kind.error("a PolicyTest says what is expected, it sets nothing; run it with `nexin test`");
    } else if LATER.contains(&kind_text) {
        kind.not_supported(kind_text);
    } else if let Some((right, _)) = KINDS.iter().find(|(_, known)| *known == kind_text) {
        version.error(format!("{version_text:?} has no {kind_text}; write {right}"));
    } else {
        let hint = hint(kind_text, KINDS.iter().map(|(_, kind)| *kind));
        kind.error(format!("{kind_text} is no kind that is read here{hint}"));
    }
    None
}

/// Reads `metadata`, in which everything that kubectl writes may stand.
pub(crate) fn header<'a>(fields: &mut Fields<'a>, api_version: &'a str, kind: &'a str) -> Header<'a> {
    let mut header = Header {
        api_version,
        kind,
        name: None,
        namespace: "default".to_owned(),
        namespace_given: None,
        labels: BTreeMap::new(),
    };
    let Some(metadata) = fields.require("metadata") else { return header };
    let Some(mut fields) = metadata.fields(Nulls::Absent) else { return header };
    header.name = fields.require("name").and_then(|item| name::object(&item));
    header.namespace_given = fields.take("namespace");
    let namespace = header.namespace_given.as_ref().and_then(name::namespace);
    header.namespace = namespace.unwrap_or(header.namespace);
    header.labels = fields.take("labels").map(|item| item.text_map()).unwrap_or_default();
    fields.ignore(&[
        "annotations",
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generateName",
        "generation",
        "managedFields",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
        "uid",
    ]);
    fields.finish();
    header
}

fn content(fields: Fields<'_>, header: Header<'_>) -> Option<Object> {
    match header.kind {
        "CiliumNetworkPolicy" => {
            cilium::policy(fields, Kind::CiliumNetworkPolicy, header).map(Object::Policy)
        }
        "CiliumClusterwideNetworkPolicy" => {
            cilium::policy(fields, Kind::CiliumClusterwideNetworkPolicy, header).map(Object::Policy)
        }
        "NetworkPolicy" => network_policy::policy(fields, header).map(Object::Policy),
        "Namespace" => namespace(fields, header).map(Object::Namespace),
        "Service" => service::service(fields, header).map(Object::Service),
        _ => workload::workload(fields, header).map(Object::Workload),
    }
}

fn namespace(mut fields: Fields<'_>, header: Header<'_>) -> Option<Namespace> {
    fields.ignore(&["spec", "status"]);
    fields.finish();
    Some(Namespace { name: header.name?, labels: header.labels })
}
