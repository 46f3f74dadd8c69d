//! The programs and maps in the kernel, and the way there.

use crate::attach::{AttachError, Links, Mode};
use crate::pin::{self, PinError};
use crate::shape::{Capacities, kind};
use crate::spec::{MapSpec, Spec, SpecError};
use crate::sys::{self, Table};
use abi::Hook;
use aya::maps::{Map, MapData};
use aya::programs::{Program, ProgramError};
use aya::{Ebpf, EbpfLoader};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// How to load.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where maps and links are pinned ([`crate::pin_directory`]), so that traffic keeps flowing, under policy, while
    /// no agent runs. With none, everything ends with [`Loaded`].
    pub pin_directory: Option<PathBuf>,
    /// Room in the maps.
    pub capacities: Capacities,
    /// How programs are attached to interfaces.
    pub mode: Mode,
}

/// Programs and maps in the kernel.
#[derive(Debug)]
pub struct Loaded {
    pub(crate) ebpf: Ebpf,
    pub(crate) tables: BTreeMap<String, Table>,
    pub(crate) events: OwnedFd,
    pub(crate) links: Links,
    pub(crate) capacities: Capacities,
}

/// Why the programs could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The object file is not ours.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// Pins could not be read or made.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The kernel refused a map or the type information.
    #[error("maps could not be made: {0}; it takes root (CAP_BPF and CAP_NET_ADMIN) and a kernel with BPF")]
    Maps(#[source] Box<aya::EbpfError>),
    /// The kernel refused a program.
    #[error("the kernel refuses program {hook} ({source}): {}", gist(log))]
    Program {
        /// The program.
        hook: Hook,
        /// The system call's error.
        source: io::Error,
        /// All that the verifier said.
        log: String,
    },
    /// A program could not be loaded for another reason.
    #[error("program {hook} could not be loaded: {source}")]
    Load {
        /// The program.
        hook: Hook,
        /// Why.
        source: Box<ProgramError>,
    },
    /// A descriptor could not be had.
    #[error("map {map}: {source}")]
    Map {
        /// The map.
        map: String,
        /// Why.
        source: io::Error,
    },
    /// The programs of an earlier run could not be replaced.
    #[error(transparent)]
    Attach(#[from] AttachError),
}

impl Loaded {
    /// Loads the programs that were compiled with this crate; see [`Self::open_spec`].
    pub fn open(options: Options) -> Result<Self, OpenError> {
        Self::open_spec(&Spec::embedded()?, options)
    }

    /// Loads the programs; takes over pinned maps of the same shape, and puts the programs into the places of those
    /// that pinned links hold, so that no packet passes unguarded. New pins are made last: what fails leaves none.
    pub fn open_spec(spec: &Spec, options: Options) -> Result<Self, OpenError> {
        let Options { pin_directory, capacities, mode } = options;
        let wanted: Vec<MapSpec> = spec.maps().iter().map(|map| sized(map, &capacities)).collect();
        let pinned = match &pin_directory {
            Some(directory) => pinned_maps(directory, &wanted)?,
            None => Vec::new(),
        };
        let mut ebpf = make_maps(spec, &wanted, &pinned)?;
        for &hook in Hook::ALL {
            load_program(&mut ebpf, hook)?;
        }
        let mut tables = BTreeMap::new();
        let mut events = None;
        for (name, map) in ebpf.maps() {
            let Some(data) = map_data(map).filter(|_| is_ours(name)) else { continue };
            let new = pin_directory.as_deref().filter(|_| !pinned.iter().any(|(pinned, _)| pinned == name));
            let (descriptor, table) = open_map(name, data, new)?;
            match table {
                Some(table) => drop(tables.insert(name.to_owned(), table)),
                None => events = Some(descriptor),
            }
        }
        let events = events.ok_or(SpecError::MapMissing(abi::map::EVENTS))?;
        let links = Links::new(mode, pin_directory);
        let mut loaded = Self { ebpf, tables, events, links, capacities };
        loaded.take_over_links()?;
        Ok(loaded)
    }

    /// How many instructions the verifier went through to accept the hook's program. Linux 5.16.
    pub fn verified_instructions(&self, hook: Hook) -> Option<u32> {
        self.program(hook).info().ok()?.verified_instruction_count()
    }

    pub(crate) fn program(&self, hook: Hook) -> &Program {
        self.ebpf.program(hook.name()).expect("the spec was checked for every hook")
    }

    pub(crate) fn table(&self, name: &str) -> &Table {
        self.tables.get(name).expect("the spec was checked for every map of abi")
    }
}

/// Only maps that carry the prefix of `abi` outlive a run: constants of a program are the program's.
fn is_ours(name: &str) -> bool {
    name.starts_with("NX_")
}

fn sized(map: &MapSpec, capacities: &Capacities) -> MapSpec {
    MapSpec { capacity: capacities.of(&map.name).unwrap_or(map.capacity), ..map.clone() }
}

/// Name and path of the maps that are pinned already.
fn pinned_maps(directory: &Path, wanted: &[MapSpec]) -> Result<Vec<(String, PathBuf)>, PinError> {
    pin::prepare(directory)?;
    let mut pinned = Vec::new();
    for map in wanted.iter().filter(|map| is_ours(&map.name)) {
        let path = pin::maps(directory).join(&map.name);
        if pin::is_pinned(&path, map)? {
            pinned.push((map.name.clone(), path));
        }
    }
    Ok(pinned)
}

fn make_maps(spec: &Spec, wanted: &[MapSpec], pinned: &[(String, PathBuf)]) -> Result<Ebpf, OpenError> {
    let mut loader = EbpfLoader::new();
    for map in wanted.iter().filter(|map| is_ours(&map.name)) {
        loader.map_max_entries(&map.name, map.capacity);
    }
    for (name, path) in pinned {
        loader.map_pin_path(name, path.as_path());
    }
    loader.load(&spec.object).map_err(|error| OpenError::Maps(Box::new(error)))
}

fn load_program(ebpf: &mut Ebpf, hook: Hook) -> Result<(), OpenError> {
    let program = ebpf.program_mut(hook.name()).ok_or(SpecError::ProgramMissing(hook))?;
    let loaded = match program {
        Program::SchedClassifier(program) => program.load(),
        Program::SkLookup(program) => program.load(),
        _ => return Err(SpecError::ProgramMissing(hook).into()),
    };
    loaded.map_err(|error| match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            OpenError::Program { hook, source: io_error, log: verifier_log.to_string() }
        }
        other => OpenError::Load { hook, source: Box::new(other) },
    })
}

