//! Parses the text of a file into named objects.

use super::object_id::{Named, ObjectId};
use manifest::Diagnostic;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The objects of a text, and what else its author should know.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ParsedText {
    /// The objects, in order.
    pub objects: Vec<Described>,
    /// The warnings about the text.
    pub warnings: Vec<String>,
    /// The number of its objects that are not applied, because their kinds do not affect policy.
    pub skipped: usize,
}

/// An object with its own text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Described {
    /// The object.
    pub named: Named,
    /// The text that describes it and no other object.
    pub text: String,
}

/// Parses the objects of a text, or returns all its errors.
pub(crate) fn parse(file: &str, text: &str) -> Result<Vec<Named>, Vec<String>> {
    Ok(parse_described(file, text)?.objects.into_iter().map(|one| one.named).collect())
}

/// As [`parse`], with the own text of each object, and the warnings.
pub(crate) fn parse_described(file: &str, text: &str) -> Result<ParsedText, Vec<String>> {
    let manifest = manifest::parse(file, text).map_err(|found| messages(&found))?;
    let of_text = manifest.objects.len();
    // Workloads are started, not applied; their manifests may stand beside policies.
    let described = manifest.objects.into_iter().zip(&manifest.texts).filter_map(|(object, own)| {
        let name = ObjectId::from_object(&object)?;
        Some(Described { named: (name, Arc::new(object)), text: own.within(text).to_owned() })
    });
    let objects: Vec<Described> = described.collect();
    let mut names = BTreeSet::new();
    let repeated = objects.iter().map(|one| &one.named.0).filter(|name| !names.insert(*name));
    let repeated: Vec<String> = repeated.map(|name| format!("{file}: {name} is described twice")).collect();
    if !repeated.is_empty() {
        return Err(repeated);
    }
    let skipped = manifest.skipped + of_text - objects.len();
    Ok(ParsedText { objects, warnings: messages(&manifest.warnings), skipped })
}

fn messages(found: &[Diagnostic]) -> Vec<String> {
    found.iter().map(ToString::to_string).collect()
}
