//! The policies of a test: inline, as kubectl takes them, or in files by path; each with its own text.

use super::Load;
use crate::document::{self, Described};
use crate::item::{Fields, Item};
use crate::object::{Object, Policy};
use crate::report::Report;
use crate::yaml;

/// Reads two fields, one of manifests and one of paths; none where both are absent.
pub(super) fn read(
    fields: &mut Fields<'_>,
    inline: &'static str,
    files: &'static str,
    load: &mut Load<'_>,
) -> Option<Vec<(Policy, String)>> {
    let (inline, files) = (fields.take(inline), fields.take(files));
    if inline.is_none() && files.is_none() {
        return None;
    }
    let mut policies: Vec<(Policy, String)> =
        inline.iter().flat_map(Item::list).flat_map(|item| of_document(&item)).collect();
    for path in files.iter().flat_map(Item::list) {
        policies.extend(of_file(&path, load));
    }
    Some(policies)
}

fn of_document(item: &Item<'_>) -> Vec<(Policy, String)> {
    let described = document::read(item).into_iter();
    let policies = described.filter_map(|Described { object, document }| match object {
        Object::Policy(policy) => Some((policy, document.json())),
        _ => {
            document.error("is no policy; only policies may stand here");
            None
        }
    });
    policies.collect()
}

fn of_file(path: &Item<'_>, load: &mut Load<'_>) -> Vec<(Policy, String)> {
    let Some(file) = path.text() else { return Vec::new() };
    let text = match load(file) {
        Ok(text) => text,
        Err(error) => {
            path.error(format!("{file} cannot be read: {error}"));
            return Vec::new();
        }
    };
    let report = Report::on(file);
    let nodes = yaml::documents(&text, &report);
    let policies = nodes.iter().flat_map(|node| of_document(&Item::document(node, &report))).collect();
    path.report().adopt(report.finish());
    policies
}
