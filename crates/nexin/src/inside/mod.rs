//! Running commands inside a workload: in its network namespace, with the names of services in `/etc/hosts`.

mod foreground;
mod hosts;

pub(crate) use foreground::{NotStarted, Signals, command, pass_through, start};

use anyhow::Context;
use api::view::{Endpoint, Service};
use rustix::mount::MountPropagationFlags;
use rustix::thread::LinkNameSpaceType;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;

/// Moves the calling thread, and so whatever it starts from now on, into the workload.
pub(crate) fn enter(endpoint: &Endpoint, services: &[Service]) -> anyhow::Result<()> {
    enter_network(Path::new(&endpoint.network_namespace))?;
    name_services(&endpoint.namespace, services).context("cannot put the names of services into /etc/hosts")
}

/// Moves the calling thread into the network namespace at this path.
pub(crate) fn enter_network(path: &Path) -> anyhow::Result<()> {
    let told = || format!("cannot enter the network namespace {}", path.display());
    let namespace = File::open(path).with_context(told)?;
    rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .with_context(told)
}

/// Gives the calling thread an `/etc/hosts` of its own, in which services have their names as of now.
fn name_services(namespace: &str, services: &[Service]) -> anyhow::Result<()> {
    let own = fs::read_to_string("/etc/hosts").unwrap_or_default();
    let file = std::env::temp_dir().join(format!("nexin-hosts-{}", std::process::id()));
    fs::write(&file, hosts::text(&own, namespace, services))?;
    let mounted = mount_over_hosts(&file);
    // The mount keeps the file for as long as anyone sees it.
    fs::remove_file(&file)?;
    mounted
}

fn mount_over_hosts(file: &Path) -> anyhow::Result<()> {
    leave_mount_namespace().context("a mount namespace")?;
    // Mounts of the node still reach this namespace; ours does not reach the node.
    rustix::mount::mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    rustix::mount::mount_bind(file, "/etc/hosts")?;
    Ok(())
}

#[expect(deprecated, reason = "what makes `unshare` unsafe is separate file descriptors, not asked for here")]
fn leave_mount_namespace() -> rustix::io::Result<()> {
    rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNS)
}
