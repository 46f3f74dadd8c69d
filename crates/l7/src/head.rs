//! Message heads: finds the end of a head, splits its lines and parses its fields.

use crate::{Field, Refusal};
use std::borrow::Cow;
use std::ops::Range;

/// The supported versions of HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0: one request per connection, no interim responses, no transfer codings.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
}

impl Version {
    /// The version as messages write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
        }
    }
}

/// Limit on a head in bytes.
pub const MAX_HEAD: usize = 60 * 1024;
/// Limit on the number of fields.
pub const MAX_FIELDS: usize = 100;

/// Storage for the parsed fields of one head.
#[derive(Clone, Debug)]
pub struct FieldStorage<'h>(Slots<'h>);

/// How many fields need no allocation. An array for [`MAX_FIELDS`] takes longer to initialise than a usual head to parse.
const FEW: usize = 16;

#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "the large variant is the usual one, and lives on the stack of one call"
)]
enum Slots<'h> {
    Few([Field<'h>; FEW]),
    Many(Vec<Field<'h>>),
}

impl<'h> FieldStorage<'h> {
    /// Storage for all fields of this head, up to [`MAX_FIELDS`].
    pub fn of(head: &[u8]) -> Self {
        let lines = head.iter().filter(|&&byte| byte == b'\n').count();
        Self(if lines <= FEW {
            Slots::Few([Field::default(); FEW])
        } else {
            Slots::Many(vec![Field::default(); lines.min(MAX_FIELDS)])
        })
    }

    /// The slots that a parser fills.
    pub fn slots(&mut self) -> &mut [Field<'h>] {
        match &mut self.0 {
            Slots::Few(slots) => slots,
            Slots::Many(slots) => slots,
        }
    }
}

/// Finds the end of a head in bytes that arrive piece by piece; each byte is scanned once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scanner {
    start: usize,
    line: usize,
    seen: usize,
}

impl Scanner {
    /// Returns the range of the head in the input, once the head is complete. The input is everything that arrived since
    /// the scanner was made, and grows from call to call. One empty line before the head is skipped (RFC 9112, section
    /// 2.2).
    ///
    /// Bytes that cannot be a head are refused at once: a client of another protocol may wait for a response before it
    /// sends more.
    pub fn scan(&mut self, input: &[u8]) -> Result<Option<Range<usize>>, Refusal> {
        loop {
            // Checked first, so that the reason does not depend on how the bytes were split.
            if input.get(self.start).is_some_and(|first| !first.is_ascii_uppercase() && *first != b'\r') {
                return Err(NOT_HTTP);
            }
            let Some(next) = input[self.seen..].iter().position(|&byte| byte == b'\n') else { break };
            let end = self.seen + next;
            self.seen = end + 1;
            let head = bounded(self.start..self.seen)?;
            if end == 0 || input[end - 1] != b'\r' {
                return Err(Refusal::malformed("a line that does not end in CR LF"));
            }
            match (&input[self.line..end - 1], self.line == self.start) {
                ([], true) if self.start == 0 => self.start = self.seen,
                ([], true) => return Err(Refusal::malformed("empty lines before a head")),
                ([], false) => return Ok(Some(head)),
                (line, true) if !speaks_http(line) => return Err(NOT_HTTP),
                _ => {}
            }
            self.line = self.seen;
        }
        self.seen = input.len();
        bounded(self.start..self.seen).map(|_| None)
    }
}

/// Guesses the protocol from the first bytes of a connection or of a message.
pub fn protocol_of(input: &[u8]) -> Cow<'static, str> {
    let input = input.strip_prefix(b"\r\n").unwrap_or(input);
    let line = input.split(|&byte| byte == b'\r' || byte == b'\n').next().unwrap_or(input);
    match (line, line.get(line.len().saturating_sub(8)..)) {
        ([0x16, 3, ..], _) => "TLS".into(),
        ([b'S', b'S', b'H', b'-', ..], _) => "SSH".into(),
        (_, Some([b'H', b'T', b'T', b'P', b'/', b'2', b'.', _])) => "HTTP/2".into(),
        (_, Some(&[b'H', b'T', b'T', b'P', b'/', major @ b'0'..=b'9', b'.', minor @ b'0'..=b'9'])) => {
            format!("HTTP/{}.{}", char::from(major), char::from(minor)).into()
        }
        _ => "unknown".into(),
    }
}

const NOT_HTTP: Refusal = Refusal::malformed("this is not HTTP");

fn bounded(head: Range<usize>) -> Result<Range<usize>, Refusal> {
    if head.len() > MAX_HEAD {
        return Err(Refusal { status: 431, reason: "the head is larger than 60 KiB" });
    }
    Ok(head)
}

/// True where a first line starts or ends with a version.
fn speaks_http(line: &[u8]) -> bool {
    line.starts_with(b"HTTP/") || line.len() > 8 && line[line.len() - 8..].starts_with(b"HTTP/")
}

/// Splits a head into its first line, without its line end, and the lines after it.
pub(crate) fn split_first_line(head: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    let end = head.windows(2).position(|pair| pair == b"\r\n");
    let end = end.ok_or(Refusal::malformed("a head without a line"))?;
    Ok((&head[..end], &head[end + 2..]))
}

