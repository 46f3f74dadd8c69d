//! A name of a public type is declared by one crate: a reader who meets the name knows the type.

use super::finding::{Finding, at, numbered};
use crate::tree::{Crate, File};
use std::collections::BTreeMap;

/// The names that several crates may declare, each with the reason.
const SHARED: &[(&str, &str)] = &[];

const TYPES: &[&str] = &["struct", "enum", "union", "trait", "type"];

/// A declaration of a public type.
struct Declared<'a> {
    name: &'a str,
    owner: &'a Crate,
    path: &'a str,
    line: usize,
}

/// The declarations of public types whose name another crate declares too.
pub(super) fn names(crates: &[Crate], files: &[File]) -> Vec<Finding> {
    clashes(crates, files, SHARED)
}

fn clashes(crates: &[Crate], files: &[File], shared: &[(&str, &str)]) -> Vec<Finding> {
    let mut by_name: BTreeMap<&str, Vec<Declared<'_>>> = BTreeMap::new();
    for declared in crates.iter().flat_map(|owner| of_crate(owner, files)) {
        by_name.entry(declared.name).or_default().push(declared);
    }
    by_name.retain(|name, _| !shared.iter().any(|(known, _)| known == name));
    by_name.values().flat_map(|declarations| among(declarations)).collect()
}

/// A finding for each declaration, where more than one crate has a declaration.
fn among(declarations: &[Declared<'_>]) -> Vec<Finding> {
    let mut owners: Vec<&str> = declarations.iter().map(|declared| declared.owner.name.as_str()).collect();
    owners.sort_unstable();
    owners.dedup();
    let found = declarations.iter().filter(|_| owners.len() > 1);
    let finding = |declared: &Declared<'_>| {
        let message = format!(
            "`{}` is a public type of {}: rename all but one, so that the name says whose it is",
            declared.name,
            owners.join(", ")
        );
        at(declared.path, declared.line, message)
    };
    found.map(finding).collect()
}

/// The public types that the sources of a crate declare. The lint `unreachable_pub` refuses `pub` for others.
fn of_crate<'a>(owner: &'a Crate, files: &'a [File]) -> impl Iterator<Item = Declared<'a>> {
    let source = format!("{}src/", owner.directory());
    let sources =
        files.iter().filter(move |file| file.path.starts_with(&source) && file.path.ends_with(".rs"));
    sources.flat_map(move |file| {
        let declared =
            move |(line, text)| Some(Declared { name: public_type(text)?, owner, path: &file.path, line });
        numbered(&file.text).filter_map(declared)
    })
}

/// The name of the public type that a line declares.
fn public_type(line: &str) -> Option<&str> {
    let mut words = line.trim_start().strip_prefix("pub ")?.split_whitespace().peekable();
    words.next_if_eq(&"unsafe");
    words.next().filter(|word| TYPES.contains(word))?;
    let rest = words.next()?;
    let length = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
    Some(&rest[..length.unwrap_or(rest.len())])
}

#[cfg(test)]
mod tests {
    use super::super::finding::testing::file;
    use super::*;

    fn named(name: &str) -> Crate {
        Crate { name: name.into(), manifest: format!("crates/{name}/Cargo.toml"), ..Crate::default() }
    }

    fn found(files: &[File], shared: &[(&str, &str)]) -> Vec<(String, usize)> {
        let findings = clashes(&[named("a"), named("b")], files, shared);
        findings.into_iter().map(|finding| (finding.path, finding.line)).collect()
    }

    #[test]
    fn a_public_type_that_two_crates_declare_is_found_in_both() {
        let files = [
            file("crates/a/src/lib.rs", "/// X.\npub struct Policy<T>(T);\npub enum Kind {}\n"),
            file("crates/b/src/x.rs", "pub unsafe trait Policy: Sized {}\n"),
        ];
        let both = [("crates/a/src/lib.rs".to_owned(), 2), ("crates/b/src/x.rs".to_owned(), 1)];
        assert_eq!(found(&files, &[]), both);
        assert_eq!(found(&files, &[("Kind", "known")]), both);
        assert_eq!(found(&files, &[("Policy", "known")]), []);
    }

    #[test]
    fn types_of_one_crate_or_of_its_inside_are_no_clash() {
        let files = [
            file("crates/a/src/x.rs", "pub type Kind = u8;\n"),
            file("crates/a/src/y.rs", "pub union Kind {}\n"),
            file(
                "crates/b/src/lib.rs",
                "pub(crate) struct Kind;\nstruct Kind;\n// pub struct Kind;\npub fn Kind() {}\n",
            ),
            file("crates/b/tests/kind.rs", "pub struct Kind;\n"),
        ];
        assert_eq!(found(&files, &[]), []);
    }
}
