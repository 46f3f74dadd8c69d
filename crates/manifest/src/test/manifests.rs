//! The manifests of a test: inline, or files by path; each object with its own text.

use crate::document::{self, DescribedObject};
use crate::item::{Fields, Item};
use crate::object::Object;
use crate::report::Report;
use crate::yaml;
use std::io;

/// Returns the text of a file that a test refers to, by the path in the test.
pub type Load<'a> = dyn FnMut(&str) -> io::Result<String> + 'a;

/// An object and the manifest that describes it, as JSON.
pub(super) type ObjectWithManifest = (Object, String);

/// Reads two fields, one of manifests and one of paths; none where both are absent.
pub(super) fn read(
    fields: &mut Fields<'_>,
    inline: &'static str,
    files: &'static str,
    load: &mut Load<'_>,
) -> Option<Vec<ObjectWithManifest>> {
    let (inline, files) = (fields.take(inline), fields.take(files));
    if inline.is_none() && files.is_none() {
        return None;
    }
    let mut written: Vec<ObjectWithManifest> =
        inline.iter().flat_map(Item::list).flat_map(|item| inline_document(&item)).collect();
    for path in files.iter().flat_map(Item::list) {
        written.extend(of_file(&path, load));
    }
    Some(written)
}

/// Reads an inline manifest. In a file unrelated objects are skipped, here they are errors.
fn inline_document(item: &Item<'_>) -> Vec<ObjectWithManifest> {
    let before = item.report().skipped();
    let written = sorted_out(document::read_object(item));
    if item.report().skipped() > before {
        item.error("has a kind that tests do not support");
    }
    written
}

/// The objects that a test may take from manifests.
fn sorted_out(described: Vec<DescribedObject<'_>>) -> Vec<ObjectWithManifest> {
    let written = described.into_iter().filter_map(|DescribedObject { object, document, .. }| match object {
        Object::Workload(_) => {
            document.error("is a workload; describe it in `workloads`");
            None
        }
        Object::Node(_) => {
            document.error("is a node; describe it in `nodes`");
            None
        }
        object => Some((object, document.json())),
    });
    written.collect()
}

fn of_file(path: &Item<'_>, load: &mut Load<'_>) -> Vec<ObjectWithManifest> {
    let Some(file) = path.text() else { return Vec::new() };
    let text = match load(file) {
        Ok(text) => text,
        Err(error) => {
            path.error(format!("{file} cannot be read: {error}"));
            return Vec::new();
        }
    };
    let report = Report::on(file);
    let documents = yaml::documents(&text, &report);
    let items = documents.iter().map(|document| Item::document(&document.node, &report));
    let written = items.flat_map(|item| sorted_out(document::read(&item))).collect();
    path.report().adopt(report.finish());
    written
}
