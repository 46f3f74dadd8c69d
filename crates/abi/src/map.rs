//! The list of maps: name, kind, key and value, capacity and writer of each, once.
//!
//! The list is the macro [`with_maps!`](crate::with_maps). The rest of this crate, the loader, the programs and the native
//! engine take from it what they know of maps. So a new map touches this list, the code that writes it, and the code that
//! reads it:
//!
//! 1. Key and value: two `#[repr(C)]` types of this crate with the derives of their neighbours. (Where a pinned map changes
//!    its kind, key or value, [`crate::LAYOUT`] rises.)
//! 2. One line of the list. The name of the map's type is how code names the map: `maps.lookup(map::Services, &key)`.
//! 3. A writer. [`Writer::Control`]: `control` puts [`crate::row::Row`]s, whose variant the line names. [`Writer::Kernel`]:
//!    the packet path writes entries by `datapath::Maps`. [`Writer::Proxy`]: the proxy.
//! 4. A reader: a stage of `datapath`, by `datapath::Maps`, or user space, by `loader::Loaded` or `loader::Pinned`.
//! 5. The golden file of the layout: `NEXIN_REFRESH=1 cargo test -p nexin-abi --test layout`.

use crate::address::{AddressInfo, AddressKey};
use crate::conntrack::{ConnInfo, ConnKey, FragmentInfo, FragmentKey};
use crate::endpoint::{EndpointInfo, EndpointKey};
use crate::event::{COUNTER_ROWS, Counter, FlowEvent};
use crate::masquerade::MasqueradeInfo;
use crate::policy::{ClassKey, ColumnKey, GroupKey, VerdictInfo, VerdictKey};
use crate::service::{BackendInfo, BackendKey, ChoiceInfo, ChoiceKey, ForwardInfo, ServiceInfo, ServiceKey};
use core::fmt;
use core::hash::Hash;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// How the kernel keeps a map, with its number in `enum bpf_map_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Kind {
    /// A hash map whose entries take memory when they are written, and not before.
    Hash = 1,
    /// An array, indexed by a `u32`: all entries are there from the start, and none can be removed.
    Array = 2,
    /// An array with a value for each CPU.
    PerCpuArray = 6,
    /// A hash map in which the least recently used entries make room for new ones.
    LruHash = 9,
    /// A trie: a lookup returns the entry with the longest prefix. Its keys begin with the prefix's length in bits, a `u32`.
    LpmTrie = 11,
    /// Sockets, indexed by a `u32`.
    SocketMap = 15,
    /// A ring buffer, which has no keys; its capacity is in bytes.
    RingBuffer = 27,
}

/// Who writes a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Writer {
    /// `control`, through the loader. Programs only read it.
    Control,
    /// The programs. User space reads it, and may remove entries.
    Kernel,
    /// The node proxy.
    Proxy,
}

/// A map, by a type: what connects the map's name with the types of its keys and values.
pub trait Map: Copy {
    /// The map as a value.
    const ID: MapId;
    /// What an entry is found by.
    type Key: Copy + fmt::Debug + Eq + Ord + Hash + IntoBytes + FromBytes + Immutable + 'static;
    /// What an entry holds; of a ring buffer, what it carries.
    type Value: Copy + fmt::Debug + Eq + IntoBytes + FromBytes + Immutable + KnownLayout + 'static;
}

