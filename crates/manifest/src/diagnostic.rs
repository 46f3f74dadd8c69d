//! Findings about a manifest, with their positions.

use std::fmt;

/// One finding: position, field, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file, as the caller named it.
    pub file: String,
    /// Line, counted from 1.
    pub line: u32,
    /// Column, counted from 1.
    pub column: u32,
    /// The path of the field: `spec.ingress[0].toPorts[0].ports[0].port`; empty for a whole document.
    pub field: String,
    /// What was found, and what would be right.
    pub message: String,
    /// The severity.
    pub severity: Severity,
}

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The document is read; the author should know the finding.
    Warning,
    /// The document is valid, but needs a feature that Nexin does not have yet; it is refused.
    NotSupportedYet,
    /// The document is invalid; it is refused.
    Error,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}
