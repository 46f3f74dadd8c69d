//! Checks that programs are attached and that maps and links are pinned, and restores what other programs removed.

use crate::links::{AttachError, Links};
use crate::loaded::{Entryless, Loaded};
use crate::pin::{self, PinError};
use crate::read::Tables;
use crate::sys;
use abi::Hook;
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The attachments and pins of a packet path; any thread in the network namespace of the interfaces may check them.
#[derive(Debug)]
pub struct Upkeep {
    links: Arc<Links>,
    tables: Arc<Tables>,
    entryless: Arc<Entryless>,
    intact: Option<IntactPins>,
}

/// The directories of links and of maps when no pin was missing in them.
#[derive(Debug)]
struct IntactPins {
    directories: [DirectoryState; 2],
    found: SystemTime,
}

/// Device, inode and change time of a directory, which differ once a name in it is created or removed.
type DirectoryState = (u64, u64, (i64, i64));

/// How long a directory must not have changed: two changes at once may have the same time. (Fractions are not compared.)
const SETTLED: Duration = Duration::from_secs(2);
/// After this time the directories are listed though their times did not change.
const LISTED: Duration = Duration::from_secs(60);

/// What was missing and is restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restored {
    /// A program at an interface; until it was attached again, packets were not checked there.
    Program {
        /// Index of the interface.
        interface: u32,
        /// The program.
        hook: Hook,
    },
    /// A pin; without it, the end of the agent would have detached the program or freed the map.
    Pin(PathBuf),
}

impl Loaded {
    /// The attachments and pins, for a thread that checks them.
    pub fn upkeep(&self) -> Upkeep {
        let (links, tables) = (Arc::clone(&self.links), Arc::clone(&self.tables));
        Upkeep { links, tables, entryless: Arc::clone(&self.entryless), intact: None }
    }
}

impl Upkeep {
    /// Restores what is missing. Returns what was restored, and why the rest was not.
    pub fn restore(&mut self) -> (Vec<Restored>, Vec<AttachError>) {
        let links = Arc::clone(&self.links);
        let Some(directory) = links.directory() else { return links.restore(true) };
        if let Err(error) = pin::prepare(directory) {
            return (Vec::new(), vec![error.into()]);
        }
        let now = IntactPins::now(directory);
        let are_pinned =
            self.intact.as_ref().zip(now.as_ref()).is_some_and(|(before, now)| now.is_like(before));
        let (mut restored, mut failures) = links.restore(are_pinned);
        if !are_pinned {
            match self.restore_maps(directory) {
                Ok(maps) => restored.extend(maps),
                Err(error) => failures.push(error.into()),
            }
            self.intact = now.filter(|now| restored.is_empty() && failures.is_empty() && now.is_settled());
        }
        (restored, failures)
    }

    fn restore_maps(&self, directory: &Path) -> Result<Vec<Restored>, PinError> {
        let pinned: BTreeSet<PathBuf> = pin::pins(&pin::maps(directory))?.into_iter().collect();
        let tables = self.tables.iter().map(|(map, table)| (map, table.as_fd()));
        let entryless = self.entryless.iter().map(|(map, descriptor)| (*map, descriptor.as_fd()));
        let mut restored = Vec::new();
        for (map, descriptor) in tables.chain(entryless) {
            let path = pin::map(directory, map);
            if !pinned.contains(&path) {
                let pinned = sys::pin(descriptor, &path);
                pinned.map_err(|source| PinError::Path { path: path.clone(), source })?;
                restored.push(Restored::Pin(path));
            }
        }
        Ok(restored)
    }
}

impl IntactPins {
    /// The directories as they are now; none if one cannot be read.
    fn now(directory: &Path) -> Option<Self> {
        let state = |directory: &Path| {
            let status = fs::metadata(directory).ok()?;
            Some((status.dev(), status.ino(), (status.ctime(), status.ctime_nsec())))
        };
        let directories = [state(&pin::links(directory))?, state(&pin::maps(directory))?];
        Some(Self { directories, found: SystemTime::now() })
    }

    /// Whether the directories are as they were a moment before.
    fn is_like(&self, before: &Self) -> bool {
        let passed = self.found.duration_since(before.found);
        self.directories == before.directories && passed.is_ok_and(|passed| passed < LISTED)
    }

    /// Whether a later change has a later time.
    fn is_settled(&self) -> bool {
        self.directories.iter().all(|(.., (seconds, _))| {
            let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.unsigned_abs());
            self.found.duration_since(changed).is_ok_and(|passed| passed >= SETTLED)
        })
    }
}

impl fmt::Display for Restored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Program { interface, hook } => {
                write!(f, "program {hook} at interface {interface} was detached, and is attached again")
            }
            Self::Pin(path) => write!(f, "{} was removed, and is pinned again", path.display()),
        }
    }
}
