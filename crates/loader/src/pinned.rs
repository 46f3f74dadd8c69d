//! The maps of a running packet path, opened by their pins to be read: nothing can be written by these descriptors.

use crate::pin;
use crate::read::{MapEntries, ReadError, Tables, failed};
use crate::sys::{self, Table};
use abi::config::Config;
use abi::map::{self, Kind, Map, MapId, Writer, proxy_socket};
use abi::row::Row;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;
use zerocopy::IntoBytes;

/// The maps that a process beside the agent reads, and no other map and no program.
#[derive(Debug)]
pub struct Pinned {
    tables: Tables,
}

/// Makes sockets the ones that packets of the proxy's interface find, for IPv4 and for IPv6: listeners, or the first of
/// several that share a port; none where the host lacks the family. They stay until they are closed. The process must be able
/// to write the pinned map.
pub fn set_proxy_sockets(directory: &Path, [v4, v6]: [Option<BorrowedFd<'_>>; 2]) -> io::Result<()> {
    let map = MapId::ProxySockets;
    let table = Table::open(sys::open_pinned(&pin::map(directory, map))?, map.kind())?;
    let sockets = [(proxy_socket::V4, v4), (proxy_socket::V6, v6)];
    for (key, socket) in sockets.into_iter().filter_map(|(key, socket)| Some((key, socket?))) {
        table.update(key.as_bytes(), (socket.as_raw_fd() as u32).as_bytes())?;
    }
    Ok(())
}

/// Removes all entries of a pinned map that the packet path writes, as if they had expired. The process must be able to write
/// the map.
pub fn clear<M: Map>(directory: &Path, _map: M) -> Result<(), ReadError> {
    const { assert!(matches!(M::ID.writer(), Writer::Kernel) && matches!(M::ID.kind(), Kind::LruHash)) };
    let map = M::ID;
    let table = sys::open_pinned(&pin::map(directory, map));
    let cleared = table.and_then(|table| Table::open(table, map.kind())).and_then(|table| remove_all(&table));
    cleared.map_err(failed(map))
}

/// Removes all entries of a map.
pub(crate) fn remove_all(table: &Table) -> io::Result<()> {
    table.rows()?.iter().try_for_each(|(key, _)| table.delete(key).map(drop))
}

impl Pinned {
    /// Opens these of the maps that are pinned under the directory ([`crate::pin_directory`]). Reading another map fails.
    pub fn open(directory: &Path, maps: &[MapId]) -> Result<Self, ReadError> {
        let open = |map: MapId| {
            let table = sys::open_pinned_to_read(&pin::map(directory, map));
            table.and_then(|descriptor| Table::open(descriptor, map.kind())).map_err(failed(map))
        };
        Tables::open(maps, open).map(|tables| Self { tables })
    }

    /// The value of a key; of a trie the one with the longest prefix. None where the map has no such entry.
    ///
    /// Does not compile for a map without one value for each key: a per-CPU array, a socket map, a ring buffer.
    pub fn lookup<M: Map>(&self, _map: M, key: &M::Key) -> Result<Option<M::Value>, ReadError> {
        const { assert!(M::ID.kind().has_entries() && !matches!(M::ID.kind(), Kind::PerCpuArray)) };
        self.tables.lookup::<M>(key)
    }

    /// Every row that an agent writes, in no order, as [`crate::Loaded::rows`] gives them. All maps that an agent writes must
    /// be open.
    pub fn rows(&self) -> Result<Vec<Row>, ReadError> {
        self.tables.rows()
    }

    /// Every entry of a map, in no order. A map whose entries expire may have expired entries.
    pub fn entries<M: Map>(&self, _map: M) -> Result<MapEntries<M>, ReadError> {
        const { assert!(M::ID.kind().has_entries() && !matches!(M::ID.kind(), Kind::PerCpuArray)) };
        self.tables.entries::<M>()
    }

    /// Every flow, answered and not, in no order, expired ones included. The maps [`MapId::Conntrack`] and
    /// [`MapId::Openings`] must be open.
    pub fn connections(&self) -> Result<MapEntries<map::Conntrack>, ReadError> {
        self.tables.connections()
    }

    /// The configuration in force.
    pub fn config(&self) -> Result<Config, ReadError> {
        self.tables.config()
    }
}
