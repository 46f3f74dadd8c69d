//! Describes the JSON form of a type, found by trying: what the type reads, and what it writes.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::marker::PhantomData;

/// A key that no type has.
const UNKNOWN: &str = "unknown-key";
/// The key that names the request; it is described by its value.
const TAG: &str = "ask";

/// Describes a type by a complete example: one in which every option is there and every list has an element.
pub(crate) fn describe<T: Serialize + DeserializeOwned>(name: &str, example: &T) -> String {
    let example = serde_json::to_value(example).expect("an example can be written");
    let root = Described::<T> { example: example.clone(), of: PhantomData };
    format!("{name}: {}\n", root.form(&mut Vec::new(), &example, 1))
}

struct Described<T> {
    example: Value,
    of: PhantomData<T>,
}

/// A step into a value.
#[derive(Clone)]
enum PathStep {
    Key(String),
    Element,
}

impl<T: Serialize + DeserializeOwned> Described<T> {
    /// The form of the value at a path.
    fn form(&self, path: &mut Vec<PathStep>, value: &Value, depth: usize) -> String {
        match value {
            Value::Null => panic!("an example is not complete: null at depth {depth}"),
            Value::Bool(_) => "true or false".into(),
            Value::Number(_) => self.number(path),
            Value::String(text) => self.string(path, text),
            Value::Array(elements) => self.list(path, elements, depth),
            Value::Object(fields) => self.object(path, fields, depth),
        }
    }

    fn number(&self, path: &[PathStep]) -> String {
        let tried = [(64, u64::MAX), (32, u32::MAX.into()), (16, u16::MAX.into()), (8, u8::MAX.into())];
        let largest = tried.into_iter().find(|(_, largest)| self.reads(path, Some(json!(largest))));
        let (bits, _) = largest.expect("a number of eight bits is read");
        let sign = if self.reads(path, Some(json!(-1))) { ", or negative" } else { "" };
        format!("number of {bits} bits{sign}")
    }

    fn string(&self, path: &[PathStep], example: &str) -> String {
        if matches!(path, [PathStep::Key(tag)] if tag == TAG) {
            return format!("`{example}`");
        }
        match self.read(path, Some(json!("§"))) {
            Ok(_) => "string".into(),
            Err(error) => match error.to_string().split_once("expected ") {
                Some((_, values)) => values.split(" at line").next().unwrap_or(values).to_owned(),
                None => format!("string such as {example:?}"),
            },
        }
    }

    fn list(&self, path: &mut Vec<PathStep>, elements: &[Value], depth: usize) -> String {
        let first = elements.first().expect("an example has an element in every list");
        let is_tuple = !self.reads(path, Some(json!([elements, elements].concat())));
        path.push(PathStep::Element);
        let form = self.form(path, first, depth);
        path.pop();
        if is_tuple { format!("tuple of {} of {form}", elements.len()) } else { format!("list of {form}") }
    }

    fn object(&self, path: &mut Vec<PathStep>, fields: &Map<String, Value>, depth: usize) -> String {
        let (first, value) = fields.iter().next().expect("an example has an entry in every map");
        let mut more = fields.clone();
        more.insert(UNKNOWN.into(), value.clone());
        let with_unknown = self.read(path, Some(Value::Object(more)));
        path.push(PathStep::Key(UNKNOWN.into()));
        let is_map = with_unknown.as_ref().is_ok_and(|read| self.writes(path, read));
        path.pop();
        if is_map {
            path.push(PathStep::Key(first.clone()));
            let form = format!("map from string to {}", self.form(path, value, depth));
            path.pop();
            return form;
        }
        let mut form = if with_unknown.is_ok() { "{" } else { "{ (no other field is read)" }.to_owned();
        for (name, value) in fields {
            path.push(PathStep::Key(name.clone()));
            let optional = if self.reads(path, None) { "?" } else { "" };
            let or_null = match self.read(path, Some(Value::Null)) {
                Ok(read) if self.writes(path, &read) => ", or null",
                Ok(_) => ", or null; null is not written",
                Err(_) => "",
            };
            let field = self.form(path, value, depth + 1);
            form += &format!("\n{}{name}{optional}: {field}{or_null}", "    ".repeat(depth));
            path.pop();
        }
        form + &format!("\n{}}}", "    ".repeat(depth - 1))
    }

    /// Whether a value has something at a path when it is written.
    fn writes(&self, path: &[PathStep], value: &T) -> bool {
        at(&serde_json::to_value(value).expect("what was read can be written"), path).is_some()
    }

    fn reads(&self, path: &[PathStep], value: Option<Value>) -> bool {
        self.read(path, value).is_ok()
    }

    /// Reads the example with another value at a path, or without the field.
    fn read(&self, path: &[PathStep], value: Option<Value>) -> serde_json::Result<T> {
        let mut example = self.example.clone();
        replace(&mut example, path, value);
        serde_json::from_value(example)
    }
}

fn replace(within: &mut Value, path: &[PathStep], value: Option<Value>) {
    match (path, within) {
        ([], within) => *within = value.expect("only a field can be left out"),
        ([PathStep::Key(name)], Value::Object(fields)) if value.is_none() => drop(fields.remove(name)),
        ([PathStep::Key(name), rest @ ..], Value::Object(fields)) => replace(&mut fields[name], rest, value),
        ([PathStep::Element, rest @ ..], Value::Array(elements)) => replace(&mut elements[0], rest, value),
        _ => unreachable!("the path was taken through the same value"),
    }
}

fn at<'a>(value: &'a Value, path: &[PathStep]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, step| match step {
        PathStep::Key(name) => value.get(name),
        PathStep::Element => value.get(0),
    })
}
