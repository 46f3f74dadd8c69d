//! Why bytes are refused: the status to answer with, and the reason in words.

/// The bytes are not a message that is understood with certainty; whoever sent them is told, and the connection closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Status of the answer: 400, 417, 431, 501 or 505; for a response that is refused, 502.
    pub status: u16,
    /// What was wrong.
    pub reason: &'static str,
}

impl Refusal {
    /// 400: the request is malformed or ambiguous.
    pub(crate) const fn malformed(reason: &'static str) -> Self {
        Self { status: 400, reason }
    }

    /// The same reason, given of a response: the server is a bad gateway to go through.
    pub(crate) const fn of_response(self) -> Self {
        Self { status: 502, reason: self.reason }
    }
}
