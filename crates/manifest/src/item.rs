//! Typed access to a tree: a reader takes the fields that it knows, and every other field is an error.
//!
//! A reader that returns none has reported why. A document with errors is refused as a whole, so readers continue after
//! an error and report all findings at once.

use crate::diagnostic::Severity;
use crate::nearest::hint;
use crate::report::Report;
use crate::tree::{Meaning, Scalar, TreeEntry, TreeNode, Value};
use crate::yaml::push_key;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::rc::Rc;

/// A value with its path, and the report for findings about it.
#[derive(Clone, Debug)]
pub(crate) struct Item<'a> {
    node: &'a TreeNode<'a>,
    path: Path<'a>,
    report: &'a Report,
}

/// The path of a value within its document. Few values have findings, so it becomes text for those alone.
#[derive(Clone, Debug, Default)]
struct Path<'a>(Option<Rc<(Path<'a>, Step<'a>)>>);

/// The last step of a path.
#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

/// A mapping whose fields are taken one by one.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    item: Item<'a>,
    entries: &'a [TreeEntry<'a>],
    taken: Vec<&'static str>,
    nulls: Nulls,
}

/// The meaning of a field without a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nulls {
    /// The field counts as absent, as in the built-in kinds of Kubernetes.
    Absent,
    /// The field counts as absent: an API server prunes it.
    Pruned,
    /// An error: a forgotten value could mean no peer or every peer.
    Refused,
}

impl<'a> Path<'a> {
    fn with(&self, step: Step<'a>) -> Self {
        Self(Some(Rc::new((self.clone(), step))))
    }

    fn text(&self) -> String {
        let Some(last) = &self.0 else { return String::new() };
        let mut text = last.0.text();
        match last.1 {
            Step::Key(key) => push_key(&mut text, key),
            Step::Index(index) => text.push_str(&format!("[{index}]")),
        }
        text
    }
}

impl<'a> Item<'a> {
    /// A whole document.
    pub(crate) fn document(node: &'a TreeNode<'a>, report: &'a Report) -> Self {
        Self { node, path: Path::default(), report }
    }

    pub(crate) fn error(&self, message: impl Into<String>) {
        self.report.add(Severity::Error, self.node.place, &self.path.text(), message);
    }

    /// Reports that a valid construct is not supported yet; `what` names it.
    pub(crate) fn not_supported(&self, what: impl Display) {
        let message = format!("{what} is not supported yet");
        self.report.add(Severity::NotSupportedYet, self.node.place, &self.path.text(), message);
    }

    pub(crate) fn warn(&self, message: impl Into<String>) {
        self.report.add(Severity::Warning, self.node.place, &self.path.text(), message);
    }

