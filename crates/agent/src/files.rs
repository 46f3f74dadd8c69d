//! The directories that manifests are read from, watched for change.
//!
//! What a file said when it was last right is kept beside the agent's state, so that a file which is broken while the
//! agent starts does not take its policies out of force.

use crate::state::replace;
use anyhow::Context;
use rustix::fs::inotify;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;

/// Endings of files that are read.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// The text of every manifest in the directory, by path; a file that cannot be read has the reason instead.
pub(crate) fn scan(directory: &Path) -> io::Result<BTreeMap<String, Result<String, String>>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or(".");
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if !name.starts_with('.') && ENDINGS.contains(&ending) && path.is_file() {
            let text = fs::read_to_string(&path).map_err(|error| error.to_string());
            found.insert(path.display().to_string(), text);
        }
    }
    Ok(found)
}

/// Inode and time of change of a directory: another, or one whose entries changed, has others.
pub(crate) type Identity = (u64, i64, i64);

/// What a directory is now; none where there is none.
pub(crate) fn identity(directory: &Path) -> Option<Identity> {
    let status = fs::metadata(directory).ok()?;
    Some((status.ino(), status.mtime(), status.mtime_nsec()))
}

/// Calls `changed` whenever something in the directory may have; it is made if it is not there.
pub(crate) fn watch(directory: &Path, changed: impl Fn() + Send + 'static) -> anyhow::Result<()> {
    let path = directory.display();
    fs::create_dir_all(directory).with_context(|| format!("directory {path} cannot be made"))?;
    let watcher = inotify::init(inotify::CreateFlags::CLOEXEC)?;
    use inotify::WatchFlags as Watch;
    let what = Watch::CLOSE_WRITE | Watch::MOVED_TO | Watch::MOVED_FROM | Watch::DELETE | Watch::CREATE;
    inotify::add_watch(&watcher, directory, what).with_context(|| format!("{path} cannot be watched"))?;
    thread::Builder::new().name("files".into()).spawn(move || wait_and_tell(&watcher, changed))?;
    Ok(())
}

fn wait_and_tell(watcher: &OwnedFd, changed: impl Fn()) {
    let mut buffer = [0; 4096];
    loop {
        match rustix::io::read(watcher, &mut buffer) {
            Ok(_) => changed(),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                tracing::error!(%error, "the policy directory is not watched any more");
                return;
            }
        }
    }
}

/// Texts that are in force, kept for the next start.
#[derive(Debug)]
pub(crate) struct Kept {
    directory: PathBuf,
}

impl Kept {
    /// Keeps texts in this directory, which is made if it is not there.
    pub(crate) fn new(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        Ok(Self { directory: directory.to_path_buf() })
    }

    /// Every text that was kept, by the name of its file.
    pub(crate) fn texts(&self) -> io::Result<Vec<(String, String)>> {
        let mut texts = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            if let Some(file) = name.strip_suffix(".kept") {
                texts.push((unescape(file), fs::read_to_string(&path)?));
            }
        }
        Ok(texts)
    }

    /// Keeps what a file says now.
    pub(crate) fn keep(&self, file: &str, text: &str) -> io::Result<()> {
        replace(&self.path(file), text.as_bytes())
    }

    /// Forgets all files but these.
    pub(crate) fn keep_only(&self, files: &BTreeSet<String>) -> io::Result<()> {
        for (file, _) in self.texts()? {
            if !files.contains(&file) {
                fs::remove_file(self.path(&file))?;
            }
        }
        Ok(())
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.join(format!("{}.kept", escape(file)))
    }
}

/// A file name for a path: `/` and `%` are written as in URLs.
fn escape(path: &str) -> String {
    path.replace('%', "%25").replace('/', "%2F")
}

fn unescape(name: &str) -> String {
    name.replace("%2F", "/").replace("%25", "%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_survive_being_file_names() {
        for path in ["/etc/nexin/a.yaml", "a%2Fb", "%", "%25/x"] {
            assert_eq!(unescape(&escape(path)), path);
            assert!(!escape(path).contains('/'));
        }
    }

    #[test]
    fn what_was_kept_is_found_again_until_it_is_forgotten() {
        let directory = std::env::temp_dir().join(format!("nexin-kept-{}", std::process::id()));
        let kept = Kept::new(&directory).unwrap();
        kept.keep("/a/b.yaml", "one").unwrap();
        kept.keep("/a/c.yaml", "two").unwrap();
        kept.keep_only(&BTreeSet::from(["/a/c.yaml".to_string()])).unwrap();
        assert_eq!(kept.texts().unwrap(), [("/a/c.yaml".to_string(), "two".to_string())]);
        fs::remove_dir_all(&directory).unwrap();
    }
}
