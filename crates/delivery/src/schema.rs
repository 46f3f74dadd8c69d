//! Structural schemas of custom resources (OpenAPI v3 as the API server takes it), built from few words.

use serde_json::{Map, Value, json};
use std::ops::RangeInclusive;

/// The schema of one value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Schema(Map<String, Value>);

/// A mapping with these fields.
pub(crate) fn object<const N: usize>(fields: [(&str, Schema); N]) -> Schema {
    let fields: Map<String, Value> =
        fields.into_iter().map(|(name, schema)| (name.into(), schema.into())).collect();
    let schema = of_type("object");
    if fields.is_empty() { schema } else { schema.with("properties", fields) }
}

/// A mapping whose values all have this schema.
pub(crate) fn map_of(values: Schema) -> Schema {
    of_type("object").with("additionalProperties", Value::from(values))
}

/// A mapping of text to text.
pub(crate) fn text_map() -> Schema {
    map_of(text())
}

/// A mapping that is stored as it is.
pub(crate) fn open_object() -> Schema {
    of_type("object").with("x-kubernetes-preserve-unknown-fields", true)
}

/// A list.
pub(crate) fn list(items: Schema) -> Schema {
    of_type("array").with("items", Value::from(items))
}

/// Any text.
pub(crate) fn text() -> Schema {
    of_type("string")
}

/// One of these texts.
pub(crate) fn one_of(values: impl IntoIterator<Item = &'static str>) -> Schema {
    text().with("enum", values.into_iter().collect::<Vec<_>>())
}

/// Text of at most this length that an RE2 expression matches as a whole.
pub(crate) fn text_like(expression: &str, longest: u32) -> Schema {
    text().with("pattern", format!("^({expression})$")).with("maxLength", longest)
}

/// A block of addresses.
pub(crate) fn cidr() -> Schema {
    text().with("format", "cidr")
}

/// A time as RFC 3339 writes it.
pub(crate) fn time() -> Schema {
    text().with("format", "date-time")
}

/// A whole number.
pub(crate) fn integer() -> Schema {
    of_type("integer")
}

/// A whole number of 64 bits.
pub(crate) fn long() -> Schema {
    integer().with("format", "int64")
}

/// A whole number within a range.
pub(crate) fn number(range: RangeInclusive<u32>) -> Schema {
    integer().with("minimum", *range.start()).with("maximum", *range.end())
}

/// True or false.
pub(crate) fn boolean() -> Schema {
    of_type("boolean")
}

/// A number, or text.
pub(crate) fn number_or_text() -> Schema {
    Schema(Map::new())
        .with("anyOf", json!([{"type": "integer"}, {"type": "string"}]))
        .with("x-kubernetes-int-or-string", true)
}

fn of_type(name: &str) -> Schema {
    Schema(Map::new()).with("type", name)
}

impl Schema {
    /// The schema with one more keyword.
    pub(crate) fn with(mut self, keyword: &str, value: impl Into<Value>) -> Self {
        self.0.insert(keyword.into(), value.into());
        self
    }

    /// The schema of a mapping with one more field.
    pub(crate) fn and(mut self, name: &str, field: Schema) -> Self {
        let fields = self.0.entry("properties").or_insert_with(|| json!({}));
        fields[name] = field.into();
        self
    }

    /// The schema with the text that `kubectl explain` prints.
    pub(crate) fn about(self, description: &str) -> Self {
        self.with("description", description)
    }

    /// The schema of a mapping that must have these fields.
    pub(crate) fn requires<const N: usize>(self, fields: [&str; N]) -> Self {
        self.with("required", json!(fields.as_slice()))
    }

    /// The schema of a mapping that must have exactly one of these fields.
    pub(crate) fn exactly_one_of<const N: usize>(self, fields: [&str; N]) -> Self {
        let each: Vec<Value> = fields.iter().map(|field| json!({"required": [field]})).collect();
        self.with("oneOf", each)
    }

    /// The schema of a mapping in which one of these lists has an item.
    pub(crate) fn one_filled_of<const N: usize>(self, lists: [&str; N]) -> Self {
        let filled = |list: &&str| json!({"required": [list], "properties": {*list: {"minItems": 1}}});
        self.with("anyOf", lists.iter().map(filled).collect::<Vec<_>>())
    }

    /// The schema with fields that are kept without a value at any depth below, so that webhook and agent refuse them. The API
    /// server removes such a field otherwise, and what is left may match more: a rule without `fromEndpoints` allows every
    /// peer, and a selector without labels selects every endpoint.
    pub(crate) fn keeping_nulls(mut self) -> Self {
        keep_nulls_below(&mut self.0);
        self
    }

    /// The schema with a CEL rule, and the message for a value that breaks the rule.
    pub(crate) fn rule(mut self, rule: &str, message: &str) -> Self {
        let rules = self.0.entry("x-kubernetes-validations").or_insert_with(|| json!([]));
        if let Value::Array(rules) = rules {
            rules.push(json!({"rule": rule, "message": message}));
        }
        self
    }
}

fn keep_nulls_below(schema: &mut Map<String, Value>) {
    let keep = |field: &mut Value| {
        if let Value::Object(field) = field {
            field.insert("nullable".into(), true.into());
            keep_nulls_below(field);
        }
    };
    if let Some(Value::Object(fields)) = schema.get_mut("properties") {
        fields.values_mut().for_each(keep);
    }
    schema.get_mut("additionalProperties").into_iter().for_each(keep);
    // An item without a value stays in its list, and is refused.
    if let Some(Value::Object(items)) = schema.get_mut("items") {
        keep_nulls_below(items);
    }
}

impl From<Schema> for Value {
    fn from(schema: Schema) -> Self {
        Self::Object(schema.0)
    }
}