/// Calls the macro `$then` with the list of maps.
///
/// A line is: the type by which code names the map, the name by which the kernel shows and pins it, the kind with key and
/// value, the number of entries that it has room for by default and in tests, the writer, and, where `control` writes it, the
/// variant of [`Row`](crate::row::Row) that holds a key and a value (`row`) or the single value of an array of one (`value`).
#[macro_export]
macro_rules! with_maps {
    ($then:ident) => {
        $then! {
            /// What is known of an address, by its longest prefix. An address without an entry is dropped, so each family
            /// has an entry for all of it (`::/0` and `::ffff:0:0/96`).
            Addresses = NX_ADDRESSES: LpmTrie<AddressKey, AddressInfo>,
                capacity 512 * 1024, in tests 4096, written by Control, row Address;
            /// The endpoints of this node, by their host-side interface.
            Endpoints = NX_ENDPOINTS: Hash<EndpointKey, EndpointInfo>,
                capacity 4096, in tests 256, written by Control, row Endpoint;
            /// The column of a policy for a CIDR class (see [`policy`](crate::policy)).
            Columns = NX_COLUMNS: Hash<ColumnKey, u32>,
                capacity 256 * 1024, in tests 4096, written by Control, row Column;
            /// The CIDR class of the smallest block around the blocks of a CIDR class.
            CidrParents = NX_CIDR_PARENTS: Hash<u32, u32>,
                capacity 128 * 1024, in tests 4096, written by Control, row CidrParent;
            /// The group of a peer in a grouping.
            Groups = NX_GROUPS: Hash<GroupKey, u32>,
                capacity 512 * 1024, in tests 4096, written by Control, row Group;
            /// The class of a group in a column.
            Classes = NX_CLASSES: Hash<ClassKey, u32>,
                capacity 512 * 1024, in tests 4096, written by Control, row Class;
            /// The verdicts of a class, by direction, protocol and port.
            Verdicts = NX_VERDICTS: LpmTrie<VerdictKey, VerdictInfo>,
                capacity 512 * 1024, in tests 16 * 1024, written by Control, row Verdict;
            /// The backend set of a service address.
            Services = NX_SERVICES: Hash<ServiceKey, ServiceInfo>,
                capacity 64 * 1024, in tests 1024, written by Control, row Service;
            /// The backends of a set, by index.
            Backends = NX_BACKENDS: Hash<BackendKey, BackendInfo>,
                capacity 256 * 1024, in tests 1024, written by Control, row Backend;
            /// The configuration of the node.
            Config = NX_CONFIG: Array<u32, $crate::config::Config>,
                capacity 1, in tests 1, written by Control, value Config;
            /// The connections of the endpoints: the flows that both ends have sent packets of.
            Conntrack = NX_CONNTRACK: LruHash<ConnKey, ConnInfo>,
                capacity 256 * 1024, in tests 16 * 1024, written by Kernel;
            /// The flows of which one end alone has sent packets. A flow that is refused on its way stays here, so refused
            /// flows take no room from connections, however many there are.
            Openings = NX_OPENINGS: LruHash<ConnKey, ConnInfo>,
                capacity 64 * 1024, in tests 4096, written by Kernel;
            /// The backends that were chosen for flows to services. Room for as many as the connections' map holds where each
            /// flow has an entry at both of its ends.
            Choices = NX_CHOICES: LruHash<ChoiceKey, ChoiceInfo>,
                capacity 128 * 1024, in tests 4096, written by Kernel;
            /// Blocks outside the cluster to whose addresses workloads send packets under their own addresses; the value is 1.
            Unmasqueraded = NX_UNMASQUERADED: LpmTrie<AddressKey, u32>,
                capacity 1024, in tests 256, written by Control, row Unmasqueraded;
            /// The flows that got an address of the node, two entries for each.
            Masquerades = NX_MASQUERADES: LruHash<ConnKey, MasqueradeInfo>,
                capacity 128 * 1024, in tests 4096, written by Kernel;
            /// The ports of the node that flows from outside to workloads were opened to. The key is that of the flow at the
            /// workload.
            Forwards = NX_FORWARDS: LruHash<ConnKey, ForwardInfo>,
                capacity 64 * 1024, in tests 4096, written by Kernel;
            /// The ports of fragmented packets, for the fragments that carry none.
            Fragments = NX_FRAGMENTS: LruHash<FragmentKey, FragmentInfo>,
                capacity 8 * 1024, in tests 256, written by Kernel;
            /// Packets and bytes, by [`counter_index`](crate::event::counter_index), and lost events.
            Counters = NX_COUNTERS: PerCpuArray<u32, Counter>,
                capacity COUNTER_ROWS, in tests COUNTER_ROWS, written by Kernel;
            /// Forwarded packets that the packet path reports. The capacity is a power of two and at least a page.
            Events = NX_EVENTS: RingBuffer<(), FlowEvent>,
                capacity 1024 * 1024, in tests 256 * 1024, written by Kernel;
            /// Denied packets, which forwarded ones take no room from.
            Denials = NX_DENIALS: RingBuffer<(), FlowEvent>,
                capacity 512 * 1024, in tests 64 * 1024, written by Kernel;
            /// The socket of the node proxy that listens for a family, by [`proxy_socket`](crate::map::proxy_socket). The
            /// other sockets that share its port share its connections.
            ProxySockets = NX_PROXY_SOCKETS: SocketMap<u32, u32>,
                capacity proxy_socket::ALL, in tests proxy_socket::ALL, written by Proxy;
        }
    };
}

