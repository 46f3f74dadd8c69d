//! Loads the programs and makes the maps, and owns both.

use crate::links::{AttachError, Links, Mode};
use crate::namespace::namespace_cookie;
use crate::pin::{self, PinError};
use crate::pinned;
use crate::read::{Counters, MapEntries, ReadError, Tables, failed};
use crate::spec::{MapSpec, ObjectSpec, SpecError};
use crate::sys::{self, Table};
use crate::tracking::tracking_offsets;
use abi::Hook;
use abi::capacity::Capacities;
use abi::config::Config;
use abi::conntrack::{ConnInfo, ConnKey};
use abi::map::{self, Kind, MapId, Writer};
use abi::netfilter::{NODE_NAMESPACE, TrackingOffsets};
use abi::row::Row;
use aya::maps::{Map, MapData};
use aya::programs::{Program, ProgramError};
use aya::{Ebpf, EbpfLoader};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How to load.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where maps and links are pinned ([`crate::pin_directory`]), so that traffic flows, and policy applies, while no agent
    /// runs. Without a directory programs and maps end with [`Loaded`].
    pub pin_directory: Option<PathBuf>,
    /// How many entries the maps have room for.
    pub capacities: Capacities,
    /// How programs are attached to interfaces.
    pub mode: Mode,
    /// The control group of all processes of the node, for [`Loaded::attach_processes`].
    pub group: Option<PathBuf>,
}

/// The maps that have no entries to read: ring buffers and socket maps.
pub(crate) type Entryless = BTreeMap<MapId, OwnedFd>;

/// Programs and maps in the kernel.
#[derive(Debug)]
pub struct Loaded {
    pub(crate) tables: Arc<Tables>,
    pub(crate) entryless: Arc<Entryless>,
    pub(crate) links: Arc<Links>,
    pub(crate) capacities: Capacities,
}

/// Why the programs could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The object file has other programs or maps than `abi`.
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
        /// The verifier's log.
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
    /// A map's descriptor could not be opened.
    #[error("map {map}: {source}")]
    Map {
        /// The map.
        map: MapId,
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
        Self::open_spec(&ObjectSpec::embedded()?, options)
    }

    /// Loads the programs. Takes over pinned maps of the same shape, and replaces the programs of pinned links, so that policy
    /// applies to every packet meanwhile. New pins are made last, so that a failure leaves none.
    pub fn open_spec(spec: &ObjectSpec, options: Options) -> Result<Self, OpenError> {
        let Options { pin_directory, capacities, mode, group } = options;
        let wanted: Vec<_> = spec.maps().iter().filter_map(|map| sized(map, &capacities)).collect();
        let pinned = match &pin_directory {
            Some(directory) => pinned_maps(directory, &wanted)?,
            None => Vec::new(),
        };
        let pins = pin_directory
            .iter()
            .flat_map(|directory| pinned.iter().map(|&map| (map, pin::map(directory, map))));
        let mut ebpf = make_maps(spec, &wanted, pins)?;
        for &hook in Hook::ALL {
            load_program(&mut ebpf, hook)?;
        }
        if let Some(directory) = &pin_directory {
            let new = MapId::ALL.iter().filter(|map| !pinned.contains(map));
            new.copied().try_for_each(|map| pin_map(&ebpf, map, directory))?;
        }
        let tables = Tables::open(MapId::ALL, |map| {
            let failed = |source| OpenError::Map { map, source };
            Table::open(descriptor(&ebpf, map)?, map.kind()).map_err(failed)
        })?;
        let entryless = MapId::ALL.iter().copied().filter(|map| !map.kind().has_entries());
        let entryless = entryless.map(|map| Ok((map, descriptor(&ebpf, map)?)));
        let entryless = Arc::new(entryless.collect::<Result<Entryless, OpenError>>()?);
        MapId::ALL.iter().for_each(|map| drop(ebpf.take_map(map.name())));
        let links = Arc::new(Links::new(mode, (pin_directory, group), ebpf));
        links.take_over()?;
        Ok(Self { tables: Arc::new(tables), entryless, links, capacities })
    }

    /// How many instructions the verifier processed to accept the hook's program. Linux 5.16.
    pub fn verified_instructions(&self, hook: Hook) -> Option<u32> {
        self.program(hook).info().ok()?.verified_instruction_count()
    }

    pub(crate) fn program(&self, hook: Hook) -> &Program {
        self.links.loaded(hook)
    }

    /// Every row that [`Self::apply`] can write, the configuration included, in no order.
    pub fn rows(&self) -> Result<Vec<Row>, ReadError> {
        self.tables.rows()
    }

    /// Every flow, answered and not, in no order, expired ones included.
    pub fn connections(&self) -> Result<Vec<(ConnKey, ConnInfo)>, ReadError> {
        self.tables.connections()
    }

    /// Removes all entries of a map that the packet path writes.
    pub fn clear<M: map::Map>(&self, _map: M) -> Result<(), ReadError> {
        const { assert!(matches!(M::ID.writer(), Writer::Kernel) && matches!(M::ID.kind(), Kind::LruHash)) };
        pinned::remove_all(self.tables.of(M::ID)?).map_err(failed(M::ID))
    }

    /// Every entry of a map, in no order.
    pub fn entries<M: map::Map>(&self, _map: M) -> Result<MapEntries<M>, ReadError> {
        const { assert!(M::ID.kind().has_entries() && !matches!(M::ID.kind(), Kind::PerCpuArray)) };
        self.tables.entries::<M>()
    }

    /// The configuration in force.
    pub fn config(&self) -> Result<Config, ReadError> {
        self.tables.config()
    }

    /// The packet counters, for any thread.
    pub fn counters(&self) -> Counters {
        Counters(Arc::clone(&self.tables))
    }
}

