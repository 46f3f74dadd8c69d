//! Decides which of several files with the same object is refused.
//!
//! A source that already contains the object keeps it; of two new files, the later name is refused. A refused file keeps
//! its earlier objects, which may refuse further files.

use super::index::{Index, Replacements};
use super::object_id::{Named, ObjectId};
use std::collections::BTreeMap;

/// The new objects of files, by file.
pub(crate) type Candidates = BTreeMap<String, Vec<Named>>;

/// The files whose new objects are refused, and why; `deleted` sources contain nothing any more.
pub(crate) fn refusals(
    index: &Index,
    deleted: &Replacements,
    candidates: &Candidates,
) -> BTreeMap<String, String> {
    let mut claims = Claims { index, deleted, candidates, owners: BTreeMap::new(), refused: BTreeMap::new() };
    for (file, objects) in candidates {
        for (name, _) in objects {
            if claims.refused.contains_key(file.as_str()) {
                break;
            }
            claims.claim(file, name);
        }
    }
    claims.refused.into_iter().map(|(file, why)| (file.to_owned(), why)).collect()
}

/// The names that candidates claim.
struct Claims<'a> {
    index: &'a Index,
    deleted: &'a Replacements,
    candidates: &'a Candidates,
    /// The candidate that gets a name.
    owners: BTreeMap<&'a ObjectId, &'a str>,
    refused: BTreeMap<&'a str, String>,
}

impl<'a> Claims<'a> {
    fn claim(&mut self, file: &'a str, name: &'a ObjectId) {
        let held_by = self.index.source(name);
        if let Some(other) = held_by.filter(|source| *source != file && self.is_kept(source)) {
            return self.refuse(file, name, other);
        }
        let Some(other) = self.owners.insert(name, file).filter(|other| *other != file) else { return };
        if held_by == Some(file) {
            self.refuse(other, name, file);
        } else {
            self.owners.insert(name, other);
            self.refuse(file, name, other);
        }
    }

    /// Whether a source keeps the objects that it has.
    fn is_kept(&self, source: &str) -> bool {
        let is_replaced = self.candidates.contains_key(source) && !self.refused.contains_key(source);
        !is_replaced && !self.deleted.contains_key(source)
    }

    /// Refuses a file, and every candidate that claims an object which the file keeps.
    fn refuse(&mut self, file: &'a str, name: &'a ObjectId, owner: &'a str) {
        let mut losers = vec![(file, name, owner)];
        while let Some((file, name, owner)) = losers.pop() {
            if self.refused.contains_key(file) {
                continue;
            }
            self.refused.insert(file, format!("{file}: {name} is already described in {owner}"));
            for (name, _) in self.candidates.get(file).into_iter().flatten() {
                if self.owners.get(name) == Some(&file) {
                    self.owners.remove(name);
                }
            }
            let kept = self.index.names(file).unwrap_or_default();
            losers.extend(kept.iter().filter_map(|name| Some((*self.owners.get(name)?, name, file))));
        }
    }
}
