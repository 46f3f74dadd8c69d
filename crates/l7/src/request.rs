//! Request heads: parsed strictly, made canonical once, and written for the server.

use crate::body::Framing;
use crate::head::{is_token, parse_fields, split_first_line, write_fields};
use crate::{Field, Refusal, RequestView, Version, connection, name, path};
use std::ops::Range;

/// A request in its canonical form, which the rules match and the server gets.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Method as sent.
    pub method: &'a str,
    /// Canonical path with query, or `*`.
    pub path: &'a str,
    /// Version as sent, in which it is also forwarded.
    pub version: Version,
    /// Authority: of an absolute target, otherwise of the Host field. The Host field in `fields` has the same value. Empty in
    /// an HTTP/1.0 request without one.
    pub host: &'a str,
    /// The fields that are forwarded, in order; fields that concern this hop only are not among them.
    pub fields: &'a [Field<'a>],
    /// How the length of the body is determined.
    pub framing: Framing,
    /// True where the connection to the server is closed after this exchange: the client asked for it, the client uses
    /// HTTP/1.0, or the method defines no body but the request has one, which a server may leave unread and parse as the
    /// next request.
    pub close: bool,
    /// True where the client asks for a WebSocket. Upgrades to other protocols are removed from the request.
    pub websocket: bool,
}

impl<'a> Request<'a> {
    /// Writes the head that a client would send, for callers that ask for a verdict without a connection.
    pub fn compose<'f>(
        method: &str,
        path: &str,
        host: &str,
        fields: impl IntoIterator<Item = (&'f str, &'f str)>,
    ) -> Vec<u8> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n");
        for (name, value) in fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// Parses a head whose end [`crate::Scanner`] has found. The target is made canonical in place. The original target is
    /// lost, so that no caller can match one form and forward the other.
    pub fn parse<'h: 'a>(head: &'h mut [u8], storage: &'a mut [Field<'h>]) -> Result<Self, Refusal> {
        let line = request_line(head)?;
        let target = resolve_target(head, &line)?;
        let head: &'h [u8] = head;
        let fields = parse_fields(&head[line.end..], storage)?;
        name::check_framing(fields)?;
        let mut connection = connection::read(fields, line.version)?;
        let sent = connection.host.map(authority).transpose()?;
        let host = match (&target.authority, sent, line.version) {
            (_, None, Version::Http11) => return Err(Refusal::malformed("no Host field")),
            (Some(range), ..) => authority(&head[range.clone()])?,
            (None, sent, _) => sent.unwrap_or_default(),
        };
        for field in fields.iter_mut().filter(|field| field.name.eq_ignore_ascii_case("host")) {
            field.value = host.as_bytes();
        }
        let is_old = line.version == Version::Http10;
        connection.websocket &= !is_old;
        let kept = connection.retain_forwarded(fields);
        let framing = match connection.length {
            Some(length) => Framing::Length(length),
            None if connection.chunked => Framing::Chunked,
            None => Framing::Empty,
        };
        let method = ascii(&head[..line.method]);
        if is_old && needs_length(method) && connection.length.is_none() {
            return Err(Refusal::malformed("HTTP/1.0 with a body that has no Content-Length"));
        }
        if connection.websocket
            && (method != "GET" || !matches!(framing, Framing::Empty | Framing::Length(0)))
        {
            return Err(Refusal::malformed("a WebSocket request has method GET and no body"));
        }
        Ok(Self {
            method,
            path: ascii(&head[target.path]),
            version: line.version,
            host,
            fields: &fields[..kept],
            framing,
            close: is_old || connection.close || (!defines_body(method) && framing.has_body()),
            websocket: connection.websocket,
        })
    }

    /// The parts of the request that rules match.
    pub fn view(&self) -> RequestView<'a> {
        RequestView { method: self.method, path: self.path, host: self.host, headers: self.fields }
    }

    /// True where only the absolute target of an HTTP/1.0 request has the host. The target is forwarded as a path, so the
    /// request needs a Host field.
    fn names_host_by_target(&self) -> bool {
        let is_host = |field: &Field<'_>| field.name.eq_ignore_ascii_case("host");
        self.version == Version::Http10 && !self.host.is_empty() && !self.fields.iter().any(is_host)
    }

    /// Appends the head for the server.
    pub fn write(&self, out: &mut Vec<u8>) {
        for part in [self.method, " ", self.path, " ", self.version.name(), "\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
        if self.names_host_by_target() {
            for part in ["Host: ", self.host, "\r\n"] {
                out.extend_from_slice(part.as_bytes());
            }
        }
        write_fields(self.fields, out);
        let connection: &[u8] = match (self.websocket, self.close) {
            (true, _) => b"Connection: Upgrade\r\n\r\n",
            (false, true) => b"Connection: close\r\n\r\n",
            (false, false) => b"\r\n",
        };
        out.extend_from_slice(connection);
    }
}

