//! What an agent holds so that no second one writes the same files, or the same maps.

use crate::directories;
use crate::paths::Paths;
use crate::problems::Problems;
use crate::storage;
use anyhow::Context;
use std::fs::File;
use std::os::fd::OwnedFd;

/// Held for as long as the agent runs.
#[derive(Debug)]
pub(crate) struct Locks {
    _files: Vec<File>,
    _instance: OwnedFd,
}

impl Locks {
    /// Makes the agent's directories and holds them, and the pins of its instance, against a second agent, on a full or
    /// read-only disk, too.
    pub(crate) fn take(paths: &Paths, problems: &mut Problems) -> anyhow::Result<Self> {
        const OWN: &str =
            "stop it, or give this one a directory, an instance and a network namespace of its own";
        let directory = paths.directory();
        storage::make_directory(directory)
            .with_context(|| format!("{} cannot be made", directory.display()))?;
        directories::prepare(paths, problems);
        // The file is what agents of earlier releases hold; the directory is there in any case.
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
