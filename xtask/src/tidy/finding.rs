//! What a check finds: one thing that is out of shape, with its place.

use std::fmt;

/// One thing that is out of shape.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    pub(super) path: String,
    pub(super) line: usize,
    pub(super) message: String,
}

/// A finding in a file, with its line counted from 1.
pub(super) fn at(path: &str, line: usize, message: impl Into<String>) -> Finding {
    Finding { path: path.into(), line, message: message.into() }
}

/// The lines of a file with their numbers, from 1.
pub(super) fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::Finding;
    use crate::tree::File;

    /// A file to check.
    pub(crate) fn file(path: &str, text: &str) -> File {
        File { path: path.into(), text: text.into() }
    }

    /// The lines that findings are on.
    pub(crate) fn lines(findings: &[Finding]) -> Vec<usize> {
        findings.iter().map(|finding| finding.line).collect()
    }
}
