//! Files of PolicyTest documents, read from the paths of a command line.

use manifest::test::TestDocument;
use manifest::{Diagnostic, Severity};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// The endings of files with tests.
const ENDINGS: [&str; 3] = [".test.yaml", ".test.yml", ".test.json"];

/// The documents of some files, in order.
#[derive(Clone, Debug, Default)]
pub struct Suite {
    /// The documents.
    pub documents: Vec<TestDocument>,
    /// Warnings and notes on the files.
    pub warnings: Vec<Diagnostic>,
}

/// Why the input cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum SuiteError {
    /// A path cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A directory without tests.
    #[error("{}: no file here ends in .test.yaml, .test.yml or .test.json", .0.display())]
    NoTests(PathBuf),
    /// Files with errors: every finding of every file.
    #[error("{}", lines(.0))]
    Wrong(Vec<Diagnostic>),
}

impl Suite {
    /// Reads files, and all tests of directories.
    pub fn read(paths: &[PathBuf]) -> Result<Self, SuiteError> {
        let mut suite = Self::default();
        let mut wrong = Vec::new();
        for path in paths {
            for file in files(path)? {
                match parse(&file)? {
                    Ok(tests) => {
                        suite.warnings.extend(idle(&file, &tests.documents));
                        suite.documents.extend(tests.documents);
                        suite.warnings.extend(tests.warnings);
                    }
                    Err(findings) => wrong.extend(findings),
                }
            }
        }
        if wrong.is_empty() { Ok(suite) } else { Err(SuiteError::Wrong(wrong)) }
    }
}

/// The documents of a file without a probe: a user would take them for tests that pass.
fn idle(file: &Path, documents: &[TestDocument]) -> Vec<Diagnostic> {
    let finding = |line, message: &str| Diagnostic {
        file: file.display().to_string(),
        line,
        column: 1,
        field: String::new(),
        message: message.to_owned(),
        severity: Severity::Warning,
    };
    if documents.is_empty() {
        return vec![finding(1, "there is no test here")];
    }
    let asks = |document: &&TestDocument| match &document.test {
        Ok(test) => test.steps.iter().any(|step| !step.probes.is_empty()),
        Err(_) => true,
    };
    let idle = documents.iter().filter(|document| !asks(document));
    idle.map(|one| finding(one.line, "asks nothing; list `probes` or a `matrix`")).collect()
}

/// The tests of a file, or its errors; paths in the file are relative to its directory.
fn parse(file: &Path) -> Result<Result<manifest::test::TestFile, Vec<Diagnostic>>, SuiteError> {
    let text = fs::read_to_string(file).map_err(|error| unreadable(file, error))?;
    let directory = file.parent().unwrap_or(Path::new(""));
    let mut load = |path: &str| fs::read_to_string(directory.join(path));
    Ok(manifest::test::parse(&file.display().to_string(), &text, &mut load))
}

fn files(path: &Path) -> Result<Vec<PathBuf>, SuiteError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    collect(path, &mut found)?;
    found.sort();
    if found.is_empty() { Err(SuiteError::NoTests(path.to_owned())) } else { Ok(found) }
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) -> Result<(), SuiteError> {
    for entry in fs::read_dir(directory).map_err(|error| unreadable(directory, error))? {
        let entry = entry.map_err(|error| unreadable(directory, error))?;
        let kind = entry.file_type().map_err(|error| unreadable(directory, error))?;
        let name = entry.file_name();
        // A symbolic link to a directory is not followed: it may lead back here.
        if kind.is_dir() {
            collect(&entry.path(), found)?;
        } else if ENDINGS.iter().any(|ending| name.to_string_lossy().ends_with(ending)) {
            found.push(entry.path());
        }
    }
    Ok(())
}

fn unreadable(path: &Path, source: io::Error) -> SuiteError {
    SuiteError::Unreadable { path: path.to_owned(), source }
}

fn lines(findings: &[Diagnostic]) -> String {
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
