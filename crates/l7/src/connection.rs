//! The fields of a head that concern this connection and not the message: framing, persistence, upgrades.

use crate::head::{is_token, trim};
use crate::{Field, Refusal, Version};

/// The values of these fields, checked for consistency.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ConnectionFields<'h> {
    /// The value of Content-Length.
    pub(crate) length: Option<u64>,
    /// True where Transfer-Encoding is `chunked`.
    pub(crate) chunked: bool,
    /// True where Connection lists `close`.
    pub(crate) close: bool,
    /// True where Connection lists `upgrade` and Upgrade is `websocket`.
    pub(crate) websocket: bool,
    /// The value of Host.
    pub(crate) host: Option<&'h [u8]>,
    /// True where Expect is `100-continue`, and in HTTP/1.0 where Expect has any value.
    pub(crate) expects_continue: bool,
    version: Version,
    /// True where Connection lists a field of the message, which is then not forwarded.
    names_message_fields: bool,
}

/// Reads the fields of the connection. A head is refused where two readers could understand these fields differently.
pub(crate) fn read<'h>(fields: &[Field<'h>], version: Version) -> Result<ConnectionFields<'h>, Refusal> {
    let mut found = ConnectionFields { version, ..ConnectionFields::default() };
    let (mut upgrades, mut upgrade, mut codings) = (false, None, 0);
    for field in fields {
        let value = field.value;
        match field_role(field.name) {
            FieldRole::Host => once(&mut found.host, value, "several Host fields")?,
            FieldRole::Length => once(&mut found.length, length(value)?, "several Content-Length fields")?,
            // HTTP/1.0 has no transfer codings, and a server may ignore the field (RFC 9112, section 6.1).
            FieldRole::Coding if version == Version::Http10 => {
                return Err(Refusal::malformed("HTTP/1.0 with a transfer coding"));
            }
            FieldRole::Coding => {
                codings += 1;
                found.chunked = value.eq_ignore_ascii_case(b"chunked");
                if !found.chunked || codings > 1 {
                    return Err(Refusal {
                        status: 501,
                        reason: "a transfer coding other than chunked, alone",
                    });
                }
            }
            FieldRole::Connection => {
                for token in tokens(value) {
                    match token? {
                        token if token.eq_ignore_ascii_case(b"close") => found.close = true,
                        token if token.eq_ignore_ascii_case(b"upgrade") => upgrades = true,
                        token => found.names_message_fields |= names_message_field(token)?,
                    }
                }
            }
            FieldRole::Upgrade => once(&mut upgrade, value, "several Upgrade fields")?,
            // A server ignores Expect in HTTP/1.0 (RFC 9110, section 10.1.1).
            FieldRole::Expect if version == Version::Http10 => found.expects_continue = true,
            FieldRole::Expect => {
                if found.expects_continue || !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(Refusal { status: 417, reason: "an expectation other than 100-continue" });
                }
                found.expects_continue = true;
            }
            FieldRole::OneHop | FieldRole::Message => {}
        }
    }
    if found.chunked && found.length.is_some() {
        return Err(Refusal::malformed("both Content-Length and Transfer-Encoding"));
    }
    found.websocket = upgrades && upgrade.is_some_and(|value| value.eq_ignore_ascii_case(b"websocket"));
    Ok(found)
}

impl ConnectionFields<'_> {
    /// Moves the fields that are forwarded to the front, in order, and returns their number.
    ///
    /// A field that Connection lists belongs to this connection: neither the rules nor the server see it.
    pub(crate) fn retain_forwarded(&self, fields: &mut [Field<'_>]) -> usize {
        let mut kept = 0;
        for index in 0..fields.len() {
            let name = fields[index].name;
            let forwarded = match field_role(name) {
                FieldRole::Connection | FieldRole::OneHop => false,
                FieldRole::Upgrade => self.websocket,
                FieldRole::Message => !(self.names_message_fields && is_named(fields, name)),
                FieldRole::Expect => self.version == Version::Http11,
                FieldRole::Host | FieldRole::Length | FieldRole::Coding => true,
            };
            if forwarded {
                // The fields that are not forwarded move back; their order does not matter.
                fields[kept..=index].rotate_right(1);
                kept += 1;
            }
        }
        kept
    }
}

/// What a field is for.
enum FieldRole {
    Host,
    Length,
    Coding,
    Connection,
    Upgrade,
    Expect,
    /// It concerns this hop only, and the proxy does not use it.
    OneHop,
    /// It is part of the message.
    Message,
}

fn field_role(name: &str) -> FieldRole {
    const ALL: [(&str, FieldRole); 11] = [
        ("host", FieldRole::Host),
        ("content-length", FieldRole::Length),
        ("transfer-encoding", FieldRole::Coding),
        ("connection", FieldRole::Connection),
        ("upgrade", FieldRole::Upgrade),
        ("expect", FieldRole::Expect),
        ("keep-alive", FieldRole::OneHop),
        ("proxy-connection", FieldRole::OneHop),
        ("te", FieldRole::OneHop),
        // Trailer announces trailers, and those are dropped.
        ("trailer", FieldRole::OneHop),
        ("http2-settings", FieldRole::OneHop),
    ];
    let found = ALL.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map_or(FieldRole::Message, |(_, known)| known)
}

fn once<T>(slot: &mut Option<T>, value: T, reason: &'static str) -> Result<(), Refusal> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Refusal::malformed(reason)),
    }
}

/// Parses a Content-Length: digits only. A sign, a list and leading zeros, which some servers read as octal, are refused.
fn length(value: &[u8]) -> Result<u64, Refusal> {
    let refused = Refusal::malformed("a Content-Length that is not a plain number");
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) || (value.len() > 1 && value[0] == b'0') {
        return Err(refused);
    }
    let digits = std::str::from_utf8(value).map_err(|_| refused)?;
    // No body is longer than half of the range, and a sum of two such lengths cannot overflow.
    digits.parse().ok().filter(|&length| length <= u64::MAX / 2).ok_or(refused)
}

/// The tokens of a comma-separated list.
fn tokens(value: &[u8]) -> impl Iterator<Item = Result<&[u8], Refusal>> {
    value.split(|&byte| byte == b',').map(trim).filter(|token| !token.is_empty()).map(|token| {
        let valid = token.iter().all(|&byte| is_token(byte));
        if valid {
            Ok(token)
        } else {
            Err(Refusal::malformed("a Connection field that is not a list of names"))
        }
    })
}

/// True where a token of Connection names a field of the message. A framing field, Host and Expect are refused there.
fn names_message_field(token: &[u8]) -> Result<bool, Refusal> {
    let name = std::str::from_utf8(token).expect("a token is ASCII");
    match field_role(name) {
        FieldRole::Host | FieldRole::Length | FieldRole::Coding | FieldRole::Expect => {
            Err(Refusal::malformed("a Connection field that names Host, Expect or the framing"))
        }
        FieldRole::Message => Ok(!token.eq_ignore_ascii_case(b"keep-alive")),
        FieldRole::Connection | FieldRole::Upgrade | FieldRole::OneHop => Ok(false),
    }
}

fn is_named(fields: &[Field<'_>], name: &str) -> bool {
    let mut lists = fields.iter().filter(|field| field.name.eq_ignore_ascii_case("connection"));
    lists.any(|list| tokens(list.value).flatten().any(|token| token.eq_ignore_ascii_case(name.as_bytes())))
}
