//! Writes the agent's files atomically, and closes them to other users.

use crate::proxy_group;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Mode of a file: it contains names of workloads, labels and policies.
const FILE: u32 = 0o600;
/// Mode of a directory.
const DIRECTORY: u32 = 0o700;
/// Mode of a socket: for the owner, and for a group that an administrator may choose.
const SOCKET: u32 = 0o660;

/// Replaces a file durably: a reader finds the old or the new contents, also after a crash. After a failure the old
/// file is unchanged.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    move_into(path, bytes)?;
    path.parent().map_or(Ok(()), sync_directory)
}

/// As [`replace`], but not durably: after a crash of the host the file may be damaged. For files that belong to what the
/// kernel holds, which a crash takes away as well. `share` sets the file's access before it gets its name.
pub(crate) fn replace_shared(
    path: &Path,
    bytes: &[u8],
    share: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    move_prepared(path, bytes, |beside, _| share(beside))
}

/// As [`replace`], but durable only after [`sync_directory`], which may follow many files.
pub(crate) fn move_into(path: &Path, bytes: &[u8]) -> io::Result<()> {
    move_prepared(path, bytes, |_, file| file.sync_all())
}

/// Writes a file under another name, prepares it, and gives it its name.
fn move_prepared(
    path: &Path,
    bytes: &[u8],
    prepare: impl FnOnce(&Path, &File) -> io::Result<()>,
) -> io::Result<()> {
    let beside = path.with_extension("new");
    let written = write(&beside, bytes)
        .and_then(|file| prepare(&beside, &file))
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // The new file would only use disk space, which may be exhausted.
        let _ = fs::remove_file(&beside);
    }
    written
}

/// Makes the created and removed names of a directory durable.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Opens a file for appending, and creates it if it does not exist.
pub(crate) fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(FILE).open(path)
}

/// Creates a directory and its missing parents.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(status) if status.is_dir() => Ok(()),
        _ => DirBuilder::new().recursive(true).mode(DIRECTORY).create(path),
    }
}

/// Device and inode: they distinguish a file, directory or socket from another one with the same name.
pub(crate) type DeviceInode = (u64, u64);

/// The identity of the file at this path.
pub(crate) fn identity(path: &Path) -> io::Result<DeviceInode> {
    fs::metadata(path).map(|status| (status.dev(), status.ino()))
}

/// The identity of an open file.
pub(crate) fn identity_of(file: &File) -> io::Result<DeviceInode> {
    file.metadata().map(|status| (status.dev(), status.ino()))
}

/// Restricts a socket to its owner and its group.
pub(crate) fn close_socket(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(SOCKET))
}

/// Removes the access of other users to a directory and everything in it, which earlier releases granted. A group
/// keeps its access to directories and sockets, which an administrator may have granted; the directory then stays
/// searchable for all users, since the proxy must pass through it. The proxy's group keeps its read access.
pub(crate) fn close_to_others(path: &Path) -> io::Result<()> {
    let status = fs::symlink_metadata(path)?;
    let kind = status.file_type();
    if kind.is_symlink() {
        return Ok(());
    }
    let removed = match kind.is_dir() || kind.is_socket() {
        true if kind.is_dir() && ![0, proxy_group::USER].contains(&status.gid()) => 0o006,
        true => 0o007,
        false if status.gid() == proxy_group::USER => 0o037,
        false => 0o077,
    };
    let mode = status.permissions().mode() & 0o7777;
    if mode & removed != 0 {
        fs::set_permissions(path, Permissions::from_mode(mode & !removed))?;
    }
    if kind.is_dir() {
        for entry in fs::read_dir(path)? {
            close_to_others(&entry?.path())?;
        }
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(FILE).open(path)?;
    file.write_all(bytes)?;
    Ok(file)
}

/// Whether two files have the same bytes.
pub(crate) fn have_equal_bytes(one: &File, other: &File) -> io::Result<bool> {
    const PART: usize = 64 << 10;
    let length = one.metadata()?.len();
    if length != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut left, mut right) = (vec![0; PART], vec![0; PART]);
    for start in (0..length).step_by(PART) {
        let part = PART.min(usize::try_from(length - start).unwrap_or(PART));
        one.read_exact_at(&mut left[..part], start)?;
        other.read_exact_at(&mut right[..part], start)?;
        if left[..part] != right[..part] {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_replacement_leaves_the_old_file_and_no_other() {
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
    fn access_that_an_earlier_release_granted_is_removed() {
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
