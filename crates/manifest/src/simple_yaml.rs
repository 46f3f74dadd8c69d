//! Parses the simple form of YAML that most manifests have, several times as fast as the parser of all forms.
//!
//! In the simple form, lists and mappings are in block or flow style, scalars are plain or quoted and on one line, and the
//! text is printable ASCII. It has no anchors, tags, escapes, block scalars or directives, no value is missing, and no key
//! is repeated. Any other text is left to [`yaml`](crate::yaml), and so is every text with an error. For texts of
//! the simple form both parsers return the same trees, which tests check.

#[cfg(test)]
mod tests;

use crate::tree::{
    Document, MAX_DEPTH, MAX_TEXT, MAX_WEIGHT, MERGE, Scalar, TextPosition, TreeEntry, TreeNode, Value,
};

/// The longest key, in bytes. YAML's limit is 1024 characters from the start of the key to its colon.
const MAX_KEY: usize = 1000;

/// The documents of a text, without empty ones; none if the text does not have the simple form.
pub(crate) fn documents(text: &str) -> Option<Vec<Document<'_>>> {
    let is_simple = |byte: &u8| (b' '..=b'~').contains(byte) || *byte == b'\n';
    if text.len() > MAX_TEXT || !text.as_bytes().iter().all(is_simple) {
        return None;
    }
    Cursor { text, at: 0, line: 1, line_start: 0, weight: 0, depth: 0, flow: Flow::OneLine }.documents()
}

/// A position in a text.
struct Cursor<'t> {
    text: &'t str,
    /// In bytes.
    at: usize,
    /// Counted from 1.
    line: u32,
    line_start: usize,
    /// The values so far, in the unit of [`MAX_WEIGHT`].
    weight: usize,
    /// The number of lists and mappings around this position.
    depth: usize,
    flow: Flow,
}

/// How far a list or mapping in flow style may reach.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// To the end of its line.
    OneLine,
    /// Over several lines: the document has no other style.
    ManyLines,
}

/// Where a plain scalar stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Block,
    Flow,
}

