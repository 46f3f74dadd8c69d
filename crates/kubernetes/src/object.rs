//! An object as the API server shows it, reduced to the fields that are read.

use crate::kind::{KeptFields, WatchedKind};
use serde_json::{Map, Value};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Fields of `metadata` that are kept of every object.
const METADATA: [&str; 5] = ["name", "namespace", "uid", "generation", "labels"];

/// The annotation in which kubectl repeats the object that a person applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The name of an object among those of its kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceName {
    /// Its namespace, if its kind has namespaces.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// An object that was added or changed, or that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedObject {
    /// Its name.
    pub name: ResourceName,
    /// Its JSON text; none for an object that is gone.
    pub text: Option<String>,
}

/// An object of a list or of an event, with the version of the store that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReadObject {
    pub(crate) name: ResourceName,
    pub(crate) resource_version: String,
    pub(crate) text: String,
}

/// Identifies the text of an object within this process.
pub fn text_hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

impl ReadObject {
    /// Reads an object; none for JSON without a name. The items of a list lack `kind` and `apiVersion`.
    pub(crate) fn new(kind: &WatchedKind, version: usize, object: Value) -> Option<Self> {
        let Value::Object(mut object) = object else { return None };
        let Some(Value::Object(mut metadata)) = object.remove("metadata") else { return None };
        let name = ResourceName {
            namespace: metadata.get("namespace").and_then(Value::as_str).map(str::to_owned),
            name: metadata.get("name")?.as_str()?.to_owned(),
        };
        let resource_version = metadata.get("resourceVersion")?.as_str()?.to_owned();
        if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
            annotations.remove(LAST_APPLIED);
        }
        let mut kept = Map::new();
        kept.insert("apiVersion".into(), kind.api_version(version).into());
        kept.insert("kind".into(), kind.kind.into());
        let KeptFields { metadata: more, whole, spec, status, containers } = kind.fields;
        kept.insert("metadata".into(), take(&mut metadata, METADATA.iter().chain(more)).into());
        for field in whole {
            if let Some(value) = object.remove(*field) {
                kept.insert((*field).into(), value);
            }
        }
        if let (true, Some(Value::Object(spec))) = (containers, object.get_mut("spec")) {
            reduce_containers(spec);
        }
        for (field, fields) in [("spec", spec), ("status", status)] {
            if let (false, Some(Value::Object(mut value))) = (fields.is_empty(), object.remove(field)) {
                kept.insert(field.into(), take(&mut value, fields.iter()).into());
            }
        }
        let text = Value::Object(kept).to_string();
        Some(Self { name, resource_version, text })
    }
}

/// Keeps the names and ports of containers.
fn reduce_containers(spec: &mut Map<String, Value>) {
    for list in ["containers", "initContainers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
            *container = take(container, ["name", "ports", "restartPolicy"].iter());
        }
    }
}

/// Takes fields, in this order, so that equal objects have equal texts.
fn take<'a>(from: &mut Map<String, Value>, fields: impl Iterator<Item = &'a &'a str>) -> Map<String, Value> {
    fields.filter_map(|field| from.remove_entry(*field)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_read_of_an_object_is_no_change_of_its_text() {
        let kind = WatchedKind {
            group: "",
            versions: &["v1"],
            kind: "Node",
            plural: "nodes",
            field_selector: None,
            fields: KeptFields { spec: &["podCIDRs"], status: &["addresses"], ..KeptFields::default() },
        };
        let read = |version: &str, heartbeat: &str| {
            let object = serde_json::json!({
                "metadata": {"managedFields": [], "resourceVersion": version, "name": "n1", "labels": {"a": "b"}},
                "spec": {"taints": [], "podCIDRs": ["10.0.0.0/24"]},
                "status": {"conditions": [heartbeat], "addresses": []},
            });
            ReadObject::new(&kind, 0, object).unwrap()
        };
        let expected = r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"n1","labels":{"a":"b"}},"spec":{"podCIDRs":["10.0.0.0/24"]},"status":{"addresses":[]}}"#;
        assert_eq!(read("1", "x").text, expected);
        assert_eq!(read("2", "y").text, expected);
    }
}
