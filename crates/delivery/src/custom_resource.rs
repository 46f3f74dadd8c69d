//! A custom resource: its names, versions and printer columns, as the definition that the API server takes.

use crate::schema::{Schema, object, text};
use serde_json::{Map, Value, json};

/// The annotation with the release of the schemas: a lower number never replaces a higher one.
pub const SCHEMA_REVISION: &str = "nexin.io/schema-revision";

/// The revision of the schemas; every change of a definition raises it.
pub const REVISION: u32 = 2;

/// The API group of all resources.
pub const GROUP: &str = "cilium.io";

/// One custom resource.
#[derive(Debug)]
pub struct CustomResource {
    pub(crate) kind: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) short_names: &'static [&'static str],
    pub(crate) categories: &'static [&'static str],
    pub(crate) is_namespaced: bool,
    pub(crate) has_status: bool,
    pub(crate) columns: &'static [PrinterColumn],
    /// The served versions with a note on deprecation; the first one is stored.
    pub(crate) versions: &'static [ServedVersion],
    pub(crate) schema: fn() -> Schema,
}

/// What the operator does about an installed definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefinitionStep {
    /// Install it.
    Create,
    /// Replace it by that of this release.
    Update,
    /// Leave it as it is, and why.
    Keep(&'static str),
}

/// A version of a resource.
#[derive(Debug)]
pub(crate) struct ServedVersion {
    pub(crate) name: &'static str,
    pub(crate) is_deprecated: bool,
}

/// A column of `kubectl get`.
#[derive(Debug)]
pub(crate) struct PrinterColumn {
    name: &'static str,
    kind: &'static str,
    path: &'static str,
    /// Whether only `-o wide` shows it.
    is_wide: bool,
}

/// The version that nearly all resources have.
pub(crate) const V2: &[ServedVersion] = &[ServedVersion { name: "v2", is_deprecated: false }];

impl CustomResource {
    /// The name of the definition: `ciliumidentities.cilium.io`.
    pub fn definition_name(&self) -> String {
        format!("{}.{GROUP}", self.plural)
    }

    /// The kind.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// The name in URLs and roles.
    pub fn plural(&self) -> &'static str {
        self.plural
    }

    /// The CustomResourceDefinition.
    pub fn definition(&self) -> Value {
        let mut names = json!({
            "categories": self.categories,
            "kind": self.kind,
            "listKind": format!("{}List", self.kind),
            "plural": self.plural,
            "singular": self.kind.to_ascii_lowercase(),
        });
        if !self.short_names.is_empty() {
            names["shortNames"] = json!(self.short_names);
        }
        let versions: Vec<Value> =
            self.versions.iter().enumerate().map(|(index, one)| self.version(one, index == 0)).collect();
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {
                "name": self.definition_name(),
                "annotations": {SCHEMA_REVISION: REVISION.to_string()},
            },
            "spec": {
                "group": GROUP,
                "names": names,
                "scope": if self.is_namespaced { "Namespaced" } else { "Cluster" },
                "versions": versions,
            },
        })
    }

    /// What the operator does about the definition that is installed, if there is one.
    pub fn step(&self, installed: Option<&Value>) -> DefinitionStep {
        let Some(installed) = installed else { return DefinitionStep::Create };
        let revision = installed["metadata"]["annotations"][SCHEMA_REVISION].as_str();
        match revision.map(str::parse::<u32>) {
            None => DefinitionStep::Keep("another program installed it"),
            Some(Ok(revision)) if revision < REVISION => DefinitionStep::Update,
            Some(Ok(REVISION)) => DefinitionStep::Keep("it is of this release"),
            Some(_) => DefinitionStep::Keep("it is of a later release"),
        }
    }

    /// The schema of an object as the API server checks it.
    pub fn schema(&self) -> Value {
        (self.schema)().into()
    }

    fn version(&self, version: &ServedVersion, is_stored: bool) -> Value {
        let mut fields = Map::new();
        fields.insert("name".into(), version.name.into());
        if version.is_deprecated {
            fields.insert("deprecated".into(), true.into());
        }
        fields.insert("served".into(), true.into());
        fields.insert("storage".into(), is_stored.into());
        if !self.columns.is_empty() {
            let columns = self.columns.iter().map(PrinterColumn::json).collect();
            fields.insert("additionalPrinterColumns".into(), Value::Array(columns));
        }
        fields.insert("schema".into(), json!({"openAPIV3Schema": self.schema()}));
        if self.has_status {
            fields.insert("subresources".into(), json!({"status": {}}));
        }
        Value::Object(fields)
    }
}

impl PrinterColumn {
    /// A column that every output shows.
    pub(crate) const fn new(name: &'static str, kind: &'static str, path: &'static str) -> Self {
        Self { name, kind, path, is_wide: false }
    }

    /// A column that only `-o wide` shows.
    pub(crate) const fn wide(name: &'static str, kind: &'static str, path: &'static str) -> Self {
        Self { is_wide: true, ..Self::new(name, kind, path) }
    }

    fn json(&self) -> Value {
        let mut column = json!({"name": self.name, "type": self.kind, "jsonPath": self.path});
        if self.is_wide {
            column["priority"] = 1.into();
        }
        column
    }
}

/// An object with `apiVersion`, `kind`, `metadata` and these fields.
pub(crate) fn root<const N: usize>(about: &str, fields: [(&str, Schema); N]) -> Schema {
    let head = object([("apiVersion", text()), ("kind", text()), ("metadata", object([]))]).about(about);
    fields.into_iter().fold(head, |root, (name, field)| root.and(name, field))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::RESOURCES;

    #[test]
    fn a_later_definition_is_never_replaced() {
        let resource = &RESOURCES[0];
        let installed = |revision: &str| {
            let mut definition = resource.definition();
            definition["metadata"]["annotations"][SCHEMA_REVISION] = revision.into();
            resource.step(Some(&definition))
        };
        assert_eq!(resource.step(None), DefinitionStep::Create);
        assert_eq!(installed("0"), DefinitionStep::Update);
        assert_eq!(installed(&REVISION.to_string()), DefinitionStep::Keep("it is of this release"));
        for later in ["3", "1000000000000", "next"] {
            assert_eq!(installed(later), DefinitionStep::Keep("it is of a later release"));
        }
        assert_eq!(resource.step(Some(&json!({}))), DefinitionStep::Keep("another program installed it"));
    }
}
