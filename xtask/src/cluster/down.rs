//! Removes a cluster, also one whose start or end was cut off: processes, namespaces, cgroups, files.

use super::plan::Name;
use super::{cgroups, links, machine};
use anyhow::{Context, Result, ensure};

/// Removes what exists of the cluster; succeeds where there is none.
pub(super) fn run(name: &Name) -> Result<()> {
    machine::kill(name, None)?;
    links::remove(name)?;
    cgroups::remove(name)?;
    // The mounts ended with the machines, whose own they were.
    if name.state().exists() {
        std::fs::remove_dir_all(name.state())
            .with_context(|| format!("could not remove {}", name.state().display()))?;
    }
    let left = leftovers(name)?;
    ensure!(left.is_empty(), "this could not be removed: {}", left.join(", "));
    Ok(())
}

/// What exists of a cluster: processes, namespaces, cgroups, mounts, files.
pub(super) fn leftovers(name: &Name) -> Result<Vec<String>> {
    let state = name.state().display().to_string();
    let mut left: Vec<String> =
        cgroups::processes(name, None)?.iter().map(|process| format!("process {process}")).collect();
    left.extend(links::namespaces(name)?.into_iter().map(|namespace| format!("namespace {namespace}")));
    left.extend(cgroups::existing(name)?.into_iter().map(|cgroup| format!("cgroup {}", cgroup.display())));
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    left.extend(
        mounts
            .lines()
            .filter(|mount| mount.contains(&format!("{state}/")))
            .map(|mount| format!("mount {mount}")),
    );
    left.extend(name.state().exists().then(|| format!("directory {state}")));
    Ok(left)
}
