//! Names without meaning: a file or module with such a name collects anything.

use super::finding::{Finding, at, numbered};
use crate::tree::{File, stem};

const BANNED: &[&str] =
    &["common", "core", "error", "errors", "helper", "helpers", "misc", "shared", "types", "util", "utils"];

/// Files, directories and functions with such a name.
pub(super) fn banned(file: &File) -> Vec<Finding> {
    let (directories, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
    let mut findings = Vec::new();
    for part in directories.split('/').chain([stem(name)]).filter(|part| BANNED.contains(part)) {
        findings.push(at(
            &file.path,
            1,
            format!("`{part}` is no name: say what belongs in it and what does not"),
        ));
    }
    if file.path.ends_with(".rs") {
        let getters = numbered(&file.text).filter(|(_, line)| line.contains(concat!("fn ge", "t_")));
        findings
            .extend(getters.map(|(line, _)| at(&file.path, line, "a function is named for what it gives")));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::finding::testing::{file, lines};
    use super::*;

    #[test]
    fn a_name_without_meaning_is_found_in_files_and_directories() {
        assert_eq!(banned(&file("crates/abi/src/utils.rs", "")).len(), 1);
        assert_eq!(banned(&file("crates/common/src/lib.rs", "")).len(), 1);
        assert_eq!(banned(&file("crates/abi/src/address.rs", "")), []);
    }

    #[test]
    fn a_getter_by_name_is_found() {
        let text = concat!("fn port() {}\npub fn ge", "t_port() {}\n");
        assert_eq!(lines(&banned(&file("a.rs", text))), [2]);
    }
}
