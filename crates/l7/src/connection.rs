//! What a head says of this one connection rather than of the message: framing, persistence, upgrades.

use crate::head::{is_token, trim};
use crate::{Field, Refusal, Version};

/// The fields that concern the connection, read and checked against one another.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Connection<'h> {
    /// The one Content-Length.
    pub(crate) length: Option<u64>,
    /// Whether Transfer-Encoding is `chunked`.
    pub(crate) chunked: bool,
    /// Whether Connection has `close`.
    pub(crate) close: bool,
    /// Whether Connection has `upgrade` and the one Upgrade is `websocket`.
    pub(crate) websocket: bool,
    /// The one Host.
    pub(crate) host: Option<&'h [u8]>,
    /// Whether Expect is `100-continue`; with HTTP/1.0, whether it is there.
    pub(crate) expects_continue: bool,
    version: Version,
    /// Whether Connection names fields that are not known here.
    names_message_fields: bool,
}

/// Reads the fields of the connection. Where two of them, or two of a kind, could be understood in two ways: refused.
pub(crate) fn read<'h>(fields: &[Field<'h>], version: Version) -> Result<Connection<'h>, Refusal> {
    let mut found = Connection { version, ..Connection::default() };
    let (mut upgrades, mut upgrade, mut codings) = (false, None, 0);
    for field in fields {
        let value = field.value;
        match field_role(field.name) {
            FieldRole::Host => once(&mut found.host, value, "several Host fields")?,
            FieldRole::Length => once(&mut found.length, length(value)?, "several Content-Length fields")?,
            // HTTP/1.0 has none; who takes part in the exchange may not know of it (RFC 9112, section 6.1).
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
            // To be ignored (RFC 9110, section 10.1.1).
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

impl Connection<'_> {
    /// Moves the fields that go on to the next hop to the front, in order, and returns how many they are.
    ///
    /// Those that Connection names go too: they are for this connection, so that neither rules nor server see them.
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
                // The others move back, past the ones still to be looked at: their order does not matter.
                fields[kept..=index].rotate_right(1);
                kept += 1;
            }
        }
        kept
    }
}

/// Fields that mean something here.
enum FieldRole {
    Host,
    Length,
    Coding,
    Connection,
    Upgrade,
    Expect,
    /// For this connection only, without a meaning for us.
    OneHop,
    /// Part of the message.
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
        // It announces trailers, which are dropped.
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

/// A Content-Length: digits without a sign, a list, or zeros in front, which some read as octal.
fn length(value: &[u8]) -> Result<u64, Refusal> {
    let refused = Refusal::malformed("a Content-Length that is not a plain number");
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) || (value.len() > 1 && value[0] == b'0') {
        return Err(refused);
    }
    let digits = std::str::from_utf8(value).map_err(|_| refused)?;
    // Half of the range is more than any body, and leaves no sum that could wrap anywhere.
    digits.parse().ok().filter(|&length| length <= u64::MAX / 2).ok_or(refused)
}

/// The members of a list of tokens.
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

/// Whether a member of Connection names a field of the message; one that the message cannot do without is refused.
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
