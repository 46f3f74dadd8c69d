//! JSON values as YAML in block style, as people read and review it.

use serde_json::{Map, Value};

/// The documents of one file, each after a line `---`.
pub fn documents<'a>(values: impl IntoIterator<Item = &'a Value>) -> String {
    values.into_iter().map(|value| format!("---\n{}", document(value))).collect()
}

/// One document.
pub fn document(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(fields) if !fields.is_empty() => mapping(&mut text, fields, 0, false),
        Value::Array(items) if !items.is_empty() => sequence(&mut text, items, 0),
        scalar => text.push_str(&format!("{}\n", self::scalar(scalar))),
    }
    text
}

/// Writes a mapping; its first key stands behind the `- ` of a list's item already.
fn mapping(text: &mut String, fields: &Map<String, Value>, indent: usize, is_item: bool) {
    for (index, (key, value)) in fields.iter().enumerate() {
        if index > 0 || !is_item {
            text.push_str(&" ".repeat(indent));
        }
        text.push_str(&format!("{}:", quoted(key)));
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                text.push('\n');
                mapping(text, fields, indent + 2, false);
            }
            Value::Array(items) if !items.is_empty() => {
                text.push('\n');
                sequence(text, items, indent);
            }
            Value::String(lines) if is_block(lines) => block(text, lines, indent + 2),
            scalar => text.push_str(&format!(" {}\n", self::scalar(scalar))),
        }
    }
}

fn sequence(text: &mut String, items: &[Value], indent: usize) {
    for item in items {
        text.push_str(&format!("{}- ", " ".repeat(indent)));
        match item {
            Value::Object(fields) if !fields.is_empty() => mapping(text, fields, indent + 2, true),
            // A list in a list is rare, and short: flow style, which JSON is.
            Value::Array(_) => text.push_str(&format!("{item}\n")),
            scalar => text.push_str(&format!("{}\n", self::scalar(scalar))),
        }
    }
}

/// Whether text has several lines, all of which a literal block keeps as they are.
fn is_block(text: &str) -> bool {
    text.ends_with('\n')
        && !text.ends_with("\n\n")
        && !text.starts_with([' ', '\n'])
        && text.chars().all(|one| one == '\n' || !one.is_control())
}

fn block(text: &mut String, lines: &str, indent: usize) {
    text.push_str(" |\n");
    for line in lines.lines() {
        let indent = if line.is_empty() { 0 } else { indent };
        text.push_str(&format!("{}{line}\n", " ".repeat(indent)));
    }
}

fn scalar(value: &Value) -> String {
    match value {
        // A chart replaces it by JSON, which is YAML.
        Value::String(text) if text.starts_with("{{") && text.ends_with("| toJson }}") => text.clone(),
        Value::String(text) => quoted(text),
        other => other.to_string(),
    }
}

/// Text without quotes where no reader can take it for anything else, and as JSON otherwise.
fn quoted(text: &str) -> String {
    let is_inner = |one: char| one.is_ascii_alphanumeric() || "-_./ (),".contains(one);
    let is_plain = text.starts_with(|one: char| one.is_ascii_alphabetic() || one == '/')
        && !text.ends_with(' ')
        && text.chars().all(is_inner)
        && !MEANINGS.contains(&text.to_ascii_lowercase().as_str());
    if is_plain { text.to_owned() } else { Value::from(text).to_string() }
}

/// Words that some reader of YAML takes for true, false or nothing.
const MEANINGS: &[&str] = &["y", "n", "yes", "no", "on", "off", "true", "false", "null"];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_value_is_written_in_block_style() {
        let value = json!({
            "a": {"b": [1, "x", {"c": true, "d": {}}], "e": []},
            "f:": "yes", "g": "two\nlines\n", "h": null, "i": "1.0", "j": [["k"]], "l": "{{ .Values.x }}",
            "m": "{{ .Values.y | toJson }}",
        });
        let expected = "a:\n  b:\n  - 1\n  - x\n  - c: true\n    d: {}\n  e: []\n\"f:\": \"yes\"\ng: |\n  two\n  lines\n\
                        h: null\ni: \"1.0\"\nj:\n- [\"k\"]\nl: \"{{ .Values.x }}\"\n\
                        m: {{ .Values.y | toJson }}\n";
        assert_eq!(document(&value), expected);
    }
}
