//! Everything that is found wrong with one file, in the order it is found.

use crate::diagnostic::{Diagnostic, Severity};
use crate::tree::TextPosition;
use std::cell::{Cell, RefCell};

/// Most findings that are told; whoever reads them has enough to do, and a hostile file cannot make more.
const MAX_FINDINGS: usize = 1000;

/// Collects findings. Readers hold it by shared reference, so that each can go on after what it could not read.
#[derive(Debug)]
pub(crate) struct Report {
    file: String,
    findings: RefCell<Vec<Diagnostic>>,
    skipped: Cell<usize>,
}

impl Report {
    /// An empty report on a file.
    pub(crate) fn on(file: &str) -> Self {
        Self { file: file.into(), findings: RefCell::default(), skipped: Cell::default() }
    }

    /// Adds a finding.
    pub(crate) fn add(
        &self,
        severity: Severity,
        place: TextPosition,
        field: &str,
        message: impl Into<String>,
    ) {
        self.push(Diagnostic {
            file: self.file.clone(),
            line: place.line,
            column: place.column,
            field: field.into(),
            message: message.into(),
            severity,
        });
    }

    /// Adds a finding, or, where there are too many, one last that says so. What is refused stays refused.
    fn push(&self, finding: Diagnostic) {
        let mut findings = self.findings.borrow_mut();
        if findings.len() < MAX_FINDINGS {
            findings.push(finding);
        } else if findings.len() == MAX_FINDINGS && finding.severity != Severity::Warning {
            let message = format!("more than {MAX_FINDINGS} findings; the rest is not told");
            findings.push(Diagnostic { field: String::new(), message, severity: Severity::Error, ..finding });
        }
    }

    /// Counts a document of a kind that is none of ours.
    pub(crate) fn skip(&self) {
        self.skipped.set(self.skipped.get() + 1);
    }

    /// How many documents were of other kinds.
    pub(crate) fn skipped(&self) -> usize {
        self.skipped.get()
    }

    /// Adds the findings on a file that this one refers to.
    pub(crate) fn adopt(&self, findings: Vec<Diagnostic>) {
        findings.into_iter().for_each(|finding| self.push(finding));
    }

    /// How many findings there are; a mark for [`Self::since`].
    pub(crate) fn mark(&self) -> usize {
        self.findings.borrow().len()
    }

    /// The findings since a mark for which a document is refused: all but warnings.
    pub(crate) fn refusals_since(&self, mark: usize) -> Vec<Diagnostic> {
        let findings = self.findings.borrow();
        findings[mark..].iter().filter(|finding| finding.severity != Severity::Warning).cloned().collect()
    }

    /// Whether nothing was found since a mark for which a document is refused.
    pub(crate) fn is_clean_since(&self, mark: usize) -> bool {
        let findings = self.findings.borrow();
        findings.len() <= MAX_FINDINGS
            && findings[mark..].iter().all(|finding| finding.severity == Severity::Warning)
    }

    /// All findings in the order of the file, then those on other files.
    pub(crate) fn finish(self) -> Vec<Diagnostic> {
        let mut findings = self.findings.into_inner();
        findings.sort_by_key(|finding| match finding.file == self.file {
            true => (0, finding.line, finding.column),
            // These are in order already.
            false => (1, 0, 0),
        });
        findings
    }
}
