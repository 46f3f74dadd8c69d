//! Policy rows: peers folded into groups and classes, and the final verdict of each class, direction, protocol and port.
//!
//! The packet path asks, for an endpoint's grouping `g` and policy `p` and the peer address's `(peer, namespace, cidr)`:
//! 1. `group = GROUPS[g, peer]`; if absent, `GROUPS[g, namespace]`; if absent, [`GROUP_OF_WORKLOADS`] where the peer is a
//!    workload, else [`GROUP_OF_OTHERS`].
//! 2. `column = COLUMNS[p, cidr]`, for `cidr` 0 that of [`WHOLE_WORLD`] where the peer is outside the cluster, else of
//!    [`WHOLE_INSIDE`]. No row: the policy does not name the block, go to 5.
//! 3. `class = CLASSES[column, group]`; if absent and the peer is a workload, `CLASSES[column, GROUP_OF_WORKLOADS]`; if
//!    absent go to 5.
//! 4. `verdict = VERDICTS[class, direction, protocol, port]` by longest prefix. If there is one, that is it.
//! 5. Where `cidr` was 0: refused, by default deny. Else from 2 with `cidr = CIDR_PARENTS[cidr]`, 0 if absent.
//!
//! So the rows of a block say only what differs from what the blocks around it say (decision 004). After
//! [`MAX_NESTING`] blocks the packet path gives up, and refuses.
//!
//! A policy that differs in one column from the one whose place it takes has its number too; any other comes under a new
//! one. Whom it knows, its grouping, usually stays (decision 006), and so do the columns and classes that say the same as
//! before (decision 007).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Key of [`crate::map::Columns`]; the value is a `u32`, the column: what groups hear where an address is in the block.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, IntoBytes, FromBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ColumnKey {
    /// Policy number.
    pub policy: u32,
    /// CIDR class of an address ([`crate::address::AddressInfo::cidr`]), or of all addresses inside or outside.
    pub cidr: u32,
}

/// The CIDR class of all addresses of peers inside the cluster, for what goes for them whatever their address.
pub const WHOLE_INSIDE: u32 = 0;
/// The CIDR class of all addresses outside the cluster, for what goes for the world whatever its address. No address row
/// has it, so that policies say what they say to the world apart from what they say to everybody else.
pub const WHOLE_WORLD: u32 = 1;
/// The first number of a class of blocks.
pub const FIRST_BLOCK: u32 = 2;

/// Key of [`crate::map::Groups`]; the value is a `u32`, the group.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, IntoBytes, FromBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct GroupKey {
    /// Number of the grouping ([`crate::endpoint::EndpointInfo::grouping`]).
    pub grouping: u32,
    /// Peer number ([`crate::address::AddressInfo::peer`]), or that of a namespace, for its peers without a row.
    pub peer: u32,
}

/// The group of peers that are not workloads, where neither they nor their namespace have a row.
pub const GROUP_OF_OTHERS: u32 = 0;
/// The group of workloads where neither they nor their namespace have a row.
pub const GROUP_OF_WORKLOADS: u32 = 1;

/// Key of [`crate::map::Classes`]; the value is a `u32`, the class.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, IntoBytes, FromBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ClassKey {
    /// Number of the column; a policy and the one that takes its place may name the same.
    pub column: u32,
    /// Group of peers.
    pub group: u32,
}

/// How many blocks, one within the other, may hold an address. IPv4 has no more lengths than this.
pub const MAX_NESTING: u32 = 33;

/// Which way a packet goes, seen from the workload whose policy is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Direction {
    /// Into the workload.
    Ingress = 0,
    /// Out of the workload.
    Egress = 1,
}

/// Key of [`crate::map::Verdicts`], a longest-prefix-match trie.
///
/// A row for every protocol ends after `direction`; one for a whole protocol after `protocol`; one for an aligned
/// block of ports within `port`. For ICMP and ICMPv6 `port` is the type in the first byte and the code in the second.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, IntoBytes, FromBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct VerdictKey {
    /// Leading bits that count after this field: [`Self::ANY_PROTOCOL`], [`Self::ANY_PORT`] or up to
    /// [`Self::ONE_PORT`].
    pub prefix_bits: u32,
    /// A class; policies share one that says the same. Class [`Self::SILENT`] has no row.
    pub class: u32,
    /// A [`Direction`].
    pub direction: u8,
    /// IP protocol number.
    pub protocol: u8,
    /// Destination port in network order.
    pub port: [u8; 2],
}

const _: () = assert!(size_of::<VerdictKey>() == 12);

impl VerdictKey {
    /// The class that says nothing, of a group that has nothing to say where other workloads have.
    pub const SILENT: u32 = 0;
    /// Prefix of a row for every protocol.
    pub const ANY_PROTOCOL: u32 = 40;
    /// Prefix of a row for every port of one protocol.
    pub const ANY_PORT: u32 = 48;
    /// Prefix of a row for one port.
    pub const ONE_PORT: u32 = 64;
}

/// What happens to a packet; final, precedence was resolved when the row was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, IntoBytes, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VerdictInfo {
    /// One of the [`action`] constants. Any other value denies.
    pub action: u32,
    /// The rule that decides, for events and `policy explain`; 0 is the default.
    pub rule: u32,
    /// The layer-7 rule set that the proxy applies; meaningful with [`action::REDIRECT`].
    pub l7: u32,
}

/// Values of [`VerdictInfo::action`].
pub mod action {
    /// Refused, by a rule that says so or by default.
    pub const DENY: u32 = 0;
    /// Goes straight through.
    pub const ALLOW: u32 = 1;
    /// Goes through the node proxy, which applies a layer-7 rule set to each request.
    pub const REDIRECT: u32 = 2;
}
