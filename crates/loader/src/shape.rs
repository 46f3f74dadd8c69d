//! What the maps must look like: kinds and sizes by `abi`, capacities by choice.

use abi::address::{AddressInfo, AddressKey};
use abi::config::Config;
use abi::conntrack::{ConnInfo, ConnKey, FragmentInfo, FragmentKey};
use abi::endpoint::{EndpointInfo, EndpointKey};
use abi::event::Counter;
use abi::map::{self, capacity};
use abi::policy::{ClassKey, ColumnKey, GroupKey, VerdictInfo, VerdictKey};
use abi::service::{BackendInfo, BackendKey, ServiceInfo, ServiceKey};

/// Kind of a map, from `enum bpf_map_type`.
pub(crate) mod kind {
    pub(crate) const HASH: u32 = 1;
    pub(crate) const ARRAY: u32 = 2;
    pub(crate) const PER_CPU_ARRAY: u32 = 6;
    pub(crate) const LRU_HASH: u32 = 9;
    pub(crate) const LPM_TRIE: u32 = 11;
    pub(crate) const SOCKET_MAP: u32 = 15;
    pub(crate) const RING_BUFFER: u32 = 27;

    /// The kind's name as `bpftool` writes it.
    pub(crate) fn name(kind: u32) -> &'static str {
        match kind {
            HASH => "hash",
            ARRAY => "array",
            PER_CPU_ARRAY => "percpu_array",
            LRU_HASH => "lru_hash",
            LPM_TRIE => "lpm_trie",
            SOCKET_MAP => "sockmap",
            RING_BUFFER => "ringbuf",
            _ => "other",
        }
    }
}

/// Kind and sizes of one map of `abi`.
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) kind: u32,
    pub(crate) key_size: u32,
    pub(crate) value_size: u32,
}

const fn shape<K, V>(name: &'static str, kind: u32) -> Shape {
    Shape { name, kind, key_size: size_of::<K>() as u32, value_size: size_of::<V>() as u32 }
}

/// Every map of `abi`.
pub(crate) const SHAPES: [Shape; 15] = [
    shape::<AddressKey, AddressInfo>(map::ADDRESSES, kind::LPM_TRIE),
    shape::<EndpointKey, EndpointInfo>(map::ENDPOINTS, kind::HASH),
    shape::<ColumnKey, u32>(map::COLUMNS, kind::HASH),
    shape::<u32, u32>(map::CIDR_PARENTS, kind::HASH),
    shape::<GroupKey, u32>(map::GROUPS, kind::HASH),
    shape::<ClassKey, u32>(map::CLASSES, kind::HASH),
    shape::<VerdictKey, VerdictInfo>(map::VERDICTS, kind::LPM_TRIE),
    shape::<ConnKey, ConnInfo>(map::CONNTRACK, kind::LRU_HASH),
    shape::<FragmentKey, FragmentInfo>(map::FRAGMENTS, kind::LRU_HASH),
    shape::<ServiceKey, ServiceInfo>(map::SERVICES, kind::HASH),
    shape::<BackendKey, BackendInfo>(map::BACKENDS, kind::HASH),
    shape::<u32, Config>(map::CONFIG, kind::ARRAY),
    shape::<u32, Counter>(map::COUNTERS, kind::PER_CPU_ARRAY),
    shape::<u32, u32>(map::PROXY_SOCKETS, kind::SOCKET_MAP),
    shape::<(), ()>(map::EVENTS, kind::RING_BUFFER),
];

/// How many rows each map has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacities {
    /// Rows of the address trie.
    pub addresses: u32,
    /// Workloads of a node.
    pub endpoints: u32,
    /// Rows by which policies name columns.
    pub columns: u32,
    /// CIDR classes that have a parent.
    pub cidr_parents: u32,
    /// Rows of groups of peers.
    pub groups: u32,
    /// Rows of classes.
    pub classes: u32,
    /// Rows of verdicts.
    pub verdicts: u32,
    /// Flows that are remembered.
    pub conntrack: u32,
    /// Fragmented packets under way.
    pub fragments: u32,
    /// Service addresses.
    pub services: u32,
    /// Backend slots.
    pub backends: u32,
    /// Bytes of the event ring, a power of two and at least a page.
    pub event_bytes: u32,
}

impl Capacities {
    /// Enough for a test or a benchmark, and quick to make.
    pub const SMALL: Self = Self {
        addresses: 4096,
        endpoints: 256,
        columns: 4096,
        cidr_parents: 4096,
        groups: 4096,
        classes: 4096,
        verdicts: 16 * 1024,
        conntrack: 16 * 1024,
        fragments: 256,
        services: 1024,
        backends: 1024,
        event_bytes: 256 * 1024,
    };

    /// The capacity of the map with this name, where it is ours to choose.
    pub(crate) fn of(&self, name: &str) -> Option<u32> {
        Some(match name {
            map::ADDRESSES => self.addresses,
            map::ENDPOINTS => self.endpoints,
            map::COLUMNS => self.columns,
            map::CIDR_PARENTS => self.cidr_parents,
            map::GROUPS => self.groups,
            map::CLASSES => self.classes,
            map::VERDICTS => self.verdicts,
            map::CONNTRACK => self.conntrack,
            map::FRAGMENTS => self.fragments,
            map::SERVICES => self.services,
            map::BACKENDS => self.backends,
            map::EVENTS => self.event_bytes,
            _ => return None,
        })
    }
}

impl Default for Capacities {
    fn default() -> Self {
        Self {
            addresses: capacity::ADDRESSES,
            endpoints: capacity::ENDPOINTS,
            columns: capacity::COLUMNS,
            cidr_parents: capacity::CIDR_PARENTS,
            groups: capacity::GROUPS,
            classes: capacity::CLASSES,
            verdicts: capacity::VERDICTS,
            conntrack: capacity::CONNTRACK,
            fragments: capacity::FRAGMENTS,
            services: capacity::SERVICES,
            backends: capacity::BACKENDS,
            event_bytes: capacity::EVENT_BYTES,
        }
    }
}
