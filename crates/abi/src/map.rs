//! Names, shapes and default sizes of the maps, as `bpf` shows and pins them.

/// Longest-prefix trie: [`crate::address::AddressKey`] to [`crate::address::AddressInfo`]. An address without a row is
/// dropped, so each family has a row for all of it (`::/0` and `::ffff:0:0/96`).
pub const ADDRESSES: &str = "NX_ADDRESSES";
/// Hash: [`crate::endpoint::EndpointKey`] to [`crate::endpoint::EndpointInfo`].
pub const ENDPOINTS: &str = "NX_ENDPOINTS";
/// Hash: [`crate::policy::ColumnKey`] to `u32`.
pub const COLUMNS: &str = "NX_COLUMNS";
/// Hash: CIDR class (`u32`) to the class of the next block around its own (`u32`).
pub const CIDR_PARENTS: &str = "NX_CIDR_PARENTS";
/// Hash: [`crate::policy::GroupKey`] to `u32`.
pub const GROUPS: &str = "NX_GROUPS";
/// Hash: [`crate::policy::ClassKey`] to `u32`.
pub const CLASSES: &str = "NX_CLASSES";
/// Longest-prefix trie: [`crate::policy::VerdictKey`] to [`crate::policy::VerdictInfo`].
pub const VERDICTS: &str = "NX_VERDICTS";
/// LRU hash: [`crate::conntrack::ConnKey`] to [`crate::conntrack::ConnInfo`].
pub const CONNTRACK: &str = "NX_CONNTRACK";
/// LRU hash: [`crate::conntrack::FragmentKey`] to [`crate::conntrack::FragmentInfo`].
pub const FRAGMENTS: &str = "NX_FRAGMENTS";
/// Hash: [`crate::service::ServiceKey`] to [`crate::service::ServiceInfo`].
pub const SERVICES: &str = "NX_SERVICES";
/// Hash: [`crate::service::BackendKey`] to [`crate::service::BackendInfo`].
pub const BACKENDS: &str = "NX_BACKENDS";
/// Array of one [`crate::config::Config`].
pub const CONFIG: &str = "NX_CONFIG";
/// Per-CPU array: [`crate::event::counter_index`] to [`crate::event::Counter`].
pub const COUNTERS: &str = "NX_COUNTERS";
/// Per-CPU array of one: room to work in, of no meaning to user space.
pub const SCRATCH: &str = "NX_SCRATCH";
/// Socket map: [`proxy_socket`] to a socket of the node proxy that listens for that family; the others that share its port
/// share its connections. The proxy puts them in.
pub const PROXY_SOCKETS: &str = "NX_PROXY_SOCKETS";
/// Ring buffer of [`crate::event::FlowEvent`].
pub const EVENTS: &str = "NX_EVENTS";

/// Keys of [`PROXY_SOCKETS`].
pub mod proxy_socket {
    /// For IPv4.
    pub const V4: u32 = 0;
    /// For IPv6.
    pub const V6: u32 = 1;
    /// How many there are.
    pub const ALL: u32 = 2;
}

/// Default number of rows of each map that has a limit.
pub mod capacity {
    /// Rows of the address trie.
    pub const ADDRESSES: u32 = 512 * 1024;
    /// Workloads of a node.
    pub const ENDPOINTS: u32 = 4096;
    /// Rows by which policies name columns.
    pub const COLUMNS: u32 = 256 * 1024;
    /// CIDR classes that have a parent.
    pub const CIDR_PARENTS: u32 = 128 * 1024;
    /// Rows of groups of peers.
    pub const GROUPS: u32 = 512 * 1024;
    /// Rows of classes.
    pub const CLASSES: u32 = 512 * 1024;
    /// Rows of verdicts.
    pub const VERDICTS: u32 = 512 * 1024;
    /// Flows that are remembered; the least recently used make room.
    pub const CONNTRACK: u32 = 256 * 1024;
    /// Fragmented packets under way.
    pub const FRAGMENTS: u32 = 8 * 1024;
    /// Service addresses.
    pub const SERVICES: u32 = 64 * 1024;
    /// Backend slots.
    pub const BACKENDS: u32 = 256 * 1024;
    /// Bytes of the event ring, a power of two.
    pub const EVENT_BYTES: u32 = 1024 * 1024;
}
