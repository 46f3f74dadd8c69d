//! Parses the text of a file into trees, one for each document. JSON is parsed as YAML.
//!
//! Anchors, aliases and merge keys are resolved here. A tree cannot be made larger than [`MAX_WEIGHT`] by aliases of
//! aliases, nor deeper than [`MAX_DEPTH`]. Texts of the simple form are parsed by [`simple_yaml`], which is faster.

use crate::diagnostic::Severity;
use crate::report::Report;
use crate::simple_yaml;
use crate::tree::{
    Document, MAX_DEPTH, MAX_TEXT, MAX_WEIGHT, MERGE, Scalar, TextPosition, TreeEntry, TreeNode, Value,
};
use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::str::Chars;

/// The documents of a file, without empty ones. Text after a syntax error is not parsed.
pub(crate) fn documents<'t>(text: &'t str, report: &Report) -> Vec<Document<'t>> {
    simple_yaml::documents(text).unwrap_or_else(|| parsed(text, report))
}

/// Whether the parser of the simple form leaves a text to the other parser, or returns what that one returns. True for every
/// text; tests check it.
pub fn parsers_agree(text: &str) -> bool {
    simple_yaml::documents(text).is_none_or(|documents| {
        let report = Report::on("");
        documents == parsed(text, &report) && report.mark() == 0
    })
}

/// The documents of a text in any form.
fn parsed<'t>(text: &'t str, report: &Report) -> Vec<Document<'t>> {
    let mut builder =
        Builder { report, open: Vec::new(), anchors: HashMap::new(), weight: 0, documents: Vec::new() };
    if let Err(Fatal { place, message }) = builder.read(text) {
        report.add(Severity::Error, place, &builder.path(), message);
    }
    builder.documents
}

/// Converts positions in characters, each behind the last, to positions in bytes.
struct ByteOffsets<'a> {
    rest: Chars<'a>,
    characters: usize,
    length: usize,
}

impl ByteOffsets<'_> {
    fn of(&mut self, character: usize) -> usize {
        if let Some(further) = character.checked_sub(self.characters + 1) {
            self.rest.nth(further);
            self.characters = character;
        }
        self.length - self.rest.as_str().len()
    }
}

/// An error after which nothing more can be parsed.
struct Fatal {
    place: TextPosition,
    message: String,
}

/// Builds trees from events.
struct Builder<'a, 't> {
    report: &'a Report,
    open: Vec<Open<'t>>,
    anchors: HashMap<usize, Anchored<'t>>,
    weight: usize,
    documents: Vec<Document<'t>>,
}

/// An anchored value, and the weight of each use.
struct Anchored<'t> {
    node: TreeNode<'t>,
    weight: usize,
    depth: usize,
}

/// A list or mapping whose end has not been reached.
struct Open<'t> {
    place: TextPosition,
    anchor: usize,
    weight_before: usize,
    content: Content<'t>,
}

enum Content<'t> {
    List(Vec<TreeNode<'t>>),
    Map { entries: Vec<TreeEntry<'t>>, key: Option<(Cow<'t, str>, TextPosition)> },
}

