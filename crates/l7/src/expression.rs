//! Regular expressions in RE2's syntax (Go's `regexp`), as policies write them.
//!
//! This parser accepts RE2's syntax and nothing else. The syntax of the regex library differs: there, `[a&&b]`, `\<` and
//! `{id}` have another meaning. An expression is always matched against a whole field of a request, which is ASCII
//! without line breaks, so greediness and the flags `m`, `s` and `U` have no effect and are accepted. Each of these is
//! refused with a message of its own: back-references and look-around (RE2 has neither), `\C`, `\p{..}`, octal escapes,
//! and characters outside ASCII in classes.

mod class;

use regex_syntax::hir::{Class, ClassBytes, ClassBytesRange, Hir, HirKind, Look, Repetition};
use std::borrow::Cow;
use std::fmt;

/// The byte that separates the fields of a request in the automaton; no expression matches it.
pub(crate) const SEPARATOR: u8 = 0;

/// The characters with a meaning of their own outside classes.
const OPERATORS: &[u8] = b"\\.^$[](){}|*+?";

/// Limit on the size of one expression, in states of its automaton.
pub const MAX_SIZE: u32 = 10_000;
/// Limit on a counted repetition; RE2 has the same.
const MAX_REPEAT: u32 = 1000;
/// Limit on the nesting of groups.
const MAX_DEPTH: u32 = 100;

/// Why an expression is refused, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpressionError {
    /// Offset in bytes.
    pub position: usize,
    /// The error, for people.
    pub message: &'static str,
}

impl fmt::Display for ExpressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at offset {})", self.message, self.position)
    }
}

impl std::error::Error for ExpressionError {}

type Result<T> = std::result::Result<T, ExpressionError>;

/// Checks an expression of a rule.
pub fn check(text: &str) -> Result<()> {
    if is_literal(text) && text.len() <= MAX_SIZE as usize { Ok(()) } else { parse(text).map(|_| ()) }
}

/// The literal that every matching text starts with.
pub fn prefix(text: &str) -> Result<Cow<'_, [u8]>> {
    if is_literal(text) { Ok(text.as_bytes().into()) } else { Ok(prefix_of(&hir(text)?).into()) }
}

/// As [`prefix`], of a parsed expression.
pub(crate) fn prefix_of(hir: &Hir) -> Vec<u8> {
    let parts = match hir.kind() {
        HirKind::Concat(parts) => parts,
        _ => std::slice::from_ref(hir),
    };
    let mut prefix = Vec::new();
    for part in parts {
        match part.kind() {
            HirKind::Literal(literal) => prefix.extend_from_slice(&literal.0),
            HirKind::Look(_) | HirKind::Empty => {}
            _ => break,
        }
    }
    prefix
}

/// True where the expression has no operator, and so matches its own text alone.
pub fn is_literal(text: &str) -> bool {
    text.bytes().all(is_plain)
}

/// True for a printable character without a meaning of its own outside classes.
fn is_plain(byte: u8) -> bool {
    PLAIN[usize::from(byte)]
}

/// The plain characters. Every byte of every expression is looked up here.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = b'!';
    while byte <= b'~' {
        plain[byte as usize] = true;
        byte += 1;
    }
    let mut at = 0;
    while at < OPERATORS.len() {
        plain[OPERATORS[at] as usize] = false;
        at += 1;
    }
    plain
};

/// Parses an expression for a caller that matches by its own means. The result has no anchors of its own, though an
/// expression must match a whole field.
pub fn hir(text: &str) -> Result<Hir> {
    Ok(parse(text)?.hir)
}

/// A part of an expression and its size in states.
#[derive(Clone, Debug)]
pub(crate) struct ExpressionPart {
    pub(crate) hir: Hir,
    pub(crate) size: u32,
}

/// Parses an expression.
pub(crate) fn parse(text: &str) -> Result<ExpressionPart> {
    let mut parser = Parser { text, at: 0, depth: 0 };
    let part = parser.alternation(false)?;
    if parser.at < text.len() {
        return parser.fail("this closing parenthesis has no opening one");
    }
    Ok(part)
}

/// A recursive-descent parser. `fold` is true where the flag `i` makes letters case-insensitive for the rest of a group.
struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: u32,
}

