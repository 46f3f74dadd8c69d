//! Parses the text of a file into named objects.

use super::object_id::{Named, ObjectId};
use manifest::Diagnostic;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Parses the objects of a text, or returns all its errors.
pub(crate) fn parse(file: &str, text: &str) -> Result<Vec<Named>, Vec<String>> {
    let manifest = manifest::parse(file, text).map_err(|found| messages(&found))?;
    let mut named: Vec<Named> = Vec::with_capacity(manifest.objects.len());
    let mut names = BTreeSet::new();
    let mut invalid = Vec::new();
    for object in manifest.objects {
        // Workloads are started, not applied; their manifests may stand beside policies.
        let Some(name) = ObjectId::from_object(&object) else { continue };
        if names.insert(name.clone()) {
            named.push((name, Arc::new(object)));
        } else {
            invalid.push(format!("{file}: {name} is described twice"));
        }
    }
    if invalid.is_empty() { Ok(named) } else { Err(invalid) }
}

fn messages(found: &[Diagnostic]) -> Vec<String> {
    found.iter().map(ToString::to_string).collect()
}