/// The offsets of the parts of a request line.
struct RequestLine {
    /// The length of the method, which starts at offset 0.
    method: usize,
    target: Range<usize>,
    version: Version,
    /// The offset of the first field.
    end: usize,
}

fn request_line(head: &[u8]) -> Result<RequestLine, Refusal> {
    let (line, _) = split_first_line(head)?;
    let mut parts = line.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Refusal::malformed(
            "a request line is a method, a target and a version, one space between",
        ));
    };
    let version = match version {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        b"HTTP/2.0" => return Err(Refusal { status: 505, reason: "HTTP/2 is not supported yet" }),
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
            return Err(Refusal { status: 505, reason: "a version of HTTP that does not exist" });
        }
        _ => return Err(Refusal::malformed("a request line without a version")),
    };
    if !is_method(method) {
        return Err(Refusal::malformed("a method is written in capital letters"));
    }
    if method == b"CONNECT" {
        return Err(Refusal {
            status: 501,
            reason: "CONNECT opens a tunnel, whose content no rule can match",
        });
    }
    let start = method.len() + 1;
    let target = start..start + target.len();
    Ok(RequestLine { method: method.len(), target, version, end: line.len() + 2 })
}

/// Registered methods are in capitals. Methods are case-sensitive, but some servers accept `get` as GET, so lower case is
/// refused.
fn is_method(method: &[u8]) -> bool {
    method.first().is_some_and(u8::is_ascii_uppercase)
        && method.len() <= 32
        && method.iter().all(|&byte| is_token(byte) && !byte.is_ascii_lowercase())
}

/// True where the method defines a meaning for the body, so that every server reads it. For an unknown method the result is
/// false.
fn defines_body(method: &str) -> bool {
    const METHODS: [&str; 10] =
        ["POST", "PUT", "PATCH", "QUERY", "PROPFIND", "PROPPATCH", "MKCOL", "LOCK", "REPORT", "SEARCH"];
    METHODS.contains(&method)
}

/// True where an HTTP/1.0 request with this method must have a Content-Length (RFC 1945, section 8.3). Without one, a server
/// could read everything up to the end of the connection as the body.
fn needs_length(method: &str) -> bool {
    matches!(method, "POST" | "PUT" | "PATCH")
}

/// The offsets of the authority and of the canonical path.
struct Target {
    authority: Option<Range<usize>>,
    path: Range<usize>,
}

/// Parses the form of a target (RFC 9112, section 3.2) and makes its path canonical.
fn resolve_target(head: &mut [u8], line: &RequestLine) -> Result<Target, Refusal> {
    let Range { start, end } = line.target;
    let target = &head[start..end];
    if target == b"*" {
        if &head[..line.method] != b"OPTIONS" {
            return Err(Refusal::malformed("the target * is for OPTIONS alone"));
        }
        return Ok(Target { authority: None, path: start..end });
    }
    let mut authority = None;
    let mut path = start;
    if target.first() != Some(&b'/') {
        const SCHEME: &[u8] = b"http://";
        if target.len() < SCHEME.len() || !target[..SCHEME.len()].eq_ignore_ascii_case(SCHEME) {
            return Err(Refusal::malformed("a target is a path or begins with http://"));
        }
        let from = start + SCHEME.len();
        let slash = head[from..end].iter().position(|&byte| byte == b'/');
        path = from + slash.ok_or(Refusal::malformed("an absolute target without a path"))?;
        authority = Some(from..path);
    }
    let length = path::canonicalise(&mut head[path..end])?;
    Ok(Target { authority, path: path..path + length })
}

/// Checks an authority: a name or an address, and optionally a port. A user part, a list and any other part of a URL are
/// refused.
fn authority(bytes: &[u8]) -> Result<&str, Refusal> {
    let refused = Refusal::malformed("a host that is not a name or an address with perhaps a port");
    let text = std::str::from_utf8(bytes).map_err(|_| refused)?;
    let (host, after) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or(refused)?,
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let is_host = |byte: u8| match text.starts_with('[') {
        true => byte.is_ascii_hexdigit() || byte == b':' || byte == b'.',
        false => byte.is_ascii_alphanumeric() || b"-._~".contains(&byte),
    };
    let port = match after.strip_prefix(':') {
        Some(port) => port,
        None if after.is_empty() => "80",
        None => return Err(refused),
    };
    let valid = !host.is_empty() && host.bytes().all(is_host) && port.parse::<u16>().is_ok();
    // `u16::from_str` accepts a plus sign.
    if valid && !port.starts_with('+') { Ok(text) } else { Err(refused) }
}

fn ascii(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("methods and paths were checked to be ASCII")
}
