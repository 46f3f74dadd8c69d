//! What a command needs and this machine lacks: such a command exits with a code of its own, never as passed.

use std::fmt;

/// The exit code of a command that could not run, as `scripts/incumbent` has it.
pub(crate) const EXIT_CODE: u8 = 3;

/// What is missing here, and how to get it.
#[derive(Debug)]
pub(crate) struct Lacking(pub(crate) String);

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not run: {}", self.0)
    }
}

impl std::error::Error for Lacking {}
