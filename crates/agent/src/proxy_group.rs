//! The proxy's user and group, and the access of the group to the agent's files.

use rustix::fs::{Gid, Mode, chmod, chown};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// User and group of the proxy: between those that systems give to their users and those of containers, so that no
/// other process has them.
pub(crate) const USER: u32 = 90_080;

/// Makes this directory readable to the proxy's group, with all that will be in it, and lets the group come to it through
/// the agent's own. Where an administrator gave that one to a group, the group stays, and other users may pass through.
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

/// Whether the proxy may do this, of `rwx`, with what has this status.
pub(crate) fn may(status: &std::fs::Metadata, rights: u32) -> bool {
    let granted = if status.gid() == USER { status.mode() >> 3 } else { status.mode() };
    granted & rights == rights
}

/// Lets the proxy send to a socket that was just bound at this path.
pub(crate) fn open_socket(socket: &Path) -> io::Result<()> {
    open_to_proxy(socket, 0o660)
}

/// Lets the proxy read a file.
pub(crate) fn open_file(file: &Path) -> io::Result<()> {
    open_to_proxy(file, 0o640)
}

/// Gives a file, directory or socket to the proxy's group, with these rights.
fn open_to_proxy(path: &Path, rights: u32) -> io::Result<()> {
    chown(path, None, Some(Gid::from_raw(USER)))?;
    Ok(chmod(path, Mode::from_raw_mode(rights))?)
}
