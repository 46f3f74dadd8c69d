//! A program of a machine, and what must exist before it starts.

use std::path::{Path, PathBuf};

/// A program that a machine's init process runs.
#[derive(Debug, Default)]
pub(super) struct Program {
    /// Its name, also of its log.
    pub(super) name: String,
    pub(super) command: Vec<String>,
    /// The files that must exist before it starts.
    pub(super) after: Vec<PathBuf>,
    pub(super) lifetime: Lifetime,
}

/// What the init process does when a program ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Lifetime {
    /// It is started again.
    #[default]
    Machine,
    /// It has a task: it is started again until it succeeded once.
    Task,
}

impl Program {
    /// A program that runs as long as its machine.
    pub(super) fn new<Argument: Into<String>>(
        name: &str,
        executable: &Path,
        arguments: impl IntoIterator<Item = Argument>,
    ) -> Self {
        let executable = std::iter::once(executable.display().to_string());
        let command = executable.chain(arguments.into_iter().map(Into::into)).collect();
        Self { name: name.to_owned(), command, ..Self::default() }
    }

    /// The same program, started once these files exist.
    pub(super) fn after(mut self, files: impl IntoIterator<Item = PathBuf>) -> Self {
        self.after.extend(files);
        self
    }

    /// The same program as a task.
    pub(super) fn once(mut self) -> Self {
        self.lifetime = Lifetime::Task;
        self
    }
}