impl Parser<'_> {
    /// Alternatives up to the end of the group.
    fn alternation(&mut self, mut fold: bool) -> Result<ExpressionPart> {
        let mut parts = vec![self.sequence(&mut fold)?];
        while self.take("|") {
            parts.push(self.sequence(&mut fold)?);
        }
        let size = parts.iter().fold(0u32, |sum, part| sum.saturating_add(part.size + 1));
        self.bounded(ExpressionPart {
            hir: Hir::alternation(parts.into_iter().map(|part| part.hir).collect()),
            size,
        })
    }

    /// A sequence of items, up to `|`, `)` or the end.
    fn sequence(&mut self, fold: &mut bool) -> Result<ExpressionPart> {
        let mut parts: Vec<ExpressionPart> = Vec::new();
        let mut repeatable = false;
        while let Some(next) = self.peek() {
            match next {
                '|' | ')' => break,
                '*' | '+' | '?' | '{' => {
                    if let Some((min, max)) = self.repetition(repeatable)? {
                        let part = parts.pop().expect("an item to repeat was seen");
                        parts.push(self.repeat(part, min, max)?);
                        repeatable = false;
                        continue;
                    }
                    parts.push(self.literal(*fold));
                }
                '\\' if self.take("\\Q") => self.quoted(*fold, &mut parts),
                '(' => match self.group(fold)? {
                    Some(part) => parts.push(part),
                    None => {
                        repeatable = false;
                        continue;
                    }
                },
                _ => {
                    let next = match self.plain_text(*fold) {
                        Some(part) => part,
                        None => self.item(*fold)?,
                    };
                    parts.push(next);
                }
            }
            repeatable = !parts.is_empty();
        }
        let size = parts.iter().fold(0u32, |sum, part| sum.saturating_add(part.size));
        self.bounded(ExpressionPart {
            hir: Hir::concat(parts.into_iter().map(|part| part.hir).collect()),
            size,
        })
    }

    /// A repetition operator; none where the brace is a literal.
    fn repetition(&mut self, repeatable: bool) -> Result<Option<(u32, Option<u32>)>> {
        let start = self.at;
        let bounds = match self.bump() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            _ => match self.braces() {
                Some(bounds) => bounds,
                None => {
                    self.at = start;
                    return Ok(None);
                }
            },
        };
        if !repeatable {
            return fail(start, "there is nothing to repeat here");
        }
        let (min, max) = bounds;
        if min > MAX_REPEAT || max.is_some_and(|max| max > MAX_REPEAT || max < min) {
            return fail(start, "a repetition must be rising and not above 1000");
        }
        self.take("?");
        Ok(Some(bounds))
    }

    /// `n}`, `n,}` or `n,m}` after an opening brace.
    fn braces(&mut self) -> Option<(u32, Option<u32>)> {
        let min = self.number()?;
        let max = if self.take(",") {
            if self.peek() == Some('}') { None } else { Some(self.number()?) }
        } else {
            Some(min)
        };
        self.take("}").then_some((min, max))
    }

    /// A decimal number, saturated.
    fn number(&mut self) -> Option<u32> {
        let digits = self.text[self.at..].bytes().take_while(u8::is_ascii_digit).count();
        let text = &self.text[self.at..self.at + digits];
        self.at += digits;
        (digits > 0).then(|| text.parse().unwrap_or(u32::MAX))
    }

    fn repeat(&self, part: ExpressionPart, min: u32, max: Option<u32>) -> Result<ExpressionPart> {
        let copies = max.unwrap_or(min).max(1);
        let size = part.size.saturating_mul(copies).saturating_add(copies);
        let hir = Hir::repetition(Repetition { min, max, greedy: true, sub: Box::new(part.hir) });
        self.bounded(ExpressionPart { hir, size })
    }

    /// A group; none where it only sets flags, as in `(?i)`.
    fn group(&mut self, fold: &mut bool) -> Result<Option<ExpressionPart>> {
        let start = self.at;
        self.at += 1;
        let mut inner = *fold;
        if self.take("?P<") || (!self.starts("?<=") && !self.starts("?<!") && self.take("?<")) {
            self.group_name()?;
        } else if self.take("?") {
            inner = self.flags(start, *fold)?;
            if self.take(")") {
                *fold = inner;
                return Ok(None);
            }
            self.at += 1;
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return fail(start, "groups are nested more than 100 deep");
        }
        let part = self.alternation(inner)?;
        self.depth -= 1;
        if !self.take(")") {
            return fail(start, "this opening parenthesis has no closing one");
        }
        Ok(Some(part))
    }

    fn group_name(&mut self) -> Result<()> {
        let start = self.at;
        while self.peek().is_some_and(|next| next.is_ascii_alphanumeric() || next == '_') {
            self.at += 1;
        }
        if self.at == start || !self.take(">") {
            return fail(start, "a group's name is made of letters, digits and underscores, and ends with >");
        }
        Ok(())
    }

    /// The flags after `(?`, up to the `:` or `)`; returns the new value of `fold`.
    fn flags(&mut self, start: usize, mut fold: bool) -> Result<bool> {
        let mut on = true;
        loop {
            match self.peek() {
                Some('i') => fold = on,
                Some('m' | 's' | 'U') => {}
                Some('-') if on => on = false,
                Some(':' | ')') => return Ok(fold),
                Some('=' | '!' | '<') => return fail(start, "look-around is not part of RE2's syntax"),
                _ => return fail(start, "after (? stand P<name>, the flags i, m, s, U, or a colon"),
            }
            self.at += 1;
        }
    }

    /// The literal text between `\Q` and `\E`.
    fn quoted(&mut self, fold: bool, parts: &mut Vec<ExpressionPart>) {
        while self.at < self.text.len() && !self.take("\\E") {
            parts.push(self.literal(fold));
        }
    }

    /// The longest text from here on that has no operator in it and is not repeated; none where it is shorter than two
    /// characters. Most of a path is such text, and one literal for all of it is cheaper than a literal for each character.
    fn plain_text(&mut self, fold: bool) -> Option<ExpressionPart> {
        let rest = &self.text.as_bytes()[self.at..];
        let is_plain = |byte: &&u8| is_plain(**byte) && !(fold && byte.is_ascii_alphabetic());
        let mut length = rest.iter().take_while(is_plain).count();
        // A repetition repeats the last character alone.
        if rest.get(length).is_some_and(|next| b"*+?{".contains(next)) {
            length = length.saturating_sub(1);
        }
        if length < 2 {
            return None;
        }
        self.at += length;
        Some(ExpressionPart { hir: Hir::literal(&rest[..length]), size: length as u32 })
    }

    /// A literal, a class, an escape, a dot or an anchor.
    fn item(&mut self, fold: bool) -> Result<ExpressionPart> {
        match self.peek() {
            Some('.') => {
                self.at += 1;
                Ok(class(ClassBytes::empty(), true))
            }
            Some('^') => Ok(self.anchor(1, Look::StartLF)),
            Some('$') => Ok(self.anchor(1, Look::EndLF)),
            Some('[') => self.bracket(fold),
            Some('\\') => self.escape(fold),
            Some('\0') => self.fail("a field never has a NUL in it"),
            _ => Ok(self.literal(fold)),
        }
    }

    fn anchor(&mut self, length: usize, look: Look) -> ExpressionPart {
        self.at += length;
        ExpressionPart { hir: Hir::look(look), size: 1 }
    }

    /// An escape outside a class.
    fn escape(&mut self, fold: bool) -> Result<ExpressionPart> {
        let rest = &self.text.as_bytes()[self.at + 1..];
        match rest.first() {
            Some(b'A') => Ok(self.anchor(2, Look::StartLF)),
            Some(b'z') => Ok(self.anchor(2, Look::EndLF)),
            Some(b'b') => Ok(self.anchor(2, Look::WordAscii)),
            Some(b'B') => Ok(self.anchor(2, Look::WordAsciiNegate)),
            _ => match self.perl_class() {
                Some((ranges, negated)) => Ok(class(ranges, negated)),
                None => Ok(byte(self.escaped_byte()?, fold)),
            },
        }
    }

    /// An escape that stands for one byte, in a class or outside.
    fn escaped_byte(&mut self) -> Result<u8> {
        let start = self.at;
        self.at += 1;
        let byte = match self.bump() {
            None => return fail(start, "a backslash at the end escapes nothing"),
            Some('a') => 7,
            Some('f') => 12,
            Some('t') => b'\t',
            Some('n') => b'\n',
            Some('r') => b'\r',
            Some('v') => 11,
            Some('x') => self.hexadecimal(start)?,
            Some('C') => {
                return fail(
                    start,
                    "\\C (any byte) is not supported; fields are ASCII, where . does the same",
                );
            }
            Some('p' | 'P') => {
                return fail(start, "\\p{..} is not supported; fields are ASCII, name the characters");
            }
            Some('0') => return fail(start, "octal escapes are not supported; write \\x2F for a slash"),
            Some('1'..='9') => return fail(start, "back-references are not part of RE2's syntax"),
            Some(other) if other.is_ascii_punctuation() || other == ' ' => other as u8,
            Some(_) => return fail(start, "RE2 knows no such escape"),
        };
        if byte == SEPARATOR { fail(start, "a field never has a NUL in it") } else { Ok(byte) }
    }

    /// The hexadecimal digits after `\x`: two, or any number in braces.
    fn hexadecimal(&mut self, start: usize) -> Result<u8> {
        let rest = &self.text[self.at..];
        let (digits, length) = match rest.strip_prefix('{') {
            Some(braced) => {
                let end = braced.find('}').unwrap_or(0);
                (&braced[..end], end + 2)
            }
            None => (rest.get(..2).unwrap_or(""), 2),
        };
        if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return fail(start, "after \\x stand two hexadecimal digits, or some in braces");
        }
        self.at += length;
        match u8::from_str_radix(digits.trim_start_matches('0'), 16) {
            Ok(byte) if byte.is_ascii() => Ok(byte),
            Err(_) if digits.bytes().all(|digit| digit == b'0') => Ok(0),
            _ => fail(start, "characters outside ASCII never come in a field; expect them percent-encoded"),
        }
    }

    /// The next character as a literal.
    fn literal(&mut self, fold: bool) -> ExpressionPart {
        match self.bump() {
            Some(next) if next.is_ascii() => byte(next as u8, fold),
            Some(next) => {
                let mut buffer = [0; 4];
                let bytes = next.encode_utf8(&mut buffer).as_bytes();
                ExpressionPart { hir: Hir::literal(bytes), size: bytes.len() as u32 }
            }
            None => ExpressionPart { hir: Hir::empty(), size: 0 },
        }
    }

    fn bounded(&self, part: ExpressionPart) -> Result<ExpressionPart> {
        if part.size > MAX_SIZE {
            self.fail("the expression is too large: repetitions multiply")
        } else {
            Ok(part)
        }
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn starts(&self, prefix: &str) -> bool {
        self.text[self.at..].starts_with(prefix)
    }

    fn take(&mut self, prefix: &str) -> bool {
        let starts = self.starts(prefix);
        if starts {
            self.at += prefix.len();
        }
        starts
    }

    fn fail<T>(&self, message: &'static str) -> Result<T> {
        fail(self.at, message)
    }
}

