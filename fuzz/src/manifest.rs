//! Manifests and tests in YAML and JSON: parsed or refused in bounded time, with a position in the text for each finding.

use crate::cost::bounded;
use manifest::{Diagnostic, Manifest};
use std::io;

/// The name of the file.
const FILE: &str = "file.yaml";
/// A manifest that tests may refer to.
const REFERRED: &str = include_str!("../../crates/manifest/tests/tutorial/rule1-v1.yaml");

/// Parses a text as manifests and as tests.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = manifest::kind_named(text);
    assert!(manifest::parsers_agree(text), "the parsers of YAML differ");
    check_manifest(text, bounded(|| manifest::parse(FILE, text)));
    let tests = bounded(|| manifest::test::parse(FILE, text, &mut load));
    match tests {
        Ok(tests) => {
            tests.warnings.iter().for_each(|finding| check_place(text, finding));
            for document in tests.documents {
                assert!(!document.name.is_empty());
                document.test.err().iter().flatten().for_each(|finding| check_place(text, finding));
            }
        }
        Err(findings) => check_refused(text, &findings),
    }
}

fn check_manifest(text: &str, manifest: Result<Manifest, Vec<Diagnostic>>) {
    match &manifest {
        Ok(read) => read.warnings.iter().for_each(|finding| check_place(text, finding)),
        Err(findings) => check_refused(text, findings),
    }
    assert_eq!(manifest, manifest::parse(FILE, text), "parsing is deterministic");
}

/// Loads a file that a test refers to: some do not exist, some are invalid, and all others are valid.
fn load(path: &str) -> io::Result<String> {
    match path.len() % 4 {
        0 => Err(io::ErrorKind::NotFound.into()),
        1 => Ok(format!("{REFERRED}---\n{{")),
        _ => Ok(REFERRED.to_owned()),
    }
}

fn check_refused(text: &str, findings: &[Diagnostic]) {
    assert!(!findings.is_empty(), "refused without a reason");
    findings.iter().for_each(|finding| check_place(text, finding));
}

/// A finding has its position in the text, unless it concerns another file.
fn check_place(text: &str, finding: &Diagnostic) {
    assert!(!finding.message.is_empty() && !finding.to_string().is_empty());
    assert!(finding.line >= 1 && finding.column >= 1, "{finding:?}");
    if finding.file != FILE {
        return;
    }
    let lines: Vec<&str> = text.split('\n').collect();
    let line = finding.line as usize - 1;
    // YAML also ends lines with a carriage return alone.
    let returns = text.matches('\r').count();
    assert!(line < lines.len() + returns, "{finding:?} is after the last of {} lines", lines.len());
    if returns == 0 {
        let length = lines[line].chars().count();
        assert!(finding.column as usize <= length + 1, "{finding:?} is after the end of a line of {length}");
    }
}
