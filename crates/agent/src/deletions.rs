//! Attachments that a runtime deleted while no agent answered: a directory with a file for each, which the agent empties.
//!
//! The plugin writes a file and succeeds, so that the runtime can go on. The agent removes the attachment at its start, or
//! within half a second, and removes the file when nothing is left of the attachment.

use crate::storage;
use api::AttachmentName;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The directory, beside the agent's socket. A reboot may empty it: no sandbox outlasts a reboot.
const DIRECTORY: &str = "deletions";

/// The end of the names of complete files.
const COMPLETE: &str = "deletion";

/// The age from which an incomplete file is left over: its writer takes milliseconds.
const STALE: Duration = Duration::from_secs(60);

/// The queue of an agent.
#[derive(Clone, Debug)]
pub struct DeletionQueue {
    directory: PathBuf,
}

/// A deletion that waits, and its file.
#[derive(Debug)]
pub(crate) struct QueuedDeletion {
    pub(crate) name: AttachmentName,
    file: PathBuf,
}

impl DeletionQueue {
    /// The queue of the agent with this socket.
    pub fn beside(socket: &Path) -> Self {
        Self { directory: socket.parent().unwrap_or(Path::new(".")).join(DIRECTORY) }
    }

    /// Adds a deletion. The same deletion is added once.
    pub fn put(&self, name: &AttachmentName) -> io::Result<()> {
        storage::make_directory(&self.directory)?;
        let text = serde_json::to_vec(name)?;
        let file = self.directory.join(format!("{:016x}.{COMPLETE}", digest(&text)));
        // Renamed when it is complete, so that the agent never reads a part.
        let incomplete = file.with_extension(std::process::id().to_string());
        fs::write(&incomplete, text).and_then(|()| fs::rename(&incomplete, &file))
    }

    /// The deletions that wait.
    pub(crate) fn waiting(&self) -> io::Result<Vec<QueuedDeletion>> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut waiting = Vec::new();
        for entry in entries {
            let file = entry?.path();
            if file.extension().is_none_or(|end| end != COMPLETE) {
                remove_stale(&file);
                continue;
            }
            match serde_json::from_slice(&fs::read(&file)?) {
                Ok(name) => waiting.push(QueuedDeletion { name, file }),
                Err(error) => {
                    tracing::warn!(file = %file.display(), %error, "a queued deletion cannot be read; it is dropped");
                    fs::remove_file(&file)?;
                }
            }
        }
        Ok(waiting)
    }
}

impl QueuedDeletion {
    /// Removes the file: nothing is left of the attachment.
    pub(crate) fn finish(self) -> io::Result<()> {
        match fs::remove_file(self.file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}

/// Removes a file that a killed plugin left incomplete.
fn remove_stale(file: &Path) {
    let changed = fs::metadata(file).and_then(|known| known.modified());
    if changed.is_ok_and(|changed| changed.elapsed().is_ok_and(|age| age > STALE)) {
        // One that cannot be removed does no harm.
        let _ = fs::remove_file(file);
    }
}

/// The FNV-1a digest, which is the same in every release.
fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |digest, byte| {
        (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(container: &str) -> AttachmentName {
        AttachmentName { container: container.into(), interface: "eth0".into() }
    }

    #[test]
    fn a_deletion_waits_once_until_it_is_finished() {
        let directory = std::env::temp_dir().join(format!("nexin-deletions-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        let queue = DeletionQueue::beside(&directory.join("agent.sock"));
        assert!(queue.waiting().unwrap().is_empty());
        for container in ["a", "b", "a"] {
            queue.put(&name(container)).unwrap();
        }
        let mut names: Vec<_> = queue.waiting().unwrap().into_iter().map(|one| one.name.container).collect();
        names.sort();
        assert_eq!(names, ["a", "b"]);
        // A plugin was killed while it wrote, and another program wrote something else.
        fs::write(directory.join(DIRECTORY).join("0.123"), "{").unwrap();
        fs::write(directory.join(DIRECTORY).join(format!("0.{COMPLETE}")), "{").unwrap();
        let waiting = queue.waiting().unwrap();
        assert_eq!(waiting.len(), 2);
        waiting.into_iter().for_each(|one| one.finish().unwrap());
        assert!(queue.waiting().unwrap().is_empty());
        fs::remove_dir_all(&directory).unwrap();
    }
}
