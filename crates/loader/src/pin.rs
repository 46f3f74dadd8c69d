//! Pins in the BPF file system, by which maps and links outlive the agent.

use crate::spec::{MapSpec, kind_name};
use crate::sys;
use abi::map::MapId;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::mount::MountFlags;
use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Where the BPF file system is mounted.
const FILE_SYSTEM: &str = "/sys/fs/bpf";
/// The type of the BPF file system, as `statfs` returns it (`BPF_FS_MAGIC`).
const MAGIC: i64 = 0xcafe_4a11;

/// Why pins cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// There is no BPF file system, and it could not be mounted.
    #[error("no BPF file system at {FILE_SYSTEM} ({0}); `mount -t bpf bpf {FILE_SYSTEM}` makes one")]
    NotMounted(#[source] io::Error),
    /// The directory is on another file system.
    #[error("{0} is not on a BPF file system; choose a directory under {FILE_SYSTEM}")]
    Elsewhere(PathBuf),
    /// A pinned map has another shape than the programs need.
    #[error(
        "{path} is a map with {what} {found}, and the programs need {expected}; keep the capacities as they were, or \
         stop the workloads and remove the pins"
    )]
    Shape {
        /// Where it is pinned.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// The value of the pinned map.
        found: String,
        /// The value that the programs need.
        expected: String,
    },
    /// A path could not be used.
    #[error("{path}: {source}")]
    Path {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The directory for the pins of one agent: `<BPF file system>/nexin/<instance>`. The instance's name must have no dot.
pub fn pin_directory(instance: &str) -> PathBuf {
    Path::new(FILE_SYSTEM).join("nexin").join(instance)
}

/// Locks a directory of pins for as long as the descriptor is open, and makes the directory if there is none. Returns none
/// where another process holds the lock.
pub fn lock_pins(directory: &Path) -> Result<Option<OwnedFd>, PinError> {
    prepare(directory)?;
    let path = |error: rustix::io::Errno| PinError::Path { path: directory.to_owned(), source: error.into() };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let held = rustix::fs::open(directory, flags, Mode::empty()).map_err(path)?;
    match rustix::fs::flock(&held, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(held)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(path(error)),
    }
}

/// Detaches every pinned link and removes every pin of the directory. A directory without pins is no error.
///
/// The caller removes the workloads' interfaces first: an interface without programs passes everything.
pub fn remove_pins(directory: &Path) -> Result<(), PinError> {
    for path in pins(&links(directory))? {
        if let Ok(link) = sys::open_pinned(&path) {
            // The interface may be gone, and the attachment with it.
            let _ = sys::detach_link(link.as_fd());
        }
    }
    match std::fs::remove_dir_all(directory) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(PinError::Path { path: directory.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// Removes the pins of maps of other layouts, which earlier releases left. Such maps take memory, and an attached program
/// does not need the pins of its maps.
pub fn remove_other_layouts(directory: &Path) -> Result<(), PinError> {
    let own = maps(directory);
    for path in pins(directory)? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_layout = name.strip_prefix('v').is_some_and(|number| number.parse::<u32>().is_ok());
        if is_layout && path != own {
            std::fs::remove_dir_all(&path).map_err(|source| PinError::Path { path, source })?;
        }
    }
    Ok(())
}

/// The directory of pinned maps: one for each layout, so that no release takes over maps of another layout.
pub(crate) fn maps(directory: &Path) -> PathBuf {
    directory.join(format!("v{}", abi::LAYOUT))
}

/// The path of a pinned map.
pub(crate) fn map(directory: &Path, map: MapId) -> PathBuf {
    maps(directory).join(map.name())
}

/// The directory of pinned links: one for all layouts, since a new release replaces the programs of the links.
pub(crate) fn links(directory: &Path) -> PathBuf {
    directory.join("links")
}

/// The paths in a directory of pins; none where there is no directory.
pub(crate) fn pins(directory: &Path) -> Result<Vec<PathBuf>, PinError> {
    let path = |source| PinError::Path { path: directory.to_owned(), source };
    match std::fs::read_dir(directory) {
        Ok(entries) => {
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>().map_err(path)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(path(error)),
    }
}

/// Makes the directories for pins, and mounts the BPF file system if it is not mounted.
pub(crate) fn prepare(directory: &Path) -> Result<(), PinError> {
    let nearest = directory.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let path = |path: &Path, source: io::Error| PinError::Path { path: path.to_owned(), source };
    let on = rustix::fs::statfs(nearest).map_err(|error| path(nearest, error.into()))?;
    if on.f_type as i64 != MAGIC {
        if !directory.starts_with(FILE_SYSTEM) {
            return Err(PinError::Elsewhere(directory.to_owned()));
        }
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        rustix::mount::mount("bpf", FILE_SYSTEM, "bpf", flags, Some(c"mode=0700"))
            .map_err(|error| PinError::NotMounted(error.into()))?;
    }
    for wanted in [maps(directory), links(directory)] {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&wanted);
        made.map_err(|error| path(&wanted, error))?;
    }
    Ok(())
}

/// Whether a map is pinned at the path. A map of another shape than `wanted` is an error.
pub(crate) fn is_pinned(at: &Path, wanted: &MapSpec) -> Result<bool, PinError> {
    let path = |source| PinError::Path { path: at.to_owned(), source };
    if !at.try_exists().map_err(path)? {
        return Ok(false);
    }
    let info = aya::maps::MapInfo::from_pin(at).map_err(|error| path(io::Error::other(error)))?;
    let number = info.map_type().map_or(0, |kind| kind as u32);
    let name = |kind| kind_name(kind).to_owned();
    let sides = [
        ("kind", name(number), name(wanted.kind)),
        ("key size", info.key_size().to_string(), wanted.key_size.to_string()),
        ("value size", info.value_size().to_string(), wanted.value_size.to_string()),
        ("capacity", info.max_entries().to_string(), wanted.capacity.to_string()),
        ("flags", info.map_flags().to_string(), wanted.flags.to_string()),
    ];
    match sides.into_iter().find(|(_, found, expected)| found != expected) {
        None => Ok(true),
        Some((what, found, expected)) => Err(PinError::Shape { path: at.to_owned(), what, found, expected }),
    }
}
