//! A lint or test that is switched off needs a reason; an unsafe block needs a proof, also where clippy does not look.

use super::finding::{Finding, at, numbered};
use crate::tree::File;

/// Attributes that switch a lint off without a reason.
pub(super) fn unreasoned(file: &File) -> Vec<Finding> {
    let openings = numbered(&file.text).filter(|(_, line)| {
        let line = line.trim_start();
        ["#[", "#!["].iter().any(|mark| {
            line.strip_prefix(mark)
                .is_some_and(|rest| rest.starts_with("allow(") || rest.starts_with("expect("))
        })
    });
    let reasoned = |line: usize| {
        let attribute = file.text.lines().skip(line - 1).scan(false, |ended, text| {
            let before = std::mem::replace(ended, text.contains(")]"));
            (!before).then_some(text)
        });
        attribute.collect::<String>().contains("reason = \"")
    };
    openings
        .filter(|(line, _)| !reasoned(*line))
        .map(|(line, _)| at(&file.path, line, "a lint is switched off without `reason = \"…\"`"))
        .collect()
}

/// Ignored tests without the mark `needs root`, the only one that `scripts/test` knows and runs.
pub(super) fn skipped(file: &File) -> Vec<Finding> {
    let marks = numbered(&file.text).filter(|(_, line)| line.trim_start().starts_with("#[ignore"));
    let unknown = marks.filter(|(_, line)| line.trim() != "#[ignore = \"needs root\"]");
    unknown
        .map(|(line, _)| at(&file.path, line, "a test is skipped for no reason but `needs root`"))
        .collect()
}

/// Unsafe blocks and implementations without a `SAFETY:` comment before them.
pub(super) fn unproven(file: &File) -> Vec<Finding> {
    let lines: Vec<&str> = file.text.lines().collect();
    let unsafe_lines = numbered(&file.text).filter(|(_, line)| {
        let code = line.split("//").next().unwrap_or_default();
        [concat!("unsa", "fe {"), concat!("unsa", "fe impl")].iter().any(|mark| code.contains(mark))
    });
    unsafe_lines
        .filter(|(line, _)| !lines[line.saturating_sub(7)..*line].iter().any(|text| text.contains("SAFETY:")))
        .map(|(line, _)| at(&file.path, line, "no `// SAFETY:` says why this holds"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::finding::testing::{file, lines};
    use super::*;

    #[test]
    fn a_lint_switched_off_without_a_reason_is_found() {
        let text = "#![allow(x, reason = \"y\")]\n#[expect(\n    x,\n    reason = \"y\"\n)]\n#[allow(x)]\nfn a() {}\n";
        assert_eq!(lines(&unreasoned(&file("a.rs", text))), [6]);
    }

    #[test]
    fn a_test_that_is_skipped_for_another_reason_is_found() {
        let text = "#[ignore = \"needs root\"]\n    #[ignore]\n#[ignore = \"flaky\"]\n";
        assert_eq!(lines(&skipped(&file("a.rs", text))), [2, 3]);
    }

    #[test]
    fn an_unsafe_block_without_a_proof_is_found() {
        let block = concat!("let x = unsa", "fe { y() };\n");
        assert_eq!(lines(&unproven(&file("a.rs", block))), [1]);
        assert_eq!(unproven(&file("a.rs", &format!("// SAFETY: y has no conditions.\n{block}"))), []);
    }
}
