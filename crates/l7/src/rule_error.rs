//! Why rules are refused.

use std::fmt;

/// Which rule was refused, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError {
    /// Index of the rule.
    pub rule: usize,
    /// The part of the rule.
    pub field: RuleField,
    /// Offset in bytes into that part.
    pub position: usize,
    /// The error, for people.
    pub message: &'static str,
}

/// Parts of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleField {
    /// [`HttpRule::method`].
    Method,
    /// [`HttpRule::path`].
    Path,
    /// [`HttpRule::host`].
    Host,
    /// The name of the entry with this index in [`HttpRule::headers`].
    Header(usize),
}

impl fmt::Display for RuleField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method => f.write_str("method"),
            Self::Path => f.write_str("path"),
            Self::Host => f.write_str("host"),
            Self::Header(index) => write!(f, "headers[{index}]"),
        }
    }
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http[{}].{}: {} (at offset {})", self.rule, self.field, self.message, self.position)
    }
}

impl std::error::Error for RuleError {}