fn fail<T>(position: usize, message: &'static str) -> Result<T> {
    Err(ExpressionError { position, message })
}

/// A literal byte, in both cases where `fold` is true.
fn byte(byte: u8, fold: bool) -> ExpressionPart {
    let hir = if fold && byte.is_ascii_alphabetic() {
        let both = [byte.to_ascii_lowercase(), byte.to_ascii_uppercase()];
        Hir::class(Class::Bytes(ClassBytes::new(both.map(|byte| ClassBytesRange::new(byte, byte)))))
    } else {
        Hir::literal([byte])
    };
    ExpressionPart { hir, size: 1 }
}

/// A class or its complement; the separator is in neither.
fn class(mut ranges: ClassBytes, negated: bool) -> ExpressionPart {
    if negated {
        ranges.negate();
    }
    ranges.difference(&ClassBytes::new([ClassBytesRange::new(SEPARATOR, SEPARATOR)]));
    ExpressionPart { hir: Hir::class(Class::Bytes(ranges)), size: 2 }
}

/// Matches any text without a separator: the expression of a field that a rule leaves open.
pub(crate) fn anything() -> Hir {
    let any = class(ClassBytes::empty(), true).hir;
    Hir::repetition(Repetition { min: 0, max: None, greedy: true, sub: Box::new(any) })
}