macro_rules! define {
    ($($(#[$doc:meta])* $map:ident = $name:ident: $kind:ident<$key:ty, $value:ty>,
       capacity $capacity:expr, in tests $small:expr, written by $writer:ident
       $(, row $row:ident)? $(, value $single:ident)?;)*) => {
        /// A map, as a value.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum MapId {
            $($(#[$doc])* $map,)*
        }

        impl MapId {
            /// All maps, each at the index that it has as a number.
            pub const ALL: &[Self] = &[$(Self::$map),*];
            /// How many maps there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The name by which the kernel shows the map, and by which it is pinned.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$map => stringify!($name),)* }
            }

            /// How the kernel keeps the map.
            pub const fn kind(self) -> Kind {
                match self { $(Self::$map => Kind::$kind,)* }
            }

            /// Bytes of a key.
            pub const fn key_size(self) -> usize {
                match self { $(Self::$map => size_of::<$key>(),)* }
            }

            /// Bytes of a value; of a ring buffer none, for the kernel knows nothing of what it carries.
            pub const fn value_size(self) -> usize {
                match self.kind() {
                    Kind::RingBuffer => 0,
                    _ => match self { $(Self::$map => size_of::<$value>(),)* }
                }
            }

            /// The number of entries that the map has room for unless it is chosen otherwise.
            pub const fn default_capacity(self) -> u32 {
                match self { $(Self::$map => $capacity,)* }
            }

            /// The number of entries that the map has room for in tests.
            pub const fn small_capacity(self) -> u32 {
                match self { $(Self::$map => $small,)* }
            }

            /// Who writes the map.
            pub const fn writer(self) -> Writer {
                match self { $(Self::$map => Writer::$writer,)* }
            }
        }

        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug)]
            pub struct $map;

            impl Map for $map {
                const ID: MapId = MapId::$map;
                type Key = $key;
                type Value = $value;
            }
        )*
    };
}

with_maps!(define);

impl MapId {
    /// The map with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|map| map.name() == name)
    }
}

impl fmt::Display for MapId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Hash,
        Self::Array,
        Self::PerCpuArray,
        Self::LruHash,
        Self::LpmTrie,
        Self::SocketMap,
        Self::RingBuffer,
    ];

    /// The kind with this number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u32 == number)
    }

    /// The kind's name, as `bpftool` prints it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hash => "hash",
            Self::Array => "array",
            Self::PerCpuArray => "percpu_array",
            Self::LruHash => "lru_hash",
            Self::LpmTrie => "lpm_trie",
            Self::SocketMap => "sockmap",
            Self::RingBuffer => "ringbuf",
        }
    }

    /// The flags with which a map of this kind is created (`BPF_F_*`).
    pub const fn flags(self) -> u32 {
        const NO_PREALLOC: u32 = 1;
        // User space can read the values without a system call.
        const MMAPABLE: u32 = 1 << 10;
        match self {
            Self::Hash | Self::LpmTrie => NO_PREALLOC,
            Self::Array => MMAPABLE,
            _ => 0,
        }
    }

    /// Whether the number of entries may be chosen; the others have one entry for each index.
    pub const fn has_capacity(self) -> bool {
        matches!(self, Self::Hash | Self::LruHash | Self::LpmTrie | Self::RingBuffer)
    }

    /// Whether entries can be read and written as bytes by key.
    pub const fn has_entries(self) -> bool {
        !matches!(self, Self::SocketMap | Self::RingBuffer)
    }
}

/// How the names of all maps of the packet path begin, those that are not listed here included.
pub const PREFIX: &str = "NX_";

/// Keys of [`ProxySockets`].
pub mod proxy_socket {
    /// The socket for IPv4.
    pub const V4: u32 = 0;
    /// The socket for IPv6.
    pub const V6: u32 = 1;
    /// How many keys there are.
    pub const ALL: u32 = 2;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_found_by_its_name_and_stands_in_the_list_at_its_number() {
        for (index, &map) in MapId::ALL.iter().enumerate() {
            assert_eq!(MapId::from_name(map.name()), Some(map));
            assert_eq!(map as usize, index);
            assert!(map.name().starts_with(PREFIX), "{map}");
        }
    }

    #[test]
    fn the_key_of_a_trie_has_bits_after_its_length_and_that_of_an_array_is_an_index() {
        for &map in MapId::ALL {
            match map.kind() {
                Kind::LpmTrie => assert!(map.key_size() > 4, "{map}"),
                Kind::Array | Kind::PerCpuArray | Kind::SocketMap => assert_eq!(map.key_size(), 4, "{map}"),
                Kind::Hash | Kind::LruHash => assert!(map.key_size() > 0 && map.value_size() > 0, "{map}"),
                Kind::RingBuffer => assert!(map.default_capacity().is_power_of_two(), "{map}"),
            }
        }
    }

    #[test]
    fn a_kind_is_found_by_its_number() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_number(kind as u32), Some(kind));
        }
        assert_eq!(Kind::from_number(0), None);
    }
}
