//! What a policy says of requests, as plain data.

/// One HTTP rule: every part that is given must hold; a part that is absent holds for anything.
///
/// `method`, `path` and `host` are regular expressions in RE2's syntax, matched against the whole value. The path
/// includes the query string; the host includes the port as sent. All are case-sensitive.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HttpRule {
    /// Expression for the method.
    pub method: Option<String>,
    /// Expression for the path with its query.
    pub path: Option<String>,
    /// Expression for the authority. A request without one, which HTTP/1.0 may send, does not match, whatever it says.
    pub host: Option<String>,
    /// Header fields that must be there.
    pub headers: Vec<HeaderRule>,
}

/// A header field that must be there, with a value or any.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeaderRule {
    /// Field name; case does not count.
    pub name: String,
    /// The exact value; case counts. Absent: the field must only be present.
    pub value: Option<String>,
}

/// A header field of a message, borrowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Field<'a> {
    /// Name as sent.
    pub name: &'a str,
    /// Value without the white space around it. Bytes, since old clients send more than ASCII here.
    pub value: &'a [u8],
}

/// A request as rules see it: canonical, borrowed from wherever it was parsed.
#[derive(Clone, Copy, Debug)]
pub struct RequestView<'a> {
    /// Method as sent.
    pub method: &'a str,
    /// Canonical path with query.
    pub path: &'a str,
    /// Authority: of an absolute target, otherwise of the Host field; empty where a request of HTTP/1.0 has neither.
    pub host: &'a str,
    /// Header fields in order, as they are forwarded.
    pub headers: &'a [Field<'a>],
}

impl HeaderRule {
    /// Whether the fields have what the rule asks for. A field that comes several times has no one value, and so
    /// never equals the one asked for: servers differ in which of them they believe.
    pub fn matches(&self, fields: &[Field<'_>]) -> bool {
        let mut found = fields.iter().filter(|field| field.name.eq_ignore_ascii_case(&self.name));
        match (&self.value, found.next()) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(value), Some(field)) => field.value == value.as_bytes() && found.next().is_none(),
        }
    }
}
