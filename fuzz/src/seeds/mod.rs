//! Seeds: inputs that are made of the tree's own test cases.

mod calls;
mod exchanges;
mod literals;
mod packets;
mod requests;
mod steps;
mod texts;

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

/// The seeds of one target, and words that its inputs are made of.
#[derive(Debug, Default)]
pub struct Seeds {
    /// Whole inputs.
    pub inputs: BTreeSet<Vec<u8>>,
    /// Words for the fuzzer's dictionary.
    pub words: BTreeSet<String>,
}

/// Makes the seeds of every target from the tree with this root.
///
/// # Errors
/// A file cannot be read.
pub fn all(root: &Path) -> io::Result<Vec<(&'static str, Seeds)>> {
    Ok(vec![
        ("l7", requests::l7(root)?),
        ("manifest", texts::manifest(root)?),
        ("packet", packets::packet()),
        ("api", calls::api(root)?),
        ("planner", steps::planner()),
        ("proxy", exchanges::proxy(root)?),
    ])
}
