//! The locks that keep a second agent from writing the same files or maps.

use crate::directories;
use crate::paths::Paths;
use crate::problems::Problems;
use crate::storage;
use anyhow::Context;
use std::fs::File;
use std::os::fd::OwnedFd;

/// The locks of a running agent.
#[derive(Debug)]
pub(crate) struct Locks {
    _files: Vec<File>,
    _instance: OwnedFd,
}

impl Locks {
    /// Creates the agent's directories, and locks them and the pinned maps of its instance. Works on a full or
    /// read-only disk, too.
    pub(crate) fn take(paths: &Paths, problems: &Problems) -> anyhow::Result<Self> {
        const OWN: &str =
            "stop it, or give this agent a directory, an instance and a network namespace of its own";
        let directory = paths.directory();
        storage::make_directory(directory)
            .with_context(|| format!("{} cannot be created", directory.display()))?;
        directories::prepare(paths, problems);
        // Agents of earlier releases lock the file; the directory always exists.
        let file = storage::append(&paths.lock()).or_else(|_| File::open(paths.lock())).ok();
        let files: Vec<File> = [File::open(directory)?].into_iter().chain(file).collect();
        for lock in &files {
            lock.try_lock()
                .with_context(|| format!("another agent runs in {}; {OWN}", directory.display()))?;
        }
        let pins = paths.pins();
        let instance = loader::lock_pins(&pins)?.with_context(|| {
            let instance = paths.instance();
            format!(
                "another agent of the instance {instance} runs, with its maps under {}; {OWN}",
                pins.display()
            )
        })?;
        Ok(Self { _files: files, _instance: instance })
    }
}
