//! Links between the documents of the repository must have a target.

use super::finding::{Finding, at, numbered};
use crate::tree::File;

/// Links in Markdown to a file, directory or heading that is not there.
pub(super) fn broken(files: &[File]) -> Vec<Finding> {
    let documents = files.iter().filter(|file| file.path.ends_with(".md"));
    documents.flat_map(|document| of_document(document, files)).collect()
}

fn of_document(document: &File, files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, text) in numbered(&document.text) {
        for target in targets(text).filter(|target| !leads_outside(target)) {
            if !resolves(document, target, files) {
                findings.push(at(&document.path, line, format!("the link `{target}` leads nowhere")));
            }
        }
    }
    findings
}

/// The targets in the parentheses of `[text](target)`.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target)
}

fn leads_outside(target: &str) -> bool {
    target.contains("://") || target.starts_with("mailto:")
}

fn resolves(document: &File, target: &str, files: &[File]) -> bool {
    let (path, heading) = target.split_once('#').unwrap_or((target, ""));
    let path = if path.is_empty() { document.path.clone() } else { joined(&document.path, path) };
    let directory = format!("{path}/");
    match files.iter().find(|file| file.path == path) {
        Some(file) => heading.is_empty() || headings(&file.text).any(|slug| slug == heading),
        None => heading.is_empty() && files.iter().any(|file| file.path.starts_with(&directory)),
    }
}

/// The path of a relative link in a document.
fn joined(document: &str, relative: &str) -> String {
    let mut parts: Vec<&str> = document.split('/').collect();
    parts.pop();
    for part in relative.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.join("/")
}

/// Headings as the anchors that renderers make of them.
fn headings(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter(|line| line.starts_with('#')).map(|line| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        title
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::super::finding::testing::{file, lines};
    use super::*;

    #[test]
    fn a_link_that_leads_nowhere_is_found() {
        let files = [
            file(
                "docs/a.md",
                "[up](../README.md)\n[gone](b.md)\n[web](https://example.org/x)\n[dir](../crates)\n",
            ),
            file("README.md", "# Nexin: who, what\n[here](#nexin-who-what)\n[nowhere](docs/a.md#part)\n"),
            file("crates/abi/Cargo.toml", ""),
        ];
        let findings = broken(&files);
        assert_eq!(lines(&findings), [2, 3], "{findings:?}");
    }
}
