//! The parts of upstream's end-to-end tests that have a name here, and the tests that they leave out.

use crate::tree;
use anyhow::{Context, Result, bail, ensure};

/// The page with a table of the tests that are left out, and why.
const PAGE: &str = "docs/conformance.md";

/// A part of upstream's tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Suite {
    pub(super) name: &'static str,
    /// A regular expression that the names of its tests match.
    pub(super) focus: &'static str,
}

/// A test that is left out of a suite, by a part of its name, and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LeftOut {
    pub(super) test: String,
    pub(super) reason: String,
}

/// All suites.
pub(super) const SUITES: &[Suite] = &[
    Suite { name: "policy", focus: r"\[sig-network\] Netpol" },
    Suite { name: "conformance", focus: r"\[sig-network\].*\[Conformance\]" },
    Suite { name: "services", focus: r"\[sig-network\] Services" },
    Suite { name: "short", focus: SHORT },
];

/// Ten tests of policies that together cover the most: default deny of both directions, peers by pod, namespace and block
/// of addresses, ports by number and name, a changed pod, a changed policy, and several policies for one pod.
const SHORT: &str = r"\[sig-network\] Netpol NetworkPolicy between server and client should (support a 'default-deny-all' policy|enforce policy based on PodSelector and NamespaceSelector \[|enforce policy based on Ports|allow ingress access on one named port|allow egress access on one named port|deny egress from all pods in a namespace|enforce except clause while egress access to server in CIDR block|allow ingress access from updated pod|enforce updated policy|enforce multiple, stacked policies with overlapping podSelectors)";

/// The suite of this name.
pub(super) fn find(name: &str) -> Option<Suite> {
    SUITES.iter().copied().find(|suite| suite.name == name)
}

impl Suite {
    /// The tests that the page leaves out of this suite. A row that matches no test is an error: it is out of date.
    pub(super) fn left_out(self, names: &[String]) -> Result<Vec<LeftOut>> {
        let path = tree::root().join(PAGE);
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
        let left_out = rows(&text, self.name)?;
        for one in &left_out {
            let matches = names.iter().any(|name| name.contains(&one.test));
            ensure!(
                matches,
                "{PAGE} leaves `{}` out of the suite {}, which has no such test",
                one.test,
                self.name
            );
        }
        Ok(left_out)
    }
}

/// The rows of the page's table for a suite: its name, a part of the test's name between backquotes, and the reason.
fn rows(text: &str, suite: &str) -> Result<Vec<LeftOut>> {
    let mut found = Vec::new();
    for line in text.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", row_suite, test, reason, ""] = cells[..] else { continue };
        let Some(test) = test.strip_prefix('`').and_then(|test| test.strip_suffix('`')) else { continue };
        if find(row_suite).is_none() {
            bail!("{PAGE} names the suite `{row_suite}`, which does not exist");
        }
        if row_suite == suite {
            found.push(LeftOut { test: test.to_owned(), reason: reason.to_owned() });
        }
    }
    Ok(found)
}

/// A regular expression that matches names with one of these parts.
pub(super) fn expression(left_out: &[LeftOut]) -> Option<String> {
    let parts: Vec<String> = left_out.iter().map(|one| literal(&one.test)).collect();
    (!parts.is_empty()).then(|| parts.join("|"))
}

/// A regular expression that matches this text and nothing else.
fn literal(text: &str) -> String {
    let mut written = String::new();
    for character in text.chars() {
        if character.is_ascii_punctuation() {
            written.push('\\');
        }
        written.push(character);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "| suite | test | reason |\n|---|---|---|\n| policy | `uses [SCTP]` | no SCTP here |\n\
                         | services | `needs a cloud` | there is none |\n\nText | with a `bar` | in it.\n";

    #[test]
    fn a_row_leaves_a_test_out_of_its_suite_only() {
        let row = LeftOut { test: "uses [SCTP]".into(), reason: "no SCTP here".into() };
        assert_eq!(rows(TABLE, "policy").unwrap(), [row]);
        assert_eq!(rows(TABLE, "conformance").unwrap(), []);
        assert!(rows("| plicy | `a` | b |", "policy").is_err());
    }

    #[test]
    fn names_are_matched_letter_by_letter() {
        let left_out = rows(TABLE, "policy").unwrap();
        assert_eq!(expression(&left_out).unwrap(), r"uses \[SCTP\]");
        assert_eq!(expression(&[]), None);
    }

    #[test]
    fn a_row_without_its_test_is_out_of_date() {
        let suite = find("policy").unwrap();
        assert_eq!(find("polic"), None);
        let all = rows(&std::fs::read_to_string(tree::root().join(PAGE)).unwrap(), suite.name).unwrap();
        let names: Vec<String> = all.iter().map(|one| format!("[sig-network] {}", one.test)).collect();
        assert_eq!(suite.left_out(&names).unwrap(), all);
        if !all.is_empty() {
            assert!(suite.left_out(&[]).is_err());
        }
    }
}
