//! The table and the drawing of the crates in ARCHITECTURE.md must be fresh.

use super::finding::{Finding, at};
use crate::architecture::{FILE, rewritten};
use crate::tree::{Crate, File};

/// A part of ARCHITECTURE.md that is missing, or that `cargo xtask architecture` would change.
pub(super) fn stale(crates: &[Crate], files: &[File]) -> Option<Finding> {
    let text = files.iter().find(|file| file.path == FILE).map_or("", |file| &file.text);
    let fresh = rewritten(text, crates);
    let line = |fresh: &str| 1 + text.lines().zip(fresh.lines()).take_while(|(old, new)| old == new).count();
    match fresh {
        None => Some(at(
            FILE,
            1,
            "the marks of the part on the crates are missing: see xtask/src/architecture.rs",
        )),
        Some(fresh) if fresh == text => None,
        Some(fresh) => {
            Some(at(FILE, line(&fresh), "not what the crates are now: run `cargo xtask architecture`"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::testing::file;
    use super::*;

    #[test]
    fn a_part_that_is_missing_or_old_is_found_and_a_fresh_one_is_not() {
        let crates = [Crate { name: "abi".into(), ..Crate::default() }];
        let check = |text: &str| stale(&crates, &[file(FILE, text)]);
        assert!(check("# Architecture\n").is_some());
        let marks =
            "# A\n<!-- crates: `cargo xtask architecture` writes what follows -->\n<!-- /crates -->\n";
        assert_eq!(check(marks).map(|finding| finding.line), Some(3));
        assert_eq!(check(&rewritten(marks, &crates).unwrap()), None);
    }
}