    pub(crate) fn report(&self) -> &'a Report {
        self.report
    }

    /// Whether it is a whole document.
    pub(crate) fn is_document(&self) -> bool {
        self.path.0.is_none()
    }

    /// The path of the field within its document.
    pub(crate) fn path(&self) -> String {
        self.path.text()
    }

    /// Line and column of the value at a path below this one.
    pub(crate) fn place_of(&self, path: &str) -> Option<(u32, u32)> {
        let node = if path.is_empty() { self.node } else { self.node.at(path)? };
        Some((node.place.line, node.place.column))
    }

    pub(crate) fn line(&self) -> u32 {
        self.node.place.line
    }

    /// The value as JSON, in one line.
    pub(crate) fn json(&self) -> String {
        self.node.json()
    }

    pub(crate) fn is_text(&self) -> bool {
        matches!(&self.node.value, Value::Scalar(Scalar { meaning: Meaning::Text, .. }))
    }

    pub(crate) fn text(&self) -> Option<&'a str> {
        match &self.node.value {
            Value::Scalar(Scalar { text, meaning: Meaning::Text }) => Some(text),
            Value::Scalar(Scalar { text, meaning }) if *meaning != Meaning::Null => {
                self.error(format!("must be text, not {}; write {text:?}", self.node));
                None
            }
            _ => self.mismatch("text"),
        }
    }

    pub(crate) fn is_list(&self) -> bool {
        matches!(&self.node.value, Value::List(_))
    }

    pub(crate) fn is_mapping(&self) -> bool {
        matches!(&self.node.value, Value::Map(_))
    }

    /// Whether it is a mapping without any of these fields.
    pub(crate) fn is_without(&self, names: &[&str]) -> bool {
        match &self.node.value {
            Value::Map(entries) => !entries.iter().any(|entry| names.contains(&&*entry.key)),
            _ => false,
        }
    }

    /// Reports a value that is not text; the text itself is not used.
    pub(crate) fn check_text(&self) {
        self.text();
    }

    /// A whole number within a range.
    pub(crate) fn integer<T: TryFrom<i64>>(&self, range: RangeInclusive<i64>) -> Option<T> {
        let Value::Scalar(Scalar { meaning: Meaning::Integer(value), .. }) = &self.node.value else {
            return self.mismatch("a whole number");
        };
        let narrow = T::try_from(*value).ok().filter(|_| range.contains(value));
        if narrow.is_none() {
            self.error(format!("{value} is out of range; it must be {} to {}", range.start(), range.end()));
        }
        narrow
    }

    pub(crate) fn boolean(&self) -> Option<bool> {
        match &self.node.value {
            Value::Scalar(Scalar { meaning: Meaning::Bool(value), .. }) => Some(*value),
            _ => self.mismatch("true or false"),
        }
    }

    /// The values of a list; empty if it is no list.
    pub(crate) fn list(&self) -> Vec<Item<'a>> {
        let Value::List(items) = &self.node.value else {
            return self.mismatch("a list").unwrap_or_default();
        };
        let item =
            |(index, node)| Self { node, path: self.path.with(Step::Index(index)), report: self.report };
        items.iter().enumerate().map(item).collect()
    }

    /// The entries of a mapping with arbitrary keys.
    pub(crate) fn entries(&self) -> Vec<(&'a str, Item<'a>)> {
        let Value::Map(entries) = &self.node.value else {
            return self.mismatch("a mapping").unwrap_or_default();
        };
        entries.iter().map(|entry| (&*entry.key, self.under(entry))).collect()
    }

    /// A mapping of text to text.
    pub(crate) fn text_map(&self) -> BTreeMap<String, String> {
        let entries = self.entries().into_iter();
        entries.filter_map(|(key, value)| Some((key.to_owned(), value.text()?.to_owned()))).collect()
    }

    /// The fields of a mapping.
    pub(crate) fn fields(&self, nulls: Nulls) -> Option<Fields<'a>> {
        match &self.node.value {
            Value::Map(entries) => {
                Some(Fields { item: self.clone(), entries, taken: Vec::with_capacity(8), nulls })
            }
            _ => self.mismatch("a mapping"),
        }
    }

    /// The value of the name that the text equals; reports an error with the nearest name otherwise.
    pub(crate) fn one_of<T: Copy>(&self, what: &str, names: &[(&str, T)]) -> Option<T> {
        let text = self.text()?;
        let found = names.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        if found.is_none() {
            let known: Vec<&str> =
                names.iter().map(|(name, _)| *name).filter(|name| !name.is_empty()).collect();
            let hint = hint(text, known.iter().copied());
            self.error(format!("unknown {what} `{text}`{hint} (known: {})", known.join(", ")));
        }
        found
    }

    fn mismatch<T>(&self, expected: &str) -> Option<T> {
        self.error(format!("must be {expected}, not {}", self.node));
        None
    }

    fn under(&self, entry: &'a TreeEntry<'a>) -> Item<'a> {
        Item { node: &entry.value, path: self.path.with(Step::Key(&entry.key)), report: self.report }
    }
}

impl<'a> Fields<'a> {
    /// Takes an optional field.
    pub(crate) fn take(&mut self, name: &'static str) -> Option<Item<'a>> {
        self.taken.push(name);
        let entry = self.entries.iter().find(|entry| entry.key == name)?;
        let item = self.item.under(entry);
        if !entry.value.is_null() {
            return Some(item);
        }
        match self.nulls {
            Nulls::Refused => item.error("has no value; give it one, or leave the field out"),
            Nulls::Absent => item.warn("has no value; it is treated as absent"),
            Nulls::Pruned => item.warn(
                "has no value; it is treated as absent, as an API server does; give it one, or leave it out",
            ),
        }
        None
    }

    /// Takes an optional field that Kubernetes itself writes without a value if it is empty.
    pub(crate) fn take_or_null(&mut self, name: &'static str) -> Option<Item<'a>> {
        self.taken.push(name);
        let entry = self.entries.iter().find(|entry| entry.key == name && !entry.value.is_null())?;
        Some(self.item.under(entry))
    }

    /// Whether the field exists, with or without a value.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == name)
    }

    /// Takes a required field.
    pub(crate) fn require(&mut self, name: &'static str) -> Option<Item<'a>> {
        let found = self.take(name);
        let refused = self.nulls == Nulls::Refused && self.has(name);
        if found.is_none() && !refused {
            self.item.error(format!("`{name}` is missing"));
        }
        found
    }

    /// Accepts fields without reading them.
    pub(crate) fn ignore(&mut self, names: &[&'static str]) {
        self.taken.extend(names);
    }

    /// The mapping itself, for findings about it as a whole.
    pub(crate) fn item(&self) -> &Item<'a> {
        &self.item
    }

    /// Reports every field that was neither taken nor ignored.
    pub(crate) fn finish(self) {
        for entry in self.entries.iter().filter(|entry| !self.taken.contains(&&*entry.key)) {
            let hint = hint(&entry.key, self.taken.iter().copied());
            let path = self.item.path.with(Step::Key(&entry.key));
            let message = format!("unknown field `{}`{hint}", entry.key);
            self.item.report.add(Severity::Error, entry.place, &path.text(), message);
        }
    }
}
