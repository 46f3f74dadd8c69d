//! What an agent holds so that no second one writes the same files, or the same maps.

use crate::paths::Paths;
use anyhow::Context;
use std::fs::{self, File};
use std::os::fd::OwnedFd;

/// Held for as long as the agent runs.
#[derive(Debug)]
pub(crate) struct Locks {
    _directory: File,
    _instance: OwnedFd,
}

impl Locks {
    /// Makes the agent's directories and holds them, and the pins of its instance, against a second agent.
    pub(crate) fn take(paths: &Paths) -> anyhow::Result<Self> {
        const OWN: &str =
            "stop it, or give this one a directory, an instance and a network namespace of its own";
        let directory = paths.directory();
        for wanted in [directory, paths.lasting()] {
            fs::create_dir_all(wanted).with_context(|| format!("{} cannot be made", wanted.display()))?;
        }
        let file = File::create(paths.lock())?;
        file.try_lock().with_context(|| format!("another agent runs in {}; {OWN}", directory.display()))?;
        let pins = paths.pins();
        let instance = loader::lock_pins(&pins)?.with_context(|| {
            let instance = paths.instance();
            format!(
                "another agent of the instance {instance} runs, with its maps under {}; {OWN}",
                pins.display()
            )
        })?;
        Ok(Self { _directory: file, _instance: instance })
    }
}