/// Parses the lines of the fields, up to the empty line.
pub(crate) fn parse_fields<'h, 'f>(
    mut lines: &'h [u8],
    storage: &'f mut [Field<'h>],
) -> Result<&'f mut [Field<'h>], Refusal> {
    let mut count = 0;
    while lines != b"\r\n" {
        let (line, rest) = split_first_line(lines)?;
        let Some(slot) = storage.get_mut(count) else {
            return Err(Refusal { status: 431, reason: "more fields than 100" });
        };
        *slot = parse_field(line)?;
        count += 1;
        lines = rest;
    }
    Ok(&mut storage[..count])
}

/// Parses the line of one field, without its end.
pub(crate) fn parse_field(line: &[u8]) -> Result<Field<'_>, Refusal> {
    if line.first().is_some_and(|&byte| byte == b' ' || byte == b'\t') {
        return Err(Refusal::malformed("a field folded over several lines"));
    }
    let Some(colon) = line.iter().position(|&byte| byte == b':') else {
        return Err(Refusal::malformed("a field without a colon"));
    };
    let name = &line[..colon];
    if name.is_empty() || !name.iter().all(|&byte| is_token(byte)) {
        return Err(Refusal::malformed("a field name with a space or another character it may not have"));
    }
    let name = std::str::from_utf8(name).expect("a token is ASCII");
    let value = trim(&line[colon + 1..]);
    if !value.iter().all(|&byte| is_field_value(byte)) {
        return Err(Refusal::malformed("a control character in a field"));
    }
    Ok(Field { name, value })
}

/// True for the characters of a token (RFC 9110, section 5.6.2), of which field names consist.
pub(crate) const fn is_token(byte: u8) -> bool {
    TOKEN[byte as usize]
}

/// [`is_token`] as a table, because it is called for every byte of every name.
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"!#$%&'*+-.^_`|~";
    let mut index = 0;
    while index < others.len() {
        table[others[index] as usize] = true;
        index += 1;
    }
    table
};

/// True for the bytes of a field value: visible characters, space, tab, and bytes outside ASCII.
pub(crate) fn is_field_value(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// Removes spaces and tabs at both ends.
pub(crate) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Appends fields, one line each.
pub(crate) fn write_fields<'f>(fields: impl IntoIterator<Item = &'f Field<'f>>, out: &mut Vec<u8>) {
    for field in fields {
        for part in [field.name.as_bytes(), b": ", field.value, b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scans byte by byte, and checks that scanning all at once has the same result.
    fn scan(input: &[u8]) -> Result<Option<Range<usize>>, Refusal> {
        let mut scanner = Scanner::default();
        let mut found = Ok(None);
        for end in 0..=input.len() {
            found = scanner.scan(&input[..end]);
            if found != Ok(None) {
                break;
            }
        }
        assert_eq!(Scanner::default().scan(input), found, "{input:?}");
        found
    }

    #[test]
    fn the_end_of_a_head_is_found() {
        assert_eq!(scan(b""), Ok(None));
        assert_eq!(scan(b"GET / HTTP/1.1\r\nA: b\r\n"), Ok(None));
        assert_eq!(scan(b"GET / HTTP/1.1\r\n\r\nGET"), Ok(Some(0..18)));
        assert_eq!(scan(b"\r\nGET / HTTP/1.1\r\nA: b\r\n\r\n"), Ok(Some(2..26)));
        assert_eq!(scan(b"HTTP/1.1 200 OK\r\n\r\n"), Ok(Some(0..19)));
    }

    #[test]
    fn other_protocols_are_refused_at_once() {
        for bytes in [
            &b"\x16\x03\x01"[..],
            b" GET / HTTP/1.1\r\n",
            b"SSH-2.0-client\r\n",
            b"GET /\r\n",
            b"GET / HTTP/1.1\n",
            b"\r\n\r\n",
            b"\n",
            b"\0",
        ] {
            assert_eq!(scan(bytes).map_err(|refusal| refusal.status), Err(400), "{bytes:?}");
        }
    }

    #[test]
    fn bytes_that_come_at_once_are_refused_for_the_same_reason_as_one_by_one() {
        for bytes in [&b"?\n"[..], b"\r\n?\n", b"\x16\x03\r\n\r\n", b"GET\n"] {
            assert!(scan(bytes).is_err(), "{bytes:?}");
        }
        for line in [&b"\n"[..], b"a\n", b"\r\n\r\n"] {
            let mut head = b"GET / HTTP/1.1\r\nX: ".to_vec();
            head.resize(MAX_HEAD, b'a');
            head.extend_from_slice(line);
            assert_eq!(scan(&head).map_err(|refusal| refusal.status), Err(431), "{line:?}");
        }
    }

    #[test]
    fn every_head_has_storage_for_as_many_fields_as_are_allowed() {
        for count in [0, 1, FEW - 1, FEW, FEW + 1, MAX_FIELDS, MAX_FIELDS + 1] {
            let fields = "A: b\r\n".repeat(count) + "\r\n";
            let mut storage = FieldStorage::of(format!("GET / HTTP/1.1\r\n{fields}").as_bytes());
            let parsed = parse_fields(fields.as_bytes(), storage.slots()).map(|fields| fields.len());
            let expected = if count > MAX_FIELDS { Err(431) } else { Ok(count) };
            assert_eq!(parsed.map_err(|refusal| refusal.status), expected);
        }
    }

    #[test]
    fn a_head_without_end_is_refused() {
        let mut head = b"GET / HTTP/1.1\r\nX: ".to_vec();
        head.resize(MAX_HEAD, b'a');
        assert_eq!(Scanner::default().scan(&head), Ok(None));
        head.push(b'a');
        assert_eq!(Scanner::default().scan(&head).map_err(|refusal| refusal.status), Err(431));
    }
}
