//! Seeds: inputs that are made of the tree's own test cases.

mod calls;
mod exchanges;
mod literals;
mod packets;
mod requests;
mod steps;
mod target;
mod texts;

pub use target::Seeds;

use std::io;
use std::path::Path;

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
