//! The error of parsing a message: a status for the response, and a reason.

/// The bytes are no message, or an ambiguous one. The sender gets a response with this status, and the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status of the response: 400, 417, 431, 501 or 505; 502 where a server sent the bytes.
    pub status: u16,
    /// The error, for people.
    pub reason: &'static str,
}

impl Refusal {
    /// 400: the request is malformed or ambiguous.
    pub(crate) const fn malformed(reason: &'static str) -> Self {
        Self { status: 400, reason }
    }

    /// The same reason with status 502, for the response of a server.
    pub(crate) const fn of_response(self) -> Self {
        Self { status: 502, reason: self.reason }
    }
}
