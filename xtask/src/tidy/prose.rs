//! The first sentence of a file, and paths of one machine, which no file may contain.

use super::finding::{Finding, at, numbered};
use crate::tree::File;

/// Directories of one machine, written so that this file does not hold them.
const MACHINE_PATHS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];

/// Mentions of a directory that other machines do not have.
pub(super) fn machine_paths(file: &File) -> Vec<Finding> {
    let lines = numbered(&file.text);
    lines
        .filter_map(|(line, text)| Some((line, MACHINE_PATHS.iter().find(|path| text.contains(**path))?)))
        .map(|(line, path)| at(&file.path, line, format!("`{path}` is a path of one machine")))
        .collect()
}

/// A Rust file or script that does not begin with one sentence on what it is for.
pub(super) fn first_sentence(file: &File) -> Option<Finding> {
    let (line, marker) = match file.text.lines().next() {
        _ if file.path.ends_with(".rs") => (1, "//!"),
        Some(first) if first.starts_with("#!") => (2, "#"),
        _ => return None,
    };
    let paragraph =
        file.text.lines().skip(line - 1).map_while(|text| text.strip_prefix(marker)?.strip_prefix(' '));
    let last = paragraph.last().map(str::trim_end);
    let missing = !last.is_some_and(|text| text.ends_with(['.', ':']));
    missing
        .then(|| at(&file.path, line, format!("begins with no `{marker}` sentence on what the file is for")))
}

#[cfg(test)]
mod tests {
    use super::super::finding::testing::{file, lines};
    use super::*;

    #[test]
    fn a_path_of_one_machine_is_found() {
        let text = format!("See the design.\nIn {}x.\n", MACHINE_PATHS[0]);
        assert_eq!(lines(&machine_paths(&file("README.md", &text))), [2]);
    }

    #[test]
    fn a_rust_file_begins_with_a_sentence() {
        assert!(first_sentence(&file("a.rs", "use b;\n")).is_some());
        assert!(first_sentence(&file("a.rs", "//!\n//! Late.\n")).is_some());
        assert!(first_sentence(&file("a.rs", "//! No end\nuse b;\n")).is_some());
        assert!(first_sentence(&file("a.rs", "//! Says what\n//! it is for.\n//!\n//! More\n")).is_none());
    }

    #[test]
    fn a_script_says_it_after_the_shebang() {
        assert!(first_sentence(&file("run", "#!/bin/sh\nset -e\n")).is_some());
        assert!(first_sentence(&file("run", "#!/bin/sh\n# Runs it.\n")).is_none());
        assert!(first_sentence(&file("notes.md", "# Notes\n")).is_none());
    }
}
