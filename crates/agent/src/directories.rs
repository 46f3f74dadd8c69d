//! The agent's directories: created at the start, and closed to other users.

use crate::paths::Paths;
use crate::problems::{Problem, Problems};
use crate::storage;
use std::io;
use std::path::Path;

/// The failures, as status and log name them.
const LASTING: Problem = Problem::new(
    "the directory of the agent's state cannot be created",
    "free space on the disk or make it writable; the agent writes again until that succeeds",
);
const CLOSED: Problem = Problem::new(
    "other users may be able to read the agent's files",
    "correct the owner and mode of the directory",
);

/// Creates the state directory, and removes the access of other users that earlier releases granted.
pub(crate) fn prepare(paths: &Paths, problems: &Problems) {
    let failure = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
    let lasting = paths.lasting();
    problems.note(LASTING, storage::make_directory(lasting).map_err(|error| failure(lasting, error)));
    let mut closed = [paths.directory(), lasting].into_iter().filter(|path| path.exists());
    problems.note(
        CLOSED,
        closed.try_for_each(|path| storage::close_to_others(path).map_err(|error| failure(path, error))),
    );
}

/// Whether [`prepare`] failed and must be retried.
pub(crate) fn are_due(problems: &Problems) -> bool {
    problems.has(LASTING) || problems.has(CLOSED)
}
