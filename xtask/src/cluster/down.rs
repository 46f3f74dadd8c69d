//! Removes a cluster, also one whose start or end was cut off: processes, namespaces, cgroups, files.

use super::plan::Name;
use super::{cgroups, links, machine};
use anyhow::{Context, Result};

/// Removes what exists of the cluster; succeeds where there is none.
pub(super) fn run(name: &Name) -> Result<()> {
    machine::kill(name, None)?;
    links::remove(name)?;
    cgroups::remove(name)?;
    // The mounts ended with the machines, whose own they were.
    match std::fs::remove_dir_all(name.state()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("could not remove {}", name.state().display()))
        }
        _ => Ok(()),
    }
}