impl<'t> Cursor<'t> {
    fn documents(mut self) -> Option<Vec<Document<'t>>> {
        let (mut documents, mut start) = (Vec::new(), 0);
        self.skip_to_content();
        while let Some(first) = self.peek() {
            let is_marked = self.is_at_marker();
            if is_marked {
                self.at += 3;
                self.end_line()?;
            }
            // Between two markers there may be nothing.
            let node = match self.peek() {
                _ if is_marked && self.is_at_end() => None,
                Some(b'{' | b'[') => Some(self.flow_document()?),
                _ if first == b'-' || self.column() == 0 => Some(self.block()?),
                _ => return None,
            };
            if !self.is_at_end() {
                return None;
            }
            documents.extend(node.map(|node| Document { node, bytes: start..self.at }));
            start = self.at;
        }
        Some(documents)
    }

    fn flow_document(&mut self) -> Option<TreeNode<'t>> {
        self.flow = Flow::ManyLines;
        let node = self.flow_collection()?;
        self.flow = Flow::OneLine;
        self.end_line()?;
        Some(node)
    }

    /// A list or mapping in block style.
    fn block(&mut self) -> Option<TreeNode<'t>> {
        let place = self.place();
        self.enter()?;
        let value = if self.is_at_item() { self.block_list()? } else { self.block_map()? };
        self.depth -= 1;
        Some(TreeNode { place, value })
    }

    fn block_list(&mut self) -> Option<Value<'t>> {
        let column = self.column();
        let mut items = Vec::new();
        while self.is_at_item() {
            self.at += 1;
            self.skip_spaces();
            items.push(if self.is_at_item() || self.is_at_key() { self.block()? } else { self.inline()? });
            if self.is_at_end() || self.column() < column {
                break;
            }
            self.is_at_column(column)?;
        }
        Some(Value::List(items))
    }

    fn block_map(&mut self) -> Option<Value<'t>> {
        let column = self.column();
        let mut entries = Vec::new();
        loop {
            let place = self.place();
            let key = self.key()?;
            self.skip_blank_colon()?;
            let value = self.block_value(column)?;
            entries.push(TreeEntry { key: key.into(), place, value });
            if self.is_at_end() || self.column() < column {
                break;
            }
            self.is_at_column(column)?;
        }
        unique(entries).map(Value::Map)
    }

    /// The value of a key that starts in this column, in the same line or below.
    fn block_value(&mut self, column: usize) -> Option<TreeNode<'t>> {
        self.skip_spaces();
        if !matches!(self.peek(), None | Some(b'\n' | b'#')) {
            return self.inline();
        }
        self.skip_to_content();
        if self.is_at_end() {
            return None;
        }
        if self.column() > column {
            return self.block();
        }
        // The items of a list may start in the column of its key. Then the list has the place of its first value.
        let is_list = self.column() == column && self.is_at_item();
        let list = if is_list { self.block()? } else { return None };
        let Value::List(items) = &list.value else { return None };
        Some(TreeNode { place: items.first()?.place, ..list })
    }

    /// A scalar, or a list or mapping in flow style, and the rest of its line.
    fn inline(&mut self) -> Option<TreeNode<'t>> {
        let node = match self.peek()? {
            b'{' | b'[' => self.flow_collection()?,
            _ => self.scalar(Style::Block)?,
        };
        self.end_line()?;
        Some(node)
    }

    /// A list or mapping in flow style.
    fn flow_collection(&mut self) -> Option<TreeNode<'t>> {
        let place = self.place();
        self.enter()?;
        let is_map = self.peek()? == b'{';
        self.at += 1;
        let value = if is_map { self.flow_map()? } else { self.flow_list()? };
        self.depth -= 1;
        Some(TreeNode { place, value })
    }

    fn flow_map(&mut self) -> Option<Value<'t>> {
        let mut entries = Vec::new();
        self.skip_in_flow();
        if self.skip(b'}') {
            return Some(Value::Map(entries));
        }
        loop {
            let (place, is_quoted) = (self.place(), self.is_at_quote());
            let key = self.key()?;
            if is_quoted {
                self.skip(b':').then_some(())?;
            } else {
                self.skip_blank_colon()?;
            }
            let value = self.flow_value()?;
            entries.push(TreeEntry { key: key.into(), place, value });
            if self.skip(b'}') {
                return unique(entries).map(Value::Map);
            }
            self.skip(b',').then(|| self.skip_in_flow())?;
        }
    }

    fn flow_list(&mut self) -> Option<Value<'t>> {
        let mut items = Vec::new();
        self.skip_in_flow();
        if self.skip(b']') {
            return Some(Value::List(items));
        }
        loop {
            items.push(self.flow_value()?);
            if self.skip(b']') {
                return Some(Value::List(items));
            }
            self.skip(b',').then_some(())?;
        }
    }

    /// A value in flow style, with the white space around it.
    fn flow_value(&mut self) -> Option<TreeNode<'t>> {
        self.skip_in_flow();
        let node = match self.peek()? {
            b'{' | b'[' => self.flow_collection()?,
            _ => self.scalar(Style::Flow)?,
        };
        self.skip_in_flow();
        Some(node)
    }

    fn scalar(&mut self, style: Style) -> Option<TreeNode<'t>> {
        let place = self.place();
        let scalar = match self.is_at_quote() {
            true => Scalar::quoted(self.quoted()?),
            false => Scalar::plain(self.plain(style)?),
        };
        self.weigh(&scalar.text)?;
        Some(TreeNode { place, value: Value::Scalar(scalar) })
    }

    /// The text of a plain scalar.
    fn plain(&mut self, style: Style) -> Option<&'t str> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        let next = bytes.get(start + 1).copied();
        match bytes[start] {
            b'-' if next.is_some_and(|next| next.is_ascii_alphanumeric()) => {}
            b'.' if self.column() == 0 => return None,
            first if b"-?:,[]{}#&*!|>'\"%@` \n".contains(&first) => return None,
            _ => {}
        }
        let is_flow = style == Style::Flow;
        while let Some(byte) = self.peek() {
            match byte {
                b'\n' => break,
                b'#' if bytes[self.at - 1] == b' ' => break,
                b':' => match bytes.get(self.at + 1) {
                    None | Some(b' ' | b'\n') => return None,
                    Some(next) if is_flow && b",[]{}".contains(next) => return None,
                    Some(_) => {}
                },
                b',' | b']' | b'}' if is_flow => break,
                b'[' | b'{' if is_flow => return None,
                b'-' if is_flow && bytes[self.at - 1] == b' ' => return None,
                _ => {}
            }
            self.at += 1;
        }
        let text = self.text[start..self.at].trim_end_matches(' ');
        self.at = start + text.len();
        Some(text)
    }

    /// The text of a quoted scalar.
    fn quoted(&mut self) -> Option<&'t str> {
        let quote = self.peek()?;
        let start = self.at + 1;
        let ends = |byte: &u8| *byte == quote || matches!(byte, b'\\' | b'\n');
        let end = start + self.text.as_bytes()[start..].iter().position(ends)?;
        self.at = end + 1;
        // A backslash escapes in double quotes only, and two single quotes are one.
        let is_whole = self.text.as_bytes()[end] == quote && self.peek() != Some(quote);
        is_whole.then(|| &self.text[start..end])
    }

    /// A key: quoted, or a word.
    fn key(&mut self) -> Option<&'t str> {
        let key = if self.is_at_quote() { self.quoted()? } else { self.word()? };
        self.weigh(key)?;
        (key != MERGE && key.len() <= MAX_KEY).then_some(key)
    }

    /// A plain scalar of the characters that usual keys have.
    fn word(&mut self) -> Option<&'t str> {
        let rest = &self.text.as_bytes()[self.at..];
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/');
        let ends = |at: &usize| match rest[*at] {
            b':' => !rest.get(at + 1).is_some_and(|next| is_word(*next)),
            byte => !is_word(byte),
        };
        let length = (0..rest.len()).find(ends).unwrap_or(rest.len());
        let word = &self.text[self.at..self.at + length];
        self.at += length;
        word.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_').then_some(word)
    }

    fn is_at_quote(&self) -> bool {
        matches!(self.peek(), Some(b'"' | b'\''))
    }

    /// Whether an item of a list in block style starts here, and in this line.
    fn is_at_item(&self) -> bool {
        self.text.as_bytes()[self.at..].starts_with(b"- ")
    }

    /// Whether a key of a mapping in block style starts here.
    fn is_at_key(&mut self) -> bool {
        let (at, weight) = (self.at, self.weight);
        let is_key = self.key().and_then(|_| self.skip_blank_colon()).is_some();
        (self.at, self.weight) = (at, weight);
        is_key
    }

    /// Whether a document ends here: at the end of the text, or before a marker.
    fn is_at_end(&self) -> bool {
        self.at == self.text.len() || self.is_at_marker()
    }

    /// Whether `---` is here, and ends a document.
    fn is_at_marker(&self) -> bool {
        let rest = &self.text.as_bytes()[self.at..];
        self.column() == 0 && rest.starts_with(b"---") && matches!(rest.get(3), None | Some(b' ' | b'\n'))
    }

    /// Fails in any other column.
    fn is_at_column(&self, column: usize) -> Option<()> {
        (self.column() == column).then_some(())
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Counted from 0.
    fn column(&self) -> usize {
        self.at - self.line_start
    }

    fn place(&self) -> TextPosition {
        let column = u32::try_from(self.column()).expect("a text has at most 16 MiB");
        TextPosition { line: self.line, column: column + 1 }
    }

    fn skip(&mut self, byte: u8) -> bool {
        let is_here = self.peek() == Some(byte);
        self.at += usize::from(is_here);
        is_here
    }

    fn skip_spaces(&mut self) {
        while self.skip(b' ') {}
    }

    /// Skips a colon before white space, which ends a key that is not quoted.
    fn skip_blank_colon(&mut self) -> Option<()> {
        (self.skip(b':') && matches!(self.peek(), None | Some(b' ' | b'\n'))).then_some(())
    }

    /// Skips white space within a list or mapping in flow style.
    fn skip_in_flow(&mut self) {
        self.skip_spaces();
        while self.flow == Flow::ManyLines && self.skip_line_end() {
            self.skip_spaces();
        }
    }

    /// Skips the rest of a line, in which only a comment may follow, and all before the next content.
    fn end_line(&mut self) -> Option<()> {
        let is_spaced = self.peek() == Some(b' ');
        self.skip_spaces();
        let is_end = match self.peek() {
            None | Some(b'\n') => true,
            Some(byte) => byte == b'#' && is_spaced,
        };
        self.skip_to_content();
        is_end.then_some(())
    }

    /// Skips white space, line ends and comments.
    fn skip_to_content(&mut self) {
        loop {
            self.skip_spaces();
            if self.peek() == Some(b'#') {
                let rest = &self.text.as_bytes()[self.at..];
                self.at += rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
            }
            if !self.skip_line_end() {
                return;
            }
        }
    }

    fn skip_line_end(&mut self) -> bool {
        let is_end = self.skip(b'\n');
        if is_end {
            (self.line, self.line_start) = (self.line + 1, self.at);
        }
        is_end
    }

    /// Counts a list or mapping, and that this position is in it.
    fn enter(&mut self) -> Option<()> {
        self.depth += 1;
        self.weigh("")?;
        (self.depth <= MAX_DEPTH).then_some(())
    }

    fn weigh(&mut self, text: &str) -> Option<()> {
        self.weight += 1 + text.len() / 32;
        (self.weight <= MAX_WEIGHT).then_some(())
    }
}

/// The entries, unless a key is repeated.
fn unique(entries: Vec<TreeEntry<'_>>) -> Option<Vec<TreeEntry<'_>>> {
    let is_unique = match entries.len() {
        0..=8 => (1..entries.len()).all(|at| entries[..at].iter().all(|one| one.key != entries[at].key)),
        _ => {
            let mut keys: Vec<&str> = entries.iter().map(|entry| &*entry.key).collect();
            keys.sort_unstable();
            keys.windows(2).all(|pair| pair[0] != pair[1])
        }
    };
    is_unique.then_some(entries)
}
