//! Writes a value as YAML for people: blocks outside, one line where it fits.

use serde_json::Value;

/// Values whose line is no longer than this are written in one.
const WIDTH: usize = 90;

/// The value as a document.
pub(crate) fn text(value: &Value) -> String {
    let mut text = String::new();
    block(value, 0, &mut text);
    text
}

/// Writes the value from the start of a line, indented.
fn block(value: &Value, indent: usize, text: &mut String) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                text.push_str(&format!("{:indent$}{}:", "", scalar(key)));
                nested(value, indent, text);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                let mut inner = String::new();
                block(item, indent + 2, &mut inner);
                text.push_str(&format!("{:indent$}- {}", "", inner.trim_start()));
            }
        }
        _ => text.push_str(&format!("{:indent$}{}\n", "", line(value))),
    }
}

/// Writes a field's value, behind its name or below it.
fn nested(value: &Value, indent: usize, text: &mut String) {
    let line = line(value);
    if line.len() + indent <= WIDTH {
        text.push_str(&format!(" {line}\n"));
        return;
    }
    text.push('\n');
    let list = matches!(value, Value::Array(_));
    block(value, if list { indent } else { indent + 2 }, text);
}

/// The value in one line.
fn line(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        Value::Array(items) => format!("[{}]", items.iter().map(line).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(key, value)| format!("{}: {}", scalar(key), line(value))).collect();
            format!("{{{}}}", fields.join(", "))
        }
        other => other.to_string(),
    }
}

/// A string, in quotes unless it is a plain word.
fn scalar(text: &str) -> String {
    let is_word = text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.chars().all(|one| one.is_ascii_alphanumeric() || "-_./".contains(one))
        && !["true", "false", "yes", "no", "on", "off", "null", "y", "n"]
            .contains(&text.to_lowercase().as_str());
    if is_word { text.to_owned() } else { Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn words_are_plain_and_all_else_is_quoted() {
        for (text, written) in
            [("web", "web"), ("k8s:app", "\"k8s:app\""), ("80", "\"80\""), ("no", "\"no\"")]
        {
            assert_eq!(scalar(text), written);
        }
    }

    #[test]
    fn what_is_long_is_written_in_blocks() {
        let item = json!({"name": "a".repeat(60), "value": "b".repeat(60)});
        let (a, b) = ("a".repeat(60), "b".repeat(60));
        assert_eq!(text(&json!({"items": [item]})), format!("items:\n- name: {a}\n  value: {b}\n"));
    }
}
