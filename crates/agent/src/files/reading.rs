//! Reads the files of a directory: each is text, unreadable for a reason, or unfinished.

use crate::objects::FileState;
use loader::ReadLease;
use rustix::fs::OFlags;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Extensions of files that are read.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];
/// Maximum size of a file in bytes, which is that of a manifest.
const LARGEST: u64 = 16 << 20;

/// What a file contained when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// The file has this text.
    Text(String),
    /// The file cannot be read, and why.
    Unreadable(String),
    /// The file is being written.
    Unfinished,
}

impl Reading {
    /// The state of the file with this name.
    pub(crate) fn state(&self, file: &str) -> FileState {
        match self {
            Self::Text(text) => FileState::parse(file, text),
            Self::Unreadable(why) => FileState::Unreadable(why.clone()),
            Self::Unfinished => FileState::Unfinished,
        }
    }
}

/// Identity, size and times of a file, which differ for different contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    place: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// One file of the directory.
#[derive(Debug)]
pub(super) struct FoundFile {
    pub(super) reading: Reading,
    /// Its fingerprint when it was read; none if it could not be read.
    pub(super) fingerprint: Option<Fingerprint>,
    /// Whether it may change without a report of inotify: the target of a link, or a file with several names.
    pub(super) is_silent: bool,
    /// Whether the failure to read it may pass without a change of the file.
    pub(super) is_temporary: bool,
    /// Whether the kernel cannot tell that no process has it open for writing.
    pub(super) is_unproven: bool,
}

/// The manifests in a directory: the paths by the name as it is shown, which is that of one file unless names are not
/// UTF-8.
pub(super) fn list(directory: &Path) -> io::Result<BTreeMap<String, Vec<PathBuf>>> {
    let mut found: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if is_manifest(&entry.file_name()) {
            let path = entry.path();
            found.entry(shown(&path)).or_default().push(path);
        }
    }
    Ok(found)
}

/// Several files whose names are shown alike.
pub(super) fn alike() -> FoundFile {
    let why = "another file's name is shown alike, since one of the two is not UTF-8; rename it";
    FoundFile {
        reading: Reading::Unreadable(why.into()),
        fingerprint: None,
        is_silent: false,
        is_temporary: false,
        is_unproven: false,
    }
}

/// A path as it is shown: bytes that are not UTF-8 are written as `\xff`.
pub(super) fn shown(path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes();
    let chunk = |chunk: std::str::Utf8Chunk<'_>| {
        let invalid = chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}"));
        chunk.valid().to_string() + &invalid.collect::<String>()
    };
    bytes.utf8_chunks().map(chunk).collect()
}

/// The fingerprint of the file at a path; none if there is no file.
pub(super) fn fingerprint(path: &Path) -> Option<Fingerprint> {
    fs::metadata(path).ok().map(|status| Fingerprint::from_metadata(&status))
}

/// A hash of a text.
pub(super) fn digest(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// Whether files of this name are read.
pub(super) fn is_manifest(name: &OsStr) -> bool {
    let ending = Path::new(name).extension().unwrap_or_default();
    !name.as_bytes().starts_with(b".") && ENDINGS.iter().any(|known| ending == *known)
}

/// Reads one file; none if its name is gone.
pub(super) fn read(path: &Path) -> Option<FoundFile> {
    let is_link = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        name => name.is_ok_and(|name| name.is_symlink()),
    };
    let unread = |reading| FoundFile {
        reading,
        fingerprint: fingerprint(path),
        is_silent: is_link,
        is_temporary: false,
        is_unproven: false,
    };
    let unreadable = |why: String| Some(unread(Reading::Unreadable(why)));
    match open(path) {
        Ok((file, status)) => {
            Some(FoundFile { is_silent: is_link || status.nlink() > 1, ..read_open(file, &status) })
        }
        Err(Refusal::Gone) if is_link => {
            let target = fs::read_link(path).map(|target| shown(&target)).unwrap_or_default();
            unreadable(format!(
                "is a link to {target}, which is not there; remove the link to delete the policies of the file"
            ))
        }
        // Removed between the two calls.
        Err(Refusal::Gone) => None,
        Err(Refusal::Busy) => Some(unread(Reading::Unfinished)),
        Err(Refusal::Kind(kind)) => unreadable(format!("is {kind}; expected a file")),
        Err(Refusal::System(error)) => unreadable(format!("cannot be read: {error}"))
            .map(|file| FoundFile { is_temporary: true, ..file }),
    }
}

/// Why a file was not opened.
enum Refusal {
    Gone,
    Busy,
    Kind(&'static str),
    System(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Gone,
            io::ErrorKind::WouldBlock => Self::Busy,
            _ => Self::System(error),
        }
    }
}

fn open(path: &Path) -> Result<(File, Metadata), Refusal> {
    // Checked before it is opened: opening a device, or a pipe without a writer, has side effects.
    check_kind(&fs::metadata(path)?)?;
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits();
    let file = OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path)?;
    let status = file.metadata()?;
    check_kind(&status)?;
    Ok((file, status))
}

fn check_kind(status: &Metadata) -> Result<(), Refusal> {
    match status.file_type() {
        kind if kind.is_file() => Ok(()),
        kind if kind.is_dir() => Err(Refusal::Kind("a directory")),
        _ => Err(Refusal::Kind("a device, pipe or socket")),
    }
}

/// Reads a file, unless a process has it open for writing.
fn read_open(mut file: File, status: &Metadata) -> FoundFile {
    let lease = loader::read_lease(&file);
    FoundFile {
        reading: if lease == ReadLease::Written { Reading::Unfinished } else { read_all(&mut file) },
        fingerprint: Some(Fingerprint::from_metadata(status)),
        is_silent: false,
        is_temporary: false,
        is_unproven: lease == ReadLease::Unknown,
    }
}

fn read_all(file: &mut File) -> Reading {
    let mut bytes = Vec::new();
    match file.take(LARGEST + 1).read_to_end(&mut bytes) {
        Err(error) => Reading::Unreadable(format!("cannot be read: {error}")),
        Ok(_) if bytes.len() as u64 > LARGEST => {
            Reading::Unreadable(format!("is longer than {} MiB; split it", LARGEST >> 20))
        }
        Ok(_) => String::from_utf8(bytes).map_or_else(
            |error| {
                let place = error.utf8_error().valid_up_to();
                Reading::Unreadable(format!("is not UTF-8 from byte {place} on; save it as UTF-8"))
            },
            Reading::Text,
        ),
    }
}

impl Fingerprint {
    fn from_metadata(status: &Metadata) -> Self {
        Self {
            place: (status.dev(), status.ino()),
            size: status.size(),
            modified: (status.mtime(), status.mtime_nsec()),
            changed: (status.ctime(), status.ctime_nsec()),
        }
    }
}
