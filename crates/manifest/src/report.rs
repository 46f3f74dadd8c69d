//! The findings on one file, in the order in which they are found.

use crate::diagnostic::{Diagnostic, Severity};
use crate::tree::TextPosition;
use std::cell::{Cell, RefCell};

/// The most findings that are kept, so that a hostile file cannot produce more.
const MAX_FINDINGS: usize = 1000;

/// Collects findings. Readers share it by reference, so that each can continue after an error.
#[derive(Debug)]
pub(crate) struct Report {
    file: String,
    findings: RefCell<Vec<Diagnostic>>,
    skipped: Cell<usize>,
}

impl Report {
    /// An empty report for a file.
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

    /// Adds a finding; beyond the limit one last finding that reports the limit. A refused file stays refused.
    fn push(&self, finding: Diagnostic) {
        let mut findings = self.findings.borrow_mut();
        if findings.len() < MAX_FINDINGS {
            findings.push(finding);
        } else if findings.len() == MAX_FINDINGS && finding.severity != Severity::Warning {
            let message = format!("more than {MAX_FINDINGS} findings; further findings are omitted");
            findings.push(Diagnostic { field: String::new(), message, severity: Severity::Error, ..finding });
        }
    }

    /// Counts a skipped document.
    pub(crate) fn skip(&self) {
        self.skipped.set(self.skipped.get() + 1);
    }

    /// The number of skipped documents.
    pub(crate) fn skipped(&self) -> usize {
        self.skipped.get()
    }

    /// Adds the findings on a file that this file refers to.
    pub(crate) fn adopt(&self, findings: Vec<Diagnostic>) {
        findings.into_iter().for_each(|finding| self.push(finding));
    }

    /// The number of findings, for [`Self::refusals_since`] and [`Self::is_clean_since`].
    pub(crate) fn mark(&self) -> usize {
        self.findings.borrow().len()
    }

    /// The findings since a mark that refuse a document: all except warnings.
    pub(crate) fn refusals_since(&self, mark: usize) -> Vec<Diagnostic> {
        let findings = self.findings.borrow();
        findings[mark..].iter().filter(|finding| finding.severity != Severity::Warning).cloned().collect()
    }

    /// Whether no finding since a mark refuses a document.
    pub(crate) fn is_clean_since(&self, mark: usize) -> bool {
        let findings = self.findings.borrow();
        findings.len() <= MAX_FINDINGS
            && findings[mark..].iter().all(|finding| finding.severity == Severity::Warning)
    }

    /// All findings: those on this file by position, then those on other files.
    pub(crate) fn finish(self) -> Vec<Diagnostic> {
        let mut findings = self.findings.into_inner();
        findings.sort_by_key(|finding| match finding.file == self.file {
            true => (0, finding.line, finding.column),
            // Findings on other files are in order already.
            false => (1, 0, 0),
        });
        findings
    }
}
