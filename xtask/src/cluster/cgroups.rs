//! The cgroups of a cluster, by which its processes are found: one in each hierarchy, with one for each machine.

use super::plan::{Machine, Name};
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const ROOT: &str = "/sys/fs/cgroup";
/// The time that the kernel gets to remove the cgroups of killed processes.
const REMOVAL: Duration = Duration::from_secs(10);

/// A machine's cgroup, from the root of a hierarchy.
pub(super) fn path(name: &Name, machine: Machine) -> String {
    format!("{}/{machine}", name.cgroup())
}

/// Every hierarchy: the one of version 2, or those of version 1.
fn hierarchies() -> Result<Vec<PathBuf>> {
    if Path::new(ROOT).join("cgroup.controllers").exists() {
        return Ok(vec![PathBuf::from(ROOT)]);
    }
    let entries = std::fs::read_dir(ROOT).context("cgroups are not mounted")?;
    // A link leads to a hierarchy of several controllers that has an entry of its own.
    let is_hierarchy = |entry: &std::fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    let paths = entries.filter_map(Result::ok).filter(is_hierarchy).map(|entry| entry.path());
    Ok(paths.filter(|path| path.join("cgroup.procs").exists()).collect())
}

/// Makes the cgroups of a machine, in which the kubelet makes those of pods.
pub(super) fn create(name: &Name, machine: Machine) -> Result<()> {
    for hierarchy in hierarchies()? {
        let mut directory = hierarchy.clone();
        for part in [name.cgroup(), machine.to_string()] {
            let parent = directory.clone();
            directory = directory.join(part);
            std::fs::create_dir_all(&directory)?;
            copy_processors(&parent, &directory)?;
        }
    }
    Ok(())
}

/// Gives a new cgroup of a version 1 `cpuset` the processors of its parent, without which no process may join.
fn copy_processors(parent: &Path, child: &Path) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let value = std::fs::read_to_string(child.join(file)).unwrap_or_else(|_| "absent".to_owned());
        if value.trim().is_empty() {
            std::fs::write(child.join(file), std::fs::read(parent.join(file))?)?;
        }
    }
    Ok(())
}

/// Moves the calling process into the machine's cgroup of one hierarchy. Its children, and their children, are born there.
pub(super) fn join(name: &Name, machine: Machine) -> Result<()> {
    let hierarchies = hierarchies()?;
    let by_process = hierarchies.iter().find(|hierarchy| hierarchy.ends_with("pids"));
    let hierarchy = by_process.or(hierarchies.first()).context("there is no cgroup hierarchy")?;
    let mut directory = hierarchy.join(path(name, machine));
    if hierarchy == Path::new(ROOT) {
        // In version 2 a cgroup with children holds no processes.
        directory = directory.join("init");
        std::fs::create_dir_all(&directory)?;
    }
    std::fs::write(directory.join("cgroup.procs"), "0")
        .with_context(|| format!("could not join {}", directory.display()))
}

/// The processes of a cluster, or of one machine.
pub(super) fn processes(name: &Name, machine: Option<Machine>) -> Result<BTreeSet<i32>> {
    let mut processes = BTreeSet::new();
    let path = machine.map_or(name.cgroup(), |machine| path(name, machine));
    for hierarchy in hierarchies()? {
        for cgroup in below(&hierarchy.join(&path)) {
            let listed = std::fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
            processes
                .extend(listed.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
        }
    }
    Ok(processes)
}

/// Removes the cgroups of a cluster. The processes of a cgroup may be listed for a moment after their end.
pub(super) fn remove(name: &Name) -> Result<()> {
    let started = Instant::now();
    loop {
        // Those below a cgroup are removed before it.
        let mut left = existing(name)?;
        left.reverse();
        left.retain(|cgroup| std::fs::remove_dir(cgroup).is_err());
        match left.first() {
            None => return Ok(()),
            Some(cgroup) if started.elapsed() > REMOVAL => {
                bail!("could not remove the cgroup {}", cgroup.display())
            }
            Some(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// The cgroups of a cluster that exist, of all hierarchies.
pub(super) fn existing(name: &Name) -> Result<Vec<PathBuf>> {
    Ok(hierarchies()?.iter().flat_map(|hierarchy| below(&hierarchy.join(name.cgroup()))).collect())
}

/// A cgroup and all below it, each before those below it; none where it does not exist.
fn below(cgroup: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(cgroup) else {
        return Vec::new();
    };
    let directories =
        entries.filter_map(Result::ok).filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    std::iter::once(cgroup.to_owned()).chain(directories.flat_map(|entry| below(&entry.path()))).collect()
}
