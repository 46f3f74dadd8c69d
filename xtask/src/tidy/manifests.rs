//! The fields that every crate's Cargo.toml must have: licence, purpose, lints.

use super::finding::{Finding, at};
use crate::tree::{Crate, File};

/// The kernel allows some helpers to GPL-compatible programs only.
const KERNEL_LICENSE: &str = "MIT OR GPL-2.0-only";
const LICENSE: &str = "Apache-2.0";

/// Crates whose manifest lacks a field.
pub(super) fn incomplete(crates: &[Crate], files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for one in crates {
        let mut lacks = |message: String| findings.push(at(&one.manifest, 1, message));
        let license = if one.manifest.starts_with("programs/") { KERNEL_LICENSE } else { LICENSE };
        if one.license.as_deref() != Some(license) {
            lacks(format!("license is {:?} and should be \"{license}\"", one.license));
        }
        if !one.description.as_ref().is_some_and(|text| text.ends_with('.')) {
            lacks("no description: one sentence, what the crate is for".into());
        }
        let text = files.iter().find(|file| file.path == one.manifest).map_or("", |file| &file.text);
        if !text.contains("[lints]\nworkspace = true") && !text.contains("[lints.") {
            lacks("no lints: `[lints] workspace = true`".into());
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::finding::testing::file;
    use super::*;

    fn check(manifest: &str, license: &str, description: &str, text: &str) -> usize {
        let one = Crate {
            name: "x".into(),
            manifest: manifest.into(),
            license: Some(license.into()),
            description: Some(description.into()),
            ..Crate::default()
        };
        incomplete(&[one], &[file(manifest, text)]).len()
    }

    #[test]
    fn each_part_that_is_left_out_is_found() {
        const LINTS: &str = "[lints]\nworkspace = true\n";
        assert_eq!(check("crates/x/Cargo.toml", "Apache-2.0", "Does it.", LINTS), 0);
        assert_eq!(check("crates/x/Cargo.toml", "MIT", "Does it.", LINTS), 1);
        assert_eq!(check("crates/x/Cargo.toml", "Apache-2.0", "", LINTS), 1);
        assert_eq!(check("crates/x/Cargo.toml", "Apache-2.0", "Does it.", ""), 1);
        assert_eq!(check("programs/Cargo.toml", "Apache-2.0", "Does it.", LINTS), 1);
        assert_eq!(check("programs/Cargo.toml", KERNEL_LICENSE, "Does it.", LINTS), 0);
    }
}
