//! The maps of a running packet path, opened by their pins to be read: by these descriptors nothing can be written.

use crate::pin;
use crate::read::{self, ReadError};
use crate::sys::{self, Table};
use abi::Address;
use abi::address::{AddressInfo, AddressKey};
use abi::config::Config;
use abi::conntrack::{ConnInfo, ConnKey};
use abi::endpoint::{EndpointInfo, EndpointKey};
use abi::map::{self, proxy_socket};
use abi::policy::{ClassKey, ColumnKey, GroupKey, VerdictInfo, VerdictKey};
use abi::row::Row;
use aya::maps::MapData;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// What a process beside the agent reads: flows, addresses, policies and the configuration. It holds no program.
#[derive(Debug)]
pub struct Pinned {
    maps: PathBuf,
    conntrack: Table,
    addresses: Table,
    endpoints: Table,
    columns: Table,
    cidr_parents: Table,
    groups: Table,
    classes: Table,
    verdicts: Table,
    config: Table,
}

/// Makes sockets the ones that packets of the proxy's interface find, for IPv4 and for IPv6: listeners, or the first of
/// several that share a port; none where the host lacks the family. They stay until they are closed. The process must be able
/// to write the pinned map.
pub fn set_proxy_sockets(directory: &Path, [v4, v6]: [Option<BorrowedFd<'_>>; 2]) -> io::Result<()> {
    let path = pin::maps(directory).join(map::PROXY_SOCKETS);
    let data = MapData::from_fd(sys::open_pinned(&path)?).map_err(io::Error::other)?;
    let info = data.info().map_err(io::Error::other)?;
    let table = Table::new(data.fd().as_fd().try_clone_to_owned()?, &info, None);
    let sockets = [(proxy_socket::V4, v4), (proxy_socket::V6, v6)];
    for (key, socket) in sockets.into_iter().filter_map(|(key, socket)| Some((key, socket?))) {
        table.update(key.as_bytes(), (socket.as_raw_fd() as u32).as_bytes())?;
    }
    Ok(())
}

impl Pinned {
    /// Opens the maps that are pinned under the directory ([`crate::pin_directory`]).
    pub fn open(directory: &Path) -> io::Result<Self> {
        let maps = pin::maps(directory);
        let table = |name| open(&maps.join(name));
        Ok(Self {
            conntrack: table(map::CONNTRACK)?,
            addresses: table(map::ADDRESSES)?,
            endpoints: table(map::ENDPOINTS)?,
            columns: table(map::COLUMNS)?,
            cidr_parents: table(map::CIDR_PARENTS)?,
            groups: table(map::GROUPS)?,
            classes: table(map::CLASSES)?,
            verdicts: table(map::VERDICTS)?,
            config: table(map::CONFIG)?,
            maps,
        })
    }

    /// What is known of an address.
    pub fn address(&self, address: Address) -> io::Result<Option<AddressInfo>> {
        find(&self.addresses, &AddressKey::host(address))
    }

    /// The workload behind an interface.
    pub fn endpoint(&self, key: &EndpointKey) -> io::Result<Option<EndpointInfo>> {
        find(&self.endpoints, key)
    }

    /// The column that a policy has for a CIDR class.
    pub fn column(&self, key: &ColumnKey) -> io::Result<Option<u32>> {
        find(&self.columns, key)
    }

    /// The CIDR class of the next block around that of a class.
    pub fn cidr_parent(&self, class: u32) -> io::Result<Option<u32>> {
        find(&self.cidr_parents, &class)
    }

    /// A grouping's group of a peer.
    pub fn group(&self, key: &GroupKey) -> io::Result<Option<u32>> {
        find(&self.groups, key)
    }

    /// The class that a group has in a column.
    pub fn class(&self, key: &ClassKey) -> io::Result<Option<u32>> {
        find(&self.classes, key)
    }

    /// The verdict with the longest prefix.
    pub fn verdict(&self, key: &VerdictKey) -> io::Result<Option<VerdictInfo>> {
        find(&self.verdicts, key)
    }

    /// Every row that an agent writes, in no order, as [`crate::Loaded::rows`] gives them.
    pub fn rows(&self) -> Result<Vec<Row>, ReadError> {
        read::rows(|map| open(&self.maps.join(map)).map_err(|source| ReadError { map, source }))
    }

    /// Every flow that is remembered, in no order, expired ones included.
    pub fn connections(&self) -> Result<Vec<(ConnKey, ConnInfo)>, ReadError> {
        read::connections(&self.conntrack)
    }

    /// The configuration in force.
    pub fn config(&self) -> io::Result<Config> {
        let value = self.config.lookup(0u32.as_bytes())?;
        value.map(|value| decode(&value)).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn find<K: IntoBytes + Immutable, V: FromBytes>(table: &Table, key: &K) -> io::Result<Option<V>> {
    Ok(table.lookup(key.as_bytes())?.map(|value| decode(&value)))
}

fn open(path: &Path) -> io::Result<Table> {
    let data = MapData::from_fd(sys::open_pinned_to_read(path)?).map_err(io::Error::other)?;
    let info = data.info().map_err(io::Error::other)?;
    Ok(Table::new(data.fd().as_fd().try_clone_to_owned()?, &info, None))
}

fn decode<T: FromBytes>(bytes: &[u8]) -> T {
    T::read_from_bytes(bytes).expect("a pin directory is of one layout, whose sizes are those of abi")
}
