//! The shape of the tree: what `cargo xtask tidy` holds every file and every crate to.

mod arrows;
mod attributes;
mod length;
mod links;
mod manifests;
mod names;
mod prose;
mod purity;

use crate::tree::{Crate, File};
use std::fmt;

/// One thing that is out of shape.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    path: String,
    line: usize,
    message: String,
}

/// Runs every check; findings come ordered by place.
pub(crate) fn check(files: &[File], crates: &[Crate]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = files.iter().flat_map(of_file).collect();
    findings.extend(links::broken(files));
    findings.extend(arrows::outward(crates));
    findings.extend(manifests::incomplete(crates, files));
    findings.extend(purity::unforbidden(crates, files));
    findings.sort();
    findings
}

/// The checks that need one file alone.
fn of_file(file: &File) -> Vec<Finding> {
    let mut findings = prose::machine_paths(file);
    findings.extend(names::banned(file));
    findings.extend(prose::first_sentence(file));
    if file.path.ends_with(".rs") {
        findings.extend(length::excesses(file));
        findings.extend(attributes::unreasoned(file));
        findings.extend(attributes::unproven(file));
        findings.extend(attributes::skipped(file));
        findings.extend(purity::effects(file));
    }
    findings
}

/// A finding in a file, with its line counted from 1.
fn at(path: &str, line: usize, message: impl Into<String>) -> Finding {
    Finding { path: path.into(), line, message: message.into() }
}

/// The lines of a file with their numbers, from 1.
fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

#[cfg(test)]
mod testing {
    use super::{File, Finding};

    /// A file to check.
    pub(super) fn file(path: &str, text: &str) -> File {
        File { path: path.into(), text: text.into() }
    }

    /// The lines that findings are on.
    pub(super) fn lines(findings: &[Finding]) -> Vec<usize> {
        findings.iter().map(|finding| finding.line).collect()
    }
}
