//! The mounts of a node, in its own mount namespace: what its programs write lands in the cluster's directory.

use super::node;
use super::plan::{Machine, Name};
use anyhow::{Context, Result};
use rustix::mount::{
    MountFlags, MountPropagationFlags, mount, mount_bind, mount_bind_recursive, mount_change,
};
use std::ffi::CString;
use std::path::Path;

/// The directories that an overlay covers, so that mount points in them do not appear on this machine.
const OVERLAID: &[&str] = &["/etc", "/opt", "/var/lib", "/var/log"];

/// Makes the mounts. The caller is alone in its mount namespace.
pub(super) fn make(name: &Name, node: Machine) -> Result<()> {
    let directory = name.directory(node);
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .context("make / private")?;
    file_system("tmpfs", "/run")?;
    std::fs::create_dir_all("/run/netns")?;
    kernel_file_systems()?;
    for place in OVERLAID {
        overlay(place, &directory.join("overlay").join(place.trim_start_matches('/').replace('/', "-")))?;
    }
    for place in node::OWN_DIRECTORIES {
        std::fs::create_dir_all(place)?;
        mount_bind(node::own_directory(name, node, place), *place)
            .with_context(|| format!("bind {place}"))?;
    }
    // Volumes with a propagation of their mounts need a shared mount.
    mount_change("/", MountPropagationFlags::SHARED | MountPropagationFlags::REC).context("make / shared")
}

/// Mounts the kernel's file systems that show or hold what belongs to the node alone: its interfaces, and its pinned programs.
fn kernel_file_systems() -> Result<()> {
    let kept = "/run/cgroup";
    std::fs::create_dir(kept)?;
    mount_bind_recursive("/sys/fs/cgroup", kept).context("bind the cgroups")?;
    file_system("sysfs", "/sys")?;
    mount_bind_recursive(kept, "/sys/fs/cgroup").context("bind the cgroups")?;
    rustix::mount::unmount(kept, rustix::mount::UnmountFlags::DETACH)?;
    std::fs::remove_dir(kept)?;
    file_system("bpf", "/sys/fs/bpf")
}

fn file_system(kind: &str, place: &str) -> Result<()> {
    mount(kind, place, kind, MountFlags::empty(), None).with_context(|| format!("mount {kind} at {place}"))
}

/// Covers a directory: what is written there lands in `files`.
fn overlay(place: &str, files: &Path) -> Result<()> {
    let [upper, work] = ["upper", "work"].map(|part| files.join(part));
    std::fs::create_dir_all(&upper)?;
    std::fs::create_dir_all(&work)?;
    let options = format!("lowerdir={place},upperdir={},workdir={}", upper.display(), work.display());
    let options = CString::new(options)?;
    mount("overlay", place, "overlay", MountFlags::empty(), options.as_c_str())
        .with_context(|| format!("mount an overlay at {place}"))
}
