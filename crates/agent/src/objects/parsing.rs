//! Parses the text of a file into named objects.

use super::object_id::{Named, ObjectId};
use manifest::Diagnostic;
use std::collections::BTreeSet;
use std::sync::Arc;

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
    read(file, text, |named, _| named)
}

/// As [`parse`], with the own text of each object.
pub(crate) fn parse_described(file: &str, text: &str) -> Result<Vec<Described>, Vec<String>> {
    read(file, text, |named, own| Described { named, text: own.to_owned() })
}

fn read<T>(file: &str, text: &str, found: impl Fn(Named, &str) -> T) -> Result<Vec<T>, Vec<String>> {
    let manifest = manifest::parse(file, text).map_err(|found| messages(&found))?;
    let mut objects = Vec::with_capacity(manifest.objects.len());
    let mut names = BTreeSet::new();
    let mut invalid = Vec::new();
    for (object, own) in manifest.objects.into_iter().zip(&manifest.texts) {
        // Workloads are started, not applied; their manifests may stand beside policies.
        let Some(name) = ObjectId::from_object(&object) else { continue };
        if names.insert(name.clone()) {
            objects.push(found((name, Arc::new(object)), own.within(text)));
        } else {
            invalid.push(format!("{file}: {name} is described twice"));
        }
    }
    if invalid.is_empty() { Ok(objects) } else { Err(invalid) }
}

fn messages(found: &[Diagnostic]) -> Vec<String> {
    found.iter().map(ToString::to_string).collect()
}