/// The map with the capacity that it is made with; none where the map is not one of `abi`, as the constants of a program.
fn sized(map: &MapSpec, capacities: &Capacities) -> Option<(MapId, MapSpec)> {
    let id = MapId::from_name(&map.name)?;
    Some((id, MapSpec { capacity: capacities.of(id), ..map.clone() }))
}

/// The maps that are pinned already.
fn pinned_maps(directory: &Path, wanted: &[(MapId, MapSpec)]) -> Result<Vec<MapId>, PinError> {
    pin::prepare(directory)?;
    let mut pinned = Vec::new();
    for (id, map) in wanted {
        if pin::is_pinned(&pin::map(directory, *id), map)? {
            pinned.push(*id);
        }
    }
    Ok(pinned)
}

/// Loads the object file: makes the maps that are not pinned, and opens those that are.
fn make_maps(
    spec: &ObjectSpec,
    wanted: &[(MapId, MapSpec)],
    pins: impl Iterator<Item = (MapId, PathBuf)>,
) -> Result<Ebpf, OpenError> {
    let mut loader = EbpfLoader::new();
    for (id, map) in wanted {
        loader.map_max_entries(id.name(), map.capacity);
    }
    let pins: Vec<_> = pins.collect();
    for (id, path) in &pins {
        loader.map_pin_path(id.name(), path.as_path());
    }
    let tracking = tracking_offsets().as_ref().copied().unwrap_or(TrackingOffsets::UNKNOWN).to_bytes();
    loader.override_global(TrackingOffsets::VARIABLE, &tracking, true);
    let namespace = namespace_cookie().unwrap_or(0);
    loader.override_global(NODE_NAMESPACE, &namespace, true);
    loader.load(&spec.object).map_err(|error| OpenError::Maps(Box::new(error)))
}

/// Pins a map that was just made.
fn pin_map(ebpf: &Ebpf, map: MapId, directory: &Path) -> Result<(), OpenError> {
    let path = pin::map(directory, map);
    let pinned = sys::pin(descriptor(ebpf, map)?.as_fd(), &path);
    pinned.map_err(|source| PinError::Path { path, source }.into())
}

/// A new descriptor of a map.
fn descriptor(ebpf: &Ebpf, map: MapId) -> Result<OwnedFd, OpenError> {
    let data = ebpf.map(map.name()).and_then(map_data).ok_or(SpecError::MapMissing(map))?;
    data.fd().as_fd().try_clone_to_owned().map_err(|source| OpenError::Map { map, source })
}

fn load_program(ebpf: &mut Ebpf, hook: Hook) -> Result<(), OpenError> {
    let program = ebpf.program_mut(hook.name()).ok_or(SpecError::ProgramMissing(hook))?;
    let loaded = match program {
        Program::SchedClassifier(program) => program.load(),
        Program::SkLookup(program) => program.load(),
        Program::CgroupSockAddr(program) => program.load(),
        _ => return Err(SpecError::ProgramMissing(hook).into()),
    };
    loaded.map_err(|error| match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            OpenError::Program { hook, source: io_error, log: verifier_log.to_string() }
        }
        other => OpenError::Load { hook, source: Box::new(other) },
    })
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

/// The lines of a verifier's log that describe the error: the last ones before the statistics.
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
