//! A manifest as a tree in which every value has a position.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// The longest text that is parsed, in bytes.
pub(crate) const MAX_TEXT: usize = 16 << 20;
/// The most values in all documents of a file. Each use of an alias counts, and 32 bytes of text count as one value.
pub(crate) const MAX_WEIGHT: usize = 2_000_000;
/// The deepest nesting of lists and mappings.
pub(crate) const MAX_DEPTH: usize = 64;
/// The key that merges other mappings into its own.
pub(crate) const MERGE: &str = "<<";

/// A document of a file.
#[derive(Debug, PartialEq)]
pub(crate) struct Document<'t> {
    pub(crate) node: TreeNode<'t>,
    /// Its bytes in the file, with the directives and comments before it.
    pub(crate) bytes: Range<usize>,
}

/// The position of a value; both numbers count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TextPosition {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// A value and its position. Its texts are borrowed from the file, as far as they stand there as they are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TreeNode<'t> {
    pub(crate) place: TextPosition,
    pub(crate) value: Value<'t>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value<'t> {
    Scalar(Scalar<'t>),
    List(Vec<TreeNode<'t>>),
    Map(Vec<TreeEntry<'t>>),
}

/// A key with its value; keys are unique within their map.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TreeEntry<'t> {
    pub(crate) key: Cow<'t, str>,
    pub(crate) place: TextPosition,
    pub(crate) value: TreeNode<'t>,
}

/// A scalar: its text, and its type.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scalar<'t> {
    pub(crate) text: Cow<'t, str>,
    pub(crate) meaning: Meaning,
}

/// The type of a scalar in the core schema of YAML 1.2, which is that of JSON, and its value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Meaning {
    Null,
    Bool(bool),
    Integer(i64),
    /// A number that is no integer or exceeds the range.
    Real,
    Text,
}

impl<'t> Scalar<'t> {
    /// A quoted scalar, which is always text.
    pub(crate) fn quoted(text: impl Into<Cow<'t, str>>) -> Self {
        Self { text: text.into(), meaning: Meaning::Text }
    }

    /// A plain scalar, whose text determines its type.
    pub(crate) fn plain(text: impl Into<Cow<'t, str>>) -> Self {
        let text = text.into();
        let meaning = match &*text {
            "" | "~" | "null" | "Null" | "NULL" => Meaning::Null,
            "true" | "True" | "TRUE" => Meaning::Bool(true),
            "false" | "False" | "FALSE" => Meaning::Bool(false),
            other => number(other),
        };
        Self { text, meaning }
    }
}

fn number(text: &str) -> Meaning {
    if !text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '-' | '+' | '.')) {
        return Meaning::Text;
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let radix = [("0x", 16), ("0o", 8)].iter().find_map(|(prefix, radix)| {
        digits.strip_prefix(prefix).and_then(|digits| i64::from_str_radix(digits, *radix).ok())
    });
    if let Some(value) = radix.or_else(|| text.parse().ok()) {
        return Meaning::Integer(value);
    }
    let numeric = digits.starts_with(|first: char| first.is_ascii_digit() || first == '.');
    let special = matches!(digits, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN");
    if special || (numeric && text.parse::<f64>().is_ok()) { Meaning::Real } else { Meaning::Text }
}

impl TreeNode<'_> {
    /// Whether there is no value: `key:` or `key: null`.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.meaning == Meaning::Null)
    }

    /// The value at a path of plain keys and indices, such as `spec.ingress[0]`.
    pub(crate) fn at(&self, path: &str) -> Option<&Self> {
        path.split(['.', '[']).try_fold(self, |node, step| match (&node.value, step.strip_suffix(']')) {
            (Value::List(items), Some(index)) => items.get(index.parse::<usize>().ok()?),
            (Value::Map(entries), None) => {
                entries.iter().find(|entry| entry.key == step).map(|entry| &entry.value)
            }
            _ => None,
        })
    }

    /// The value as JSON, in one line.
    pub(crate) fn json(&self) -> String {
        let join = |parts: Vec<String>| parts.join(",");
        match &self.value {
            Value::List(items) => format!("[{}]", join(items.iter().map(Self::json).collect())),
            Value::Map(entries) => {
                let entry = |entry: &TreeEntry<'_>| format!("{}:{}", quoted(&entry.key), entry.value.json());
                format!("{{{}}}", join(entries.iter().map(entry).collect()))
            }
            Value::Scalar(scalar) => match scalar.meaning {
                Meaning::Null => "null".to_owned(),
                Meaning::Bool(value) => value.to_string(),
                Meaning::Integer(value) => value.to_string(),
                // No field takes a real number; the text is kept, so that the next reader of the JSON refuses it too.
                Meaning::Real => scalar.text.to_string(),
                Meaning::Text => quoted(&scalar.text),
            },
        }
    }
}

/// A string of JSON (RFC 8259, section 7).
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for one in text.chars() {
        match one {
            '"' | '\\' => quoted.extend(['\\', one]),
            control if control < ' ' => quoted.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// The value as it follows "not" in a sentence: `the number 80`, `a list`.
impl fmt::Display for TreeNode<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::List(_) => f.write_str("a list"),
            Value::Map(_) => f.write_str("a mapping"),
            Value::Scalar(scalar) => match scalar.meaning {
                Meaning::Null => f.write_str("nothing"),
                Meaning::Bool(value) => value.fmt(f),
                Meaning::Integer(_) | Meaning::Real => write!(f, "the number {}", scalar.text),
                Meaning::Text => write!(f, "the text {:?}", scalar.text),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_written_as_json() {
        let place = TextPosition { line: 1, column: 1 };
        let scalar = |scalar| TreeNode { place, value: Value::Scalar(scalar) };
        let list = vec![
            scalar(Scalar::plain("0x10")),
            scalar(Scalar::plain("~")),
            scalar(Scalar::quoted("80")),
            scalar(Scalar::quoted("a \"b\"\\\n")),
        ];
        let value = TreeNode { place, value: Value::List(list) };
        let map = TreeNode { place, value: Value::Map(vec![TreeEntry { key: "k".into(), place, value }]) };
        assert_eq!(map.json(), r#"{"k":[16,null,"80","a \"b\"\\\u000a"]}"#);
    }

    #[test]
    fn plain_scalars_have_the_types_of_json() {
        let check = |text: &str, meaning| assert_eq!(Scalar::plain(text).meaning, meaning, "{text}");
        check("80", Meaning::Integer(80));
        check("-1", Meaning::Integer(-1));
        check("0x1f", Meaning::Integer(31));
        check("0o17", Meaning::Integer(15));
        check("1.5", Meaning::Real);
        check("1e3", Meaning::Real);
        check("99999999999999999999", Meaning::Real);
        check(".inf", Meaning::Real);
        check("true", Meaning::Bool(true));
        check("y", Meaning::Text);
        check("no", Meaning::Text);
        check("", Meaning::Null);
        check("~", Meaning::Null);
        check("inf", Meaning::Text);
        check("80a", Meaning::Text);
        check("10.0.0.0/8", Meaning::Text);
        check("1.2.3", Meaning::Text);
    }
}