/// A descriptor of the map, pinned if it is new, and the map as a table unless it is a ring buffer.
fn open_map(name: &str, data: &MapData, new: Option<&Path>) -> Result<(OwnedFd, Option<Table>), OpenError> {
    let failed = |source| OpenError::Map { map: name.to_owned(), source };
    if let Some(directory) = new {
        let path = pin::maps(directory).join(name);
        sys::pin(data.fd().as_fd(), &path).map_err(|source| PinError::Path { path, source })?;
    }
    let clone = || data.fd().as_fd().try_clone_to_owned().map_err(failed);
    let info = data.info().map_err(|error| failed(io::Error::other(error)))?;
    let number = info.map_type().map_or(0, |kind| kind as u32);
    let table = match number {
        kind::RING_BUFFER => None,
        kind::PER_CPU_ARRAY => {
            let cpus = aya::util::nr_cpus().map_err(|(_, error)| failed(error))?;
            Some(Table::new(clone()?, &info, Some(cpus)))
        }
        _ => Some(Table::new(clone()?, &info, None)),
    };
    Ok((clone()?, table))
}

fn map_data(map: &Map) -> Option<&MapData> {
    match map {
        Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::LpmTrie(data)
        | Map::Array(data)
        | Map::PerCpuArray(data)
        | Map::SockMap(data)
        | Map::RingBuf(data) => Some(data),
        _ => None,
    }
}

/// The lines of a verifier's log that say what is wrong: its last ones, without the statistics below them.
fn gist(log: &str) -> String {
    const LINES: usize = 4;
    let says = |line: &&str| {
        !line.is_empty()
            && !["processed ", "verification time", "stack depth"].iter().any(|start| line.starts_with(start))
    };
    let lines: Vec<_> = log.lines().map(str::trim_end).filter(says).collect();
    if lines.is_empty() {
        "the verifier said nothing".to_owned()
    } else {
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gist_of_a_log_is_what_comes_before_the_statistics() {
        let log = "func#0 @0\n0: (b7) r0 = 0\n1: (79) r1 = *(u64 *)(r2 +0)\nR2 !read_ok\n\
                   verification time 71 usec\nstack depth 0\nprocessed 2 insns (limit 1000000)\n";
        assert_eq!(gist(log), "func#0 @0\n0: (b7) r0 = 0\n1: (79) r1 = *(u64 *)(r2 +0)\nR2 !read_ok");
        assert_eq!(gist("\n"), "the verifier said nothing");
    }
}
