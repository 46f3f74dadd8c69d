//! HTTP rules and the request that they match, as plain data.

/// One HTTP rule. It matches a request that matches all of its parts; a part that is absent matches every request.
///
/// `method`, `path` and `host` are regular expressions in RE2's syntax, matched against the whole value. The path
/// includes the query string; the host includes the port as sent. All are case-sensitive.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HttpRule {
    /// Expression for the method.
    pub method: Option<String>,
    /// Expression for the path with its query.
    pub path: Option<String>,
    /// Expression for the authority. An HTTP/1.0 request without an authority never matches it.
    pub host: Option<String>,
    /// Header fields that the request must have.
    pub headers: Vec<HeaderRule>,
}

/// A header field that the request must have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeaderRule {
    /// The name of the field, case-insensitive.
    pub name: String,
    /// The exact value, case-sensitive; none matches any value.
    pub value: Option<String>,
}

/// A header field of a message, borrowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Field<'a> {
    /// Name as sent.
    pub name: &'a str,
    /// Value without surrounding white space. It is bytes, because old clients send characters outside ASCII.
    pub value: &'a [u8],
}

/// The parts of a canonical request that rules match.
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
    /// True where the fields match the rule. A field that occurs several times matches no value, because servers differ in
    /// which of the values they use.
    pub fn matches(&self, fields: &[Field<'_>]) -> bool {
        let mut found = fields.iter().filter(|field| field.name.eq_ignore_ascii_case(&self.name));
        match (&self.value, found.next()) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(value), Some(field)) => field.value == value.as_bytes() && found.next().is_none(),
        }
    }
}
