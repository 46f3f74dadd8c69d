//! The proxy's user and group, and the access of the group to the agent's files.

use rustix::fs::{Gid, Mode, chmod, chown};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// User and group of the proxy: between the ranges of system users and of containers, so that no other process has
/// them.
pub(crate) const USER: u32 = 90_080;

/// Makes this directory, and files that are created in it, readable for the proxy's group, and its parent directory
/// searchable. If an administrator gave the parent to another group, it keeps that group and becomes searchable for
/// all users.
pub(crate) fn share(directory: &Path) -> io::Result<()> {
    if let Some(around) = directory.parent() {
        let status = std::fs::metadata(around)?;
        match status.gid() {
            0 | USER if !may(&status, 0o1) => open_to_proxy(around, 0o710)?,
            _ if !may(&status, 0o1) => chmod(around, Mode::from_raw_mode(status.mode() & 0o7777 | 0o001))?,
            _ => {}
        }
    }
    let status = std::fs::metadata(directory)?;
    if status.gid() != USER || !may(&status, 0o5) {
        open_to_proxy(directory, 0o2750)?;
    }
    Ok(())
}

/// Whether the proxy has these rights, of `rwx`, on a file with this status.
pub(crate) fn may(status: &std::fs::Metadata, rights: u32) -> bool {
    let granted = if status.gid() == USER { status.mode() >> 3 } else { status.mode() };
    granted & rights == rights
}

/// Allows the proxy to send to the socket at this path.
pub(crate) fn open_socket(socket: &Path) -> io::Result<()> {
    open_to_proxy(socket, 0o660)
}

/// Allows the proxy to read a file.
pub(crate) fn open_file(file: &Path) -> io::Result<()> {
    open_to_proxy(file, 0o640)
}

/// Sets the group of a file, directory or socket to the proxy's, and its mode.
fn open_to_proxy(path: &Path, rights: u32) -> io::Result<()> {
    chown(path, None, Some(Gid::from_raw(USER)))?;
    Ok(chmod(path, Mode::from_raw_mode(rights))?)
}
