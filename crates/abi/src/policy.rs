//! How a packet's policy question becomes a verdict: keys and values of the policy maps.
//!
//! Peers that a policy treats alike share entries, and so do policies that agree. The terms:
//!
//! - A **group** is a set of peers that get the same verdicts, whatever the port. A **grouping** numbers the groups: it
//!   gives each peer one group. Policies that distinguish the same peers use one grouping.
//! - A **CIDR class** stands for a CIDR block that some policy names, and so for the addresses whose smallest such block it
//!   is. Class 0 stands for the addresses in no such block.
//! - A **column** is what a policy decides for the addresses of one CIDR class: it gives each group one class.
//! - A **class** (of verdicts) is a set of verdicts by direction, protocol and port. Groups with the same verdicts share a
//!   class, whichever policy or column they are in.
//! - A **verdict** allows, denies or redirects to the node proxy, and names the rule that decides.
//!
//! For example, a policy 7 with grouping 3 allows TCP port 5432 from the peers with `app=web`, and from no other peer:
//!
//! | map | entry | meaning |
//! |---|---|---|
//! | `Groups` | (grouping 3, peer `web-1`) → group 2 | `web-1` is one of the peers with `app=web` |
//! | `Columns` | (policy 7, [`WHOLE_INSIDE`]) → column 4 | what the policy decides for peers inside the cluster |
//! | `Classes` | (column 4, group 2) → class 9 | the class of the peers with `app=web` |
//! | `Verdicts` | (class 9, ingress, TCP, 5432) → allow | the class's only verdict |
//!
//! The packet path looks up, for an endpoint with a policy and a grouping, and for the peer, namespace and CIDR class of the
//! other address:
//!
//! 1. **The group**: `Groups[grouping, peer]`. Without such an entry `Groups[grouping, namespace]`. Without that one either,
//!    [`GROUP_OF_WORKLOADS`] for a workload, and [`GROUP_OF_OTHERS`] for any other peer.
//! 2. **The column**: `Columns[policy, CIDR class]`. For CIDR class 0 it is `Columns[policy, WHOLE_WORLD]` for a peer outside
//!    the cluster, and `Columns[policy, WHOLE_INSIDE]` for any other. Without such an entry the policy does not name the
//!    block: continue at step 5.
//! 3. **The class**: `Classes[column, group]`. Without such an entry, for a workload, `Classes[column, GROUP_OF_WORKLOADS]`.
//!    Without a class continue at step 5.
//! 4. **The verdict**: `Verdicts[class, direction, protocol, port]` by longest prefix. If there is one, it is final.
//! 5. **The block around**: for CIDR class 0 there is none, and the packet is denied by default. Otherwise continue at step 2
//!    with `CidrParents[CIDR class]`, or with class 0 if there is no such entry. After [`MAX_NESTING`] blocks the packet is
//!    denied.
//!
//! So a block has entries only for what differs from the blocks around it (decision 004). A policy that replaces another one
//! and differs from it in a single column keeps its number; otherwise the replacement gets a new number. It usually keeps the
//! grouping (decision 006), and the columns and classes that did not change (decision 007).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Key of [`crate::map::Columns`]; the value is a `u32`, the number of the column.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, IntoBytes, FromBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ColumnKey {
    /// Policy number.
    pub policy: u32,
    /// CIDR class of an address ([`crate::address::AddressInfo::cidr`]), [`WHOLE_INSIDE`] or [`WHOLE_WORLD`].
    pub cidr: u32,
}

/// The CIDR class of all peers inside the cluster: a policy's column of it holds whatever the peer's address is.
pub const WHOLE_INSIDE: u32 = 0;
/// The CIDR class of all addresses outside the cluster. No address has it as its own: the packet path takes it for a peer of
/// the world, so that a policy has one column for the world and another for all other peers.
pub const WHOLE_WORLD: u32 = 1;
/// The first number of a CIDR class that stands for a block.
pub const FIRST_BLOCK: u32 = 2;

/// Key of [`crate::map::Groups`]; the value is a `u32`, the number of the group.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, IntoBytes, FromBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct GroupKey {
    /// Number of the grouping ([`crate::endpoint::EndpointInfo::grouping`]).
    pub grouping: u32,
    /// Peer number ([`crate::address::AddressInfo::peer`]), or the number of a namespace, for those of its peers that have no
    /// entry.
    pub peer: u32,
}

/// The group of a peer that is no workload, where neither the peer nor its namespace has an entry.
pub const GROUP_OF_OTHERS: u32 = 0;
/// The group of a workload, where neither the workload nor its namespace has an entry.
pub const GROUP_OF_WORKLOADS: u32 = 1;

/// Key of [`crate::map::Classes`]; the value is a `u32`, the number of the class.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, IntoBytes, FromBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ClassKey {
    /// Number of the column. A policy and its replacement may share the column.
    pub column: u32,
    /// Number of the group, in the grouping of the endpoint.
    pub group: u32,
}

/// How many nested blocks may hold an address: as many as there are prefix lengths of IPv4.
pub const MAX_NESTING: u32 = 33;

/// Which way a packet goes, seen from the workload whose policy decides.
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
/// The prefix of a verdict on every protocol ends after `direction`, of a verdict on one protocol after `protocol`, and of a
/// verdict on an aligned block of ports within `port`. For ICMP and ICMPv6 `port` is the type and then the code.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, IntoBytes, FromBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct VerdictKey {
    /// Leading bits that count after this field: [`Self::ANY_PROTOCOL`], [`Self::ANY_PORT`] or up to
    /// [`Self::ONE_PORT`].
    pub prefix_bits: u32,
    /// Number of the class. Class [`Self::SILENT`] has no entry.
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
    /// The class without verdicts. A group of workloads without verdicts has it where [`GROUP_OF_WORKLOADS`] has a class, so
    /// that the lookup does not fall back to that class.
    pub const SILENT: u32 = 0;
    /// Prefix of a verdict on every protocol.
    pub const ANY_PROTOCOL: u32 = 40;
    /// Prefix of a verdict on every port of one protocol.
    pub const ANY_PORT: u32 = 48;
    /// Prefix of a verdict on one port.
    pub const ONE_PORT: u32 = 64;
}

/// What happens to a packet. It is final: the compiler of policies has resolved precedence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, IntoBytes, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VerdictInfo {
    /// One of the [`action`] constants. Any other value denies.
    pub action: u32,
    /// The rule that decides, for events and `policy explain`; 0 is the default.
    pub rule: u32,
    /// The layer-7 rule set that the proxy applies, with [`action::REDIRECT`].
    pub l7: u32,
}

/// Values of [`VerdictInfo::action`].
pub mod action {
    /// The packet is dropped, by a rule or by default.
    pub const DENY: u32 = 0;
    /// The packet passes.
    pub const ALLOW: u32 = 1;
    /// The packet goes through the node proxy, which applies a layer-7 rule set to each request.
    pub const REDIRECT: u32 = 2;
}
