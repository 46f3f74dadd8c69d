//! Checks values against structural schemas as an API server does with strict validation of fields; CEL rules are not
//! evaluated.

use regex_automata::meta::Regex;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::net::IpAddr;

/// A checker; it compiles each pattern once.
#[derive(Default)]
pub(super) struct Structural {
    patterns: HashMap<String, Regex>,
}

impl Structural {
    /// Where a value breaks its schema; none if it does not.
    pub(super) fn violation(&mut self, schema: &Value, value: &Value) -> Option<String> {
        self.check(schema, value, "").err()
    }

    fn check(&mut self, schema: &Value, value: &Value, path: &str) -> Result<(), String> {
        for (keyword, wanted) in schema.as_object().expect("a schema is a mapping") {
            if !self.holds(keyword, wanted, value, schema, path)? {
                return Err(format!("{path}: {value} breaks {keyword} {wanted}"));
            }
        }
        Ok(())
    }

    fn holds(
        &mut self,
        keyword: &str,
        wanted: &Value,
        value: &Value,
        schema: &Value,
        path: &str,
    ) -> Result<bool, String> {
        let length = |least: bool, length: Option<usize>| {
            let bound = wanted.as_u64().expect("a bound is a number") as usize;
            length.is_none_or(|length| if least { length >= bound } else { length <= bound })
        };
        Ok(match keyword {
            "type" => (value.is_null() && is_nullable(schema)) || has_type(value, wanted.as_str().unwrap()),
            "nullable" => true,
            "properties" => return self.properties(wanted, value, schema, path).map(|()| true),
            "additionalProperties" => {
                for (key, value) in value.as_object().into_iter().flatten() {
                    self.check(wanted, value, &format!("{path}.{key}"))?;
                }
                true
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    self.check(wanted, item, &format!("{path}[{index}]"))?;
                }
                true
            }
            "required" => value.as_object().is_none_or(|fields| {
                wanted.as_array().unwrap().iter().all(|name| fields.get(name.as_str().unwrap()).is_some())
            }),
            "enum" => wanted.as_array().unwrap().contains(value),
            "pattern" => value.as_str().is_none_or(|text| self.matches(wanted.as_str().unwrap(), text)),
            "maxLength" => length(false, value.as_str().map(|text| text.chars().count())),
            "minLength" => length(true, value.as_str().map(|text| text.chars().count())),
            "maxItems" => length(false, value.as_array().map(Vec::len)),
            "minItems" => length(true, value.as_array().map(Vec::len)),
            "maxProperties" => length(false, value.as_object().map(Map::len)),
            "minimum" => value.as_f64().is_none_or(|number| number >= wanted.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|number| number <= wanted.as_f64().unwrap()),
            "format" => value.as_str().is_none_or(|text| has_format(text, wanted.as_str().unwrap())),
            "oneOf" => self.matching(wanted, value, path) == 1,
            "anyOf" => self.matching(wanted, value, path) > 0,
            "description" | "x-kubernetes-validations" | "x-kubernetes-map-type" => true,
            "x-kubernetes-list-type" if wanted == "set" => value
                .as_array()
                .is_none_or(|items| (1..items.len()).all(|at| !items[..at].contains(&items[at]))),
            "x-kubernetes-list-type" | "x-kubernetes-list-map-keys" => true,
            "x-kubernetes-int-or-string" => value.is_i64() || value.is_string(),
            "x-kubernetes-preserve-unknown-fields" => true,
            other => panic!("{path}: the checker does not know {other}"),
        })
    }

    /// Checks the fields of a mapping. A field without a value is pruned unless it is nullable, as an API server does.
    fn properties(
        &mut self,
        wanted: &Value,
        value: &Value,
        schema: &Value,
        path: &str,
    ) -> Result<(), String> {
        // A schema without a type is part of `anyOf`: it says nothing of other fields.
        let is_whole = schema.get("type").is_some();
        for (name, value) in value.as_object().into_iter().flatten() {
            match wanted.get(name) {
                schema if value.is_null() && !schema.is_some_and(is_nullable) => {}
                Some(schema) => self.check(schema, value, &format!("{path}.{name}"))?,
                None if is_whole => return Err(format!("{path}: unknown field {name}")),
                None => {}
            }
        }
        Ok(())
    }

    fn matching(&mut self, schemas: &Value, value: &Value, path: &str) -> usize {
        let schemas = schemas.as_array().unwrap();
        schemas.iter().filter(|schema| self.check(schema, value, path).is_ok()).count()
    }

    fn matches(&mut self, pattern: &str, text: &str) -> bool {
        let regex = self.patterns.entry(pattern.to_owned()).or_insert_with(|| Regex::new(pattern).unwrap());
        regex.is_match(text)
    }
}

fn is_nullable(schema: &Value) -> bool {
    schema["nullable"] == true
}

/// The value as an API server stores it: without the fields that have no value and must have one.
pub(super) fn pruned(schema: &Value, value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let schema_of = |name: &str| {
                let named = schema["properties"].get(name);
                named.or_else(|| schema.get("additionalProperties")).cloned().unwrap_or_default()
            };
            let kept = fields.iter().map(|(name, value)| (name, value, schema_of(name)));
            let kept = kept.filter(|(_, value, schema)| !value.is_null() || is_nullable(schema));
            kept.map(|(name, value, schema)| (name.clone(), pruned(&schema, value))).collect()
        }
        Value::Array(items) => items.iter().map(|item| pruned(&schema["items"], item)).collect(),
        other => other.clone(),
    }
}

fn has_type(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        other => panic!("the checker does not know the type {other}"),
    }
}

fn has_format(text: &str, format: &str) -> bool {
    if format != "cidr" {
        return true;
    }
    let Some((address, length)) = text.split_once('/') else { return false };
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    length.parse::<u8>().is_ok_and(|length| length <= if address.is_ipv4() { 32 } else { 128 })
}