impl<'t> Builder<'_, 't> {
    fn read(&mut self, text: &'t str) -> Result<(), Fatal> {
        if text.len() > MAX_TEXT {
            let message = format!("the file has {} bytes; at most {MAX_TEXT} are read", text.len());
            return Err(Fatal { place: TextPosition { line: 1, column: 1 }, message });
        }
        let mut bytes = ByteOffsets { rest: text.chars(), characters: 0, length: text.len() };
        let (mut start, mut complete) = (0, 0);
        for event in Parser::new_from_str(text) {
            let (event, span) = event.map_err(|error| Fatal {
                place: within(text, place(error.marker().line(), error.marker().col())),
                message: format!("invalid YAML: {}", error.info()),
            })?;
            let is_end = matches!(event, Event::DocumentEnd);
            self.take(event, &span)?;
            if is_end {
                // The end is that of the content: a `...` belongs to the next document, where it has no effect.
                let end = bytes.of(span.start.index());
                if let Some(document) = self.documents.get_mut(complete) {
                    document.bytes = start..end;
                }
                (start, complete) = (end, self.documents.len());
            }
        }
        Ok(())
    }

    fn take(&mut self, event: Event<'t>, span: &Span) -> Result<(), Fatal> {
        let place = place(span.start.line(), span.start.col());
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let before = self.weight;
                self.weigh(1 + text.len() / 32, place)?;
                let scalar = self.scalar(text, style, tag.as_deref(), place);
                self.close(TreeNode { place, value: Value::Scalar(scalar) }, anchor, before)
            }
            Event::SequenceStart(anchor, tag) => {
                self.open(place, anchor, tag.as_deref(), Content::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.open(place, anchor, tag.as_deref(), Content::Map { entries: Vec::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => self.alias(anchor, place),
            Event::DocumentEnd => {
                self.anchors.clear();
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => Ok(()),
        }
    }

    fn scalar(
        &self,
        text: Cow<'t, str>,
        style: ScalarStyle,
        tag: Option<&Tag>,
        place: TextPosition,
    ) -> Scalar<'t> {
        let is_text = tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
        if !is_text {
            self.refuse_tag(tag, place);
        }
        if is_text || style != ScalarStyle::Plain { Scalar::quoted(text) } else { Scalar::plain(text) }
    }

    fn refuse_tag(&self, tag: Option<&Tag>, place: TextPosition) {
        if tag.is_some() {
            self.report.add(
                Severity::Error,
                place,
                &self.path(),
                "tags are not supported; remove it, or quote the value if it is text",
            );
        }
    }

    fn open(
        &mut self,
        place: TextPosition,
        anchor: usize,
        tag: Option<&Tag>,
        content: Content<'t>,
    ) -> Result<(), Fatal> {
        self.refuse_tag(tag, place);
        deep(self.open.len() + 1, place)?;
        let weight_before = self.weight;
        self.weigh(1, place)?;
        self.open.push(Open { place, anchor, weight_before, content });
        Ok(())
    }

    /// Closes the innermost list or mapping.
    fn end(&mut self) -> Result<(), Fatal> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let value = match open.content {
            Content::List(items) => Value::List(items),
            Content::Map { entries, .. } => Value::Map(self.merged(entries)),
        };
        self.close(TreeNode { place: open.place, value }, open.anchor, open.weight_before)
    }

    fn alias(&mut self, anchor: usize, place: TextPosition) -> Result<(), Fatal> {
        let Some(anchored) = self.anchors.get(&anchor) else {
            return Err(Fatal { place, message: "an alias refers to a value that contains it".into() });
        };
        let (weight, depth) = (anchored.weight, anchored.depth);
        deep(self.open.len() + depth, place)?;
        self.weigh(weight, place)?;
        let node = self.anchors[&anchor].node.clone();
        self.put(node, place)
    }

    /// Adds a complete value, and records its anchor.
    fn close(&mut self, node: TreeNode<'t>, anchor: usize, weight_before: usize) -> Result<(), Fatal> {
        if anchor != 0 {
            let weight = self.weight - weight_before;
            self.weigh(weight, node.place)?;
            let depth = depth(&node);
            self.anchors.insert(anchor, Anchored { node: node.clone(), weight, depth });
        }
        let place = node.place;
        self.put(node, place)
    }

    /// Adds a value to the innermost open list or mapping, or to the documents.
    fn put(&mut self, node: TreeNode<'t>, used_at: TextPosition) -> Result<(), Fatal> {
        match self.open.last_mut().map(|open| &mut open.content) {
            None if node.is_null() => {}
            None => self.documents.push(Document { node, bytes: 0..0 }),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map { entries, key }) => match (key.take(), node.value) {
                (Some((key, place)), value) => {
                    entries.push(TreeEntry { key, place, value: TreeNode { place: node.place, value } });
                }
                (None, Value::Scalar(scalar)) => *key = Some((scalar.text, used_at)),
                (None, _) => {
                    let message = "a key must be text, not a list or a mapping".into();
                    return Err(Fatal { place: used_at, message });
                }
            },
        }
        Ok(())
    }

    fn weigh(&mut self, weight: usize, place: TextPosition) -> Result<(), Fatal> {
        self.weight += weight;
        if self.weight <= MAX_WEIGHT {
            return Ok(());
        }
        Err(Fatal { place, message: format!("more than {MAX_WEIGHT} values in one file, aliases counted") })
    }

    /// The entries with merge keys resolved: own entries win over merged ones, earlier merges over later ones.
    fn merged(&self, entries: Vec<TreeEntry<'t>>) -> Vec<TreeEntry<'t>> {
        let entries = self.unique(entries);
        if !entries.iter().any(|entry| entry.key == MERGE) {
            return entries;
        }
        let (merges, mut own): (Vec<TreeEntry<'t>>, Vec<TreeEntry<'t>>) =
            entries.into_iter().partition(|entry| entry.key == MERGE);
        let mut keys: HashSet<Cow<'t, str>> = own.iter().map(|entry| entry.key.clone()).collect();
        for merge in merges {
            let place = merge.value.place;
            let sources = match merge.value.value {
                Value::List(items) => items,
                value => vec![TreeNode { place, value }],
            };
            for source in sources {
                let Value::Map(entries) = source.value else {
                    let message = format!("`<<` must be a mapping or a list of mappings, not {source}");
                    self.report.add(Severity::Error, source.place, &self.path(), message);
                    continue;
                };
                own.extend(entries.into_iter().filter(|entry| keys.insert(entry.key.clone())));
            }
        }
        own
    }

    /// The entries, each key once; reports a repeated key.
    fn unique(&self, entries: Vec<TreeEntry<'t>>) -> Vec<TreeEntry<'t>> {
        let mut keys: Vec<&str> = entries.iter().map(|entry| &*entry.key).collect();
        keys.sort_unstable();
        if keys.windows(2).all(|pair| pair[0] != pair[1]) {
            return entries;
        }
        let mut seen: HashMap<Cow<'t, str>, u32> = HashMap::with_capacity(entries.len());
        let mut kept = Vec::with_capacity(entries.len());
        for entry in entries {
            if let Some(first) = seen.get(&entry.key) {
                let message = format!("`{}` is given twice, first in line {first}; keep one", entry.key);
                self.report.add(Severity::Error, entry.place, &self.path(), message);
                continue;
            }
            seen.insert(entry.key.clone(), entry.place.line);
            kept.push(entry);
        }
        kept
    }

    fn path(&self) -> String {
        self.path_to(self.open.len())
    }

    /// The path of the current value within the outermost `depth` lists and mappings.
    fn path_to(&self, depth: usize) -> String {
        let mut path = String::new();
        for open in &self.open[..depth] {
            match &open.content {
                Content::List(items) => path.push_str(&format!("[{}]", items.len())),
                Content::Map { key: Some((key, _)), .. } => push_key(&mut path, key),
                Content::Map { .. } => {}
            }
        }
        path
    }
}

/// Fails if the nesting is too deep.
fn deep(depth: usize, place: TextPosition) -> Result<(), Fatal> {
    if depth <= MAX_DEPTH {
        return Ok(());
    }
    Err(Fatal { place, message: format!("nested deeper than {MAX_DEPTH}") })
}

/// The depth of nested lists and mappings.
fn depth(node: &TreeNode<'_>) -> usize {
    match &node.value {
        Value::Scalar(_) => 0,
        Value::List(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Map(entries) => 1 + entries.iter().map(|entry| depth(&entry.value)).max().unwrap_or(0),
    }
}

/// Adds a key to a path: `.key`, or `["a.b/c"]` if the key is not a word.
pub(crate) fn push_key(path: &mut String, key: &str) {
    let is_word =
        !key.is_empty() && key.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    match (is_word, path.is_empty()) {
        (true, true) => path.push_str(key),
        (true, false) => {
            path.push('.');
            path.push_str(key);
        }
        (false, _) => path.push_str(&format!("[{key:?}]")),
    }
}

/// A place from the parser's line, counted from 1, and column, counted from 0.
fn place(line: usize, column: usize) -> TextPosition {
    let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    TextPosition { line: narrow(line), column: narrow(column).saturating_add(1) }
}

/// The place itself, or the end of the text where the place is behind it: for the parser, a text that lacks its last
/// line end continues in one more line.
fn within(text: &str, place: TextPosition) -> TextPosition {
    let is_break = |(at, byte): &(usize, u8)| {
        *byte == b'\n' || *byte == b'\r' && text.as_bytes().get(at + 1) != Some(&b'\n')
    };
    let breaks = text.bytes().enumerate().filter(is_break);
    let (count, start) = breaks.fold((0, 0), |(count, _), (at, _)| (count + 1, at + 1));
    let end = self::place(count + 1, text[start..].chars().count());
    if (place.line, place.column) > (end.line, end.column) { end } else { place }
}
