//! Checks that programs are attached and that maps and links are pinned, and restores what other programs removed.

use crate::links::{AttachError, Links};
use crate::loaded::{Entryless, Loaded};
use crate::pin::{self, PinError};
use crate::read::Tables;
use crate::sys;
use abi::Hook;
use std::collections::BTreeSet;
use std::fmt;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The attachments and pins of a packet path; any thread in the network namespace of the interfaces may check them.
#[derive(Debug)]
pub struct Upkeep {
    links: Arc<Links>,
    tables: Arc<Tables>,
    entryless: Arc<Entryless>,
}

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
        Upkeep { links, tables, entryless: Arc::clone(&self.entryless) }
    }
}

impl Upkeep {
    /// Restores what is missing. Returns what was restored, and why the rest was not.
    pub fn restore(&self) -> (Vec<Restored>, Vec<AttachError>) {
        let Some(directory) = self.links.directory() else { return self.links.restore() };
        if let Err(error) = pin::prepare(directory) {
            return (Vec::new(), vec![error.into()]);
        }
        let (mut restored, mut failures) = self.links.restore();
        match self.restore_maps(directory) {
            Ok(maps) => restored.extend(maps),
            Err(error) => failures.push(error.into()),
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
