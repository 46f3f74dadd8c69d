//! Every field of every schema occurs in an accepted example, or, if it is not supported yet, in an example that is
//! refused for that reason only.

use manifest::Severity;
use saphyr_parser::{Event, Parser};
use std::collections::BTreeSet;

#[test]
fn of_the_cilium_kinds() {
    let later = include_str!("schema/cilium.later.yaml");
    check(include_str!("schema/cilium.txt"), include_str!("schema/cilium.yaml"), later);
}

#[test]
fn of_network_policy() {
    check(include_str!("schema/network_policy.txt"), include_str!("schema/network_policy.yaml"), "");
}

#[test]
fn of_cluster_network_policy() {
    check(include_str!("schema/cluster.txt"), include_str!("schema/cluster.yaml"), "");
}

#[test]
fn of_admin_network_policies() {
    check(include_str!("schema/admin.txt"), include_str!("schema/admin.yaml"), "");
}

#[test]
fn of_what_policies_refer_to() {
    check(include_str!("schema/referred.txt"), include_str!("schema/referred.yaml"), "");
}

#[test]
fn of_policy_test() {
    let (schema, text) = (include_str!("schema/policy_test.txt"), include_str!("schema/policy_test.yaml"));
    let mut load = |_: &str| Ok(include_str!("tutorial/rule1-v2.yaml").to_owned());
    let tests = manifest::test::parse("test.yaml", text, &mut load)
        .unwrap_or_else(|findings| panic!("{findings:#?}"));
    assert_eq!(tests.warnings, []);
    assert!(tests.documents.iter().all(|document| document.test.is_ok()));
    covers(schema, text, "");
}

fn check(schema: &str, accepted: &str, later: &str) {
    let manifest =
        manifest::parse("accepted.yaml", accepted).unwrap_or_else(|findings| panic!("{findings:#?}"));
    assert_eq!(manifest.warnings, []);
    if !later.is_empty() {
        let findings = manifest::parse("later.yaml", later).expect_err("nothing of it is supported");
        let wrong: Vec<_> =
            findings.iter().filter(|finding| finding.severity != Severity::NotSupportedYet).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
    covers(schema, accepted, later);
}

/// Whether each field of the schema, with each of its values, is in the examples that it belongs to.
fn covers(schema: &str, accepted: &str, later: &str) {
    let (accepted, later) = (occurring(accepted), occurring(later));
    let lines = schema.lines().filter(|line| !line.starts_with('#'));
    for (examples, line) in lines.map(|line| match line.strip_prefix("later ") {
        Some(line) => (&later, line),
        None => (&accepted, line),
    }) {
        let (field, values) = line.split_once(": ").unwrap_or((line, ""));
        assert!(examples.contains(field), "{field} is in no example");
        for value in values.split_whitespace() {
            assert!(examples.contains(&format!("{field}={value}")), "{field} is {value} in no example");
        }
    }
}

/// The fields of all documents, without the indices of lists, each also with each of its values: `a.b` and `a.b=c`.
/// What stands in an entry of `specs` counts as in `spec`.
fn occurring(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open: Vec<Open> = Vec::new();
    for event in Parser::new_from_str(text) {
        match event.expect("it is YAML").0 {
            Event::MappingStart(..) => open.push(Open::Map(None)),
            Event::SequenceStart(..) => open.push(Open::List),
            Event::MappingEnd | Event::SequenceEnd => {
                open.pop();
                value_ends(&mut open);
            }
            Event::Scalar(text, ..) => match open.last_mut() {
                Some(Open::Map(key @ None)) => {
                    *key = Some(text.into_owned());
                    let path = path(&open);
                    found.insert(path.replacen("specs", "spec", 1));
                    found.insert(path);
                }
                _ => {
                    found.insert(format!("{}={text}", path(&open).replacen("specs", "spec", 1)));
                    value_ends(&mut open);
                }
            },
            _ => {}
        }
    }
    found
}

/// A list, or a mapping and the key whose value is being read.
enum Open {
    List,
    Map(Option<String>),
}

fn value_ends(open: &mut [Open]) {
    if let Some(Open::Map(key)) = open.last_mut() {
        *key = None;
    }
}

fn path(open: &[Open]) -> String {
    let keys = open.iter().filter_map(|open| match open {
        Open::Map(key) => key.as_deref(),
        Open::List => None,
    });
    keys.collect::<Vec<_>>().join(".")
}
