//! How the agent's files are written: whole or not at all, and closed to other users.

use crate::proxy_group;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Rights of a file: it names workloads, their labels and policies.
const FILE: u32 = 0o600;
/// Rights of a directory.
const DIRECTORY: u32 = 0o700;
/// Rights of a socket: of the owner and of a group that an administrator may choose.
const SOCKET: u32 = 0o660;

/// Replaces a file for good: a reader finds the old or the new, after a crash too. Where that fails the old one is there
/// still.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    move_into(path, bytes)?;
    path.parent().map_or(Ok(()), sync_directory)
}

/// Likewise, with rights that `share` gives to the new file before it has its name.
pub(crate) fn replace_shared(
    path: &Path,
    bytes: &[u8],
    share: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    move_prepared(path, bytes, share)?;
    path.parent().map_or(Ok(()), sync_directory)
}

/// Likewise, but only [`sync_directory`] makes it last: one for many files.
pub(crate) fn move_into(path: &Path, bytes: &[u8]) -> io::Result<()> {
    move_prepared(path, bytes, |_| Ok(()))
}

fn move_prepared(path: &Path, bytes: &[u8], prepare: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let beside = path.with_extension("new");
    let written =
        write(&beside, bytes).and_then(|()| prepare(&beside)).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // It would only take room, which may be what there is none of.
        let _ = fs::remove_file(&beside);
    }
    written
}

/// Makes what came and went in a directory last.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Opens a file to write at its end, and makes it where it is not there.
pub(crate) fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(FILE).open(path)
}

/// Makes a directory and those above it that are not there.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(status) if status.is_dir() => Ok(()),
        _ => DirBuilder::new().recursive(true).mode(DIRECTORY).create(path),
    }
}

/// Device and inode of what is at a path: another file, directory or socket with the same name has others.
pub(crate) type Identity = (u64, u64);

/// What is at this path.
pub(crate) fn identity(path: &Path) -> io::Result<Identity> {
    fs::metadata(path).map(|status| (status.dev(), status.ino()))
}

/// Closes a socket to all but its owner and its group.
pub(crate) fn close_socket(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(SOCKET))
}

/// Takes from a directory and everything in it the rights that others have, as earlier releases left them. A group keeps
/// what it may do with directories and sockets: an administrator may have given it that, and then the proxy passes
/// through the directory as others may. The group of the proxy keeps what it may read.
pub(crate) fn close_to_others(path: &Path) -> io::Result<()> {
    let status = fs::symlink_metadata(path)?;
    let kind = status.file_type();
    if kind.is_symlink() {
        return Ok(());
    }
    let taken = match kind.is_dir() || kind.is_socket() {
        true if kind.is_dir() && ![0, proxy_group::USER].contains(&status.gid()) => 0o006,
        true => 0o007,
        false if status.gid() == proxy_group::USER => 0o037,
        false => 0o077,
    };
    let rights = status.permissions().mode() & 0o7777;
    if rights & taken != 0 {
        fs::set_permissions(path, Permissions::from_mode(rights & !taken))?;
    }
    if kind.is_dir() {
        for entry in fs::read_dir(path)? {
            close_to_others(&entry?.path())?;
        }
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(FILE).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_replaced_is_as_it_was_and_nothing_is_left_beside_it() {
        let directory = std::env::temp_dir().join(format!("nexin-storage-{}", std::process::id()));
        make_directory(&directory).unwrap();
        let path = directory.join("a.json");
        replace(&path, b"old").unwrap();
        fs::create_dir(directory.join("a.new")).unwrap();
        replace(&path, b"new").unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn what_an_earlier_release_left_open_is_closed() {
        let directory = std::env::temp_dir().join(format!("nexin-closed-{}", std::process::id()));
        fs::create_dir_all(directory.join("inner")).unwrap();
        fs::write(directory.join("inner/a.json"), "").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        for (path, before) in [("", 0o775), ("inner", 0o755), ("inner/a.json", 0o664)] {
            fs::set_permissions(directory.join(path), Permissions::from_mode(before)).unwrap();
        }
        close_to_others(&directory).unwrap();
        for (path, after) in [("", 0o770), ("inner", 0o750), ("inner/a.json", 0o600)] {
            assert_eq!(mode(&directory.join(path)), after, "{path}");
        }
        fs::remove_dir_all(&directory).unwrap();
    }
}
