//! Response heads: parsed strictly, and written for the client.

use crate::body::Framing;
use crate::head::{is_field_value, parse_fields, split_first_line, write_fields};
use crate::{Field, Refusal, Version, connection};

/// A response's head.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    /// Status, three digits.
    pub status: u16,
    /// The reason phrase; may be empty.
    pub reason: &'a [u8],
    /// The fields that are forwarded, in order; fields that concern this hop only are not among them.
    pub fields: &'a [Field<'a>],
    /// True where the server closes the connection after the body.
    pub close: bool,
    /// True where the response switches to WebSocket.
    pub websocket: bool,
    length: Option<u64>,
    chunked: bool,
}

/// The Connection field of a forwarded response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// No field: the connection stays open.
    Keep,
    /// `close`: the connection is closed after this response.
    Close,
    /// `close` for an HTTP/1.0 client, which knows no transfer coding: Transfer-Encoding is removed.
    CloseOld,
    /// `Upgrade`: the connection becomes a WebSocket.
    Upgrade,
}

impl<'a> Response<'a> {
    /// Parses a head whose end [`crate::Scanner`] has found. A refusal always has status 502.
    pub fn parse<'h: 'a>(head: &'h [u8], storage: &'a mut [Field<'h>]) -> Result<Self, Refusal> {
        Self::parse_strictly(head, storage).map_err(Refusal::of_response)
    }

    fn parse_strictly<'h: 'a>(head: &'h [u8], storage: &'a mut [Field<'h>]) -> Result<Self, Refusal> {
        let (line, lines) = split_first_line(head)?;
        let (version, status, reason) = status_line(line)?;
        let fields = parse_fields(lines, storage)?;
        let mut connection = connection::read(fields, version)?;
        if connection.expects_continue || (connection.chunked && is_bodiless(status)) {
            return Err(Refusal::malformed("a response with a field that it cannot have"));
        }
        // Any other status only offers an upgrade. The offer is for this hop, so the client must not get it.
        connection.websocket &= status == 101;
        let kept = connection.retain_forwarded(fields);
        Ok(Self {
            status,
            reason,
            fields: &fields[..kept],
            close: version == Version::Http10 || connection.close,
            websocket: connection.websocket,
            length: connection.length,
            chunked: connection.chunked,
        })
    }

    /// How the length of the body is determined, for the response to a request with this method (RFC 9112, section 6.3).
    pub fn framing(&self, method: &str) -> Framing {
        if method == "HEAD" || is_bodiless(self.status) {
            Framing::Empty
        } else if self.chunked {
            Framing::Chunked
        } else {
            self.length.map_or(Framing::UntilClose, Framing::Length)
        }
    }

    /// True for a gRPC response, which ends with trailers that the client needs.
    pub fn is_grpc(&self) -> bool {
        let mut types = self.fields.iter().filter(|field| field.name.eq_ignore_ascii_case("content-type"));
        const GRPC: &[u8] = b"application/grpc";
        let starts =
            |value: &[u8]| value.get(..GRPC.len()).is_some_and(|start| start.eq_ignore_ascii_case(GRPC));
        types.next().is_some_and(|field| starts(field.value))
    }

    /// True where another response to the same request follows: for 1xx, except 101 Switching Protocols.
    pub fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }

    /// Appends the head for the client.
    pub fn write(&self, persistence: Persistence, out: &mut Vec<u8>) {
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend(
            [self.status / 100, self.status / 10 % 10, self.status % 10].map(|digit| b'0' + digit as u8),
        );
        out.push(b' ');
        out.extend_from_slice(self.reason);
        out.extend_from_slice(b"\r\n");
        let is_kept = |field: &&Field<'_>| {
            persistence != Persistence::CloseOld || !field.name.eq_ignore_ascii_case("transfer-encoding")
        };
        write_fields(self.fields.iter().filter(is_kept), out);
        let connection: &[u8] = match persistence {
            Persistence::Keep => b"\r\n",
            Persistence::Close | Persistence::CloseOld => b"Connection: close\r\n\r\n",
            Persistence::Upgrade => b"Connection: Upgrade\r\n\r\n",
        };
        out.extend_from_slice(connection);
    }
}

/// True where a response with this status never has a body.
fn is_bodiless(status: u16) -> bool {
    status < 200 || status == 204 || status == 304
}

/// Parses the version, the status and the reason phrase.
fn status_line(line: &[u8]) -> Result<(Version, u16, &[u8]), Refusal> {
    let (version, rest) = match (line.strip_prefix(b"HTTP/1.1 "), line.strip_prefix(b"HTTP/1.0 ")) {
        (Some(rest), _) => (Version::Http11, rest),
        (None, Some(rest)) => (Version::Http10, rest),
        (None, None) => return Err(Refusal::malformed("a response whose version is neither 1.1 nor 1.0")),
    };
    let [hundreds @ b'1'..=b'5', tens @ b'0'..=b'9', ones @ b'0'..=b'9', rest @ ..] = rest else {
        return Err(Refusal::malformed("a response whose status is not three digits from 100 to 599"));
    };
    let reason = match rest {
        [] => rest,
        [b' ', reason @ ..] if reason.iter().all(|&byte| is_field_value(byte)) => reason,
        _ => return Err(Refusal::malformed("a malformed status line")),
    };
    let status = [hundreds, tens, ones].into_iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    Ok((version, status, reason))
}
