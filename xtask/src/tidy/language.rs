//! No file may hold a private word; some parts of the tree still hold a few, and must not get more.

use super::finding::{Finding, at};
use crate::tree::File;
use crate::words::{self, Place};
use std::collections::BTreeMap;

/// The parts of the tree that still hold private words, each with their number. A number may only go down.
const CEILINGS: &[(&str, usize)] = &[
    // A sentence that CONTRIBUTING.md shows as a bad example.
    ("files of the root", 1),
    // `nobody` is the name of a Unix user here.
    ("nexin", 3),
];

/// The private words of each part that has more of them than its ceiling.
pub(super) fn private_words(files: &[File]) -> Vec<Finding> {
    above(words::find(files), CEILINGS)
}

fn above(places: Vec<Place<'_>>, ceilings: &[(&str, usize)]) -> Vec<Finding> {
    let mut parts: BTreeMap<&str, Vec<Place<'_>>> = BTreeMap::new();
    for place in places.into_iter().filter(|place| !place.word.has_fair_use) {
        parts.entry(words::part(place.path)).or_default().push(place);
    }
    let ceiling = |part: &str| ceilings.iter().find(|(name, _)| *name == part).map_or(0, |(_, most)| *most);
    parts.retain(|part, places| places.len() > ceiling(part));
    parts.into_iter().flat_map(|(part, places)| excess(part, ceiling(part), places)).collect()
}

/// A finding for each place of a part that may hold none, and one finding for all places of another part.
fn excess(part: &str, ceiling: usize, places: Vec<Place<'_>>) -> Vec<Finding> {
    if ceiling > 0 {
        let count = places.len();
        let message = format!(
            "`{part}` holds {count} private words, at most {ceiling}: `cargo xtask places {part}` shows them"
        );
        return vec![at(places[0].path, places[0].line, message)];
    }
    let finding = |place: Place<'_>| {
        let message = format!("`{}` is a private word; better: {}", place.form, place.word.better);
        at(place.path, place.line, message)
    };
    places.into_iter().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::super::finding::testing::{file, lines};
    use super::*;

    #[test]
    fn private_words_above_the_ceiling_of_their_part_are_found() {
        let files = [file("crates/x/src/a.rs", "// It is heard.\n// It is moot.\n// It is about that.\n")];
        let check = |ceilings: &[(&str, usize)]| lines(&above(words::find(&files), ceilings));
        assert_eq!(check(&[]), [1, 2]);
        assert_eq!(check(&[("x", 1)]), [1]);
        assert_eq!(check(&[("x", 2)]), [0; 0]);
    }
}
