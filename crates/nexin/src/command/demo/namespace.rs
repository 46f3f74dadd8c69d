//! The network namespace that is the demo's node.

use anyhow::Context;
use netlink::Socket;
use netlink::message::RouteNetlinkMessage;
use netlink::message::link::{LinkFlags, LinkMessage};
use std::fs::{self, File};
use std::path::Path;
use std::thread;

/// Index of the loopback interface, in every network namespace.
const LOOPBACK: u32 = 1;

/// Makes a network namespace with its loopback up, and mounts it at the path, where `ip netns` finds it too.
pub(super) fn make(path: &Path) -> anyhow::Result<()> {
    let told = || format!("cannot make the network namespace {}", path.display());
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(told)?;
    }
    File::create(path).with_context(told)?;
    // A thread of its own: it is left in the namespace, and ends.
    thread::scope(|scope| scope.spawn(|| leave_and_mount(path)).join())
        .expect("making a namespace does not panic")
        .with_context(told)
}

fn leave_and_mount(path: &Path) -> anyhow::Result<()> {
    leave()?;
    let mut loopback = LinkMessage::default();
    loopback.header.index = LOOPBACK;
    loopback.header.flags = LinkFlags::Up;
    loopback.header.change_mask = LinkFlags::Up;
    Socket::open()?.change(RouteNetlinkMessage::SetLink(loopback), 0)?;
    Ok(rustix::mount::mount_bind("/proc/thread-self/ns/net", path)?)
}

#[expect(deprecated, reason = "what makes `unshare` unsafe is separate file descriptors, not asked for here")]
fn leave() -> rustix::io::Result<()> {
    rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET)
}
