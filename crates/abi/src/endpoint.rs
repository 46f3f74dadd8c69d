//! What the packet path knows of the workload behind an interface.

use crate::Address;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Key of [`crate::map::ENDPOINTS`]: the index of the host-side interface.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, IntoBytes, FromBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct EndpointKey {
    /// Interface index in the node's network namespace.
    pub interface: u32,
}

/// One workload. Writing this row is how a policy takes effect: `policy` and `flags` change together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, IntoBytes, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EndpointInfo {
    /// Number of the endpoint on this node, from 1.
    pub id: u32,
    /// Security identity.
    pub identity: u32,
    /// Number of the policy in force; rows of [`crate::map::CLASSES`], [`crate::map::CIDR_PARTS`] and
    /// [`crate::map::VERDICTS`] carry it. Never reused while a flow may remember it.
    pub policy: u32,
    /// A union of the `flag` constants.
    pub flags: u32,
    /// The workload's IPv4 address, mapped; all zero where it has none.
    pub v4: Address,
    /// The workload's IPv6 address; all zero where it has none.
    pub v6: Address,
    /// Link-layer address of the workload's own end.
    pub mac: [u8; 6],
    /// Link-layer address of the host-side end, which answers for the gateway.
    pub host_mac: [u8; 6],
    /// Zero.
    pub padding: [u8; 4],
}

const _: () = assert!(size_of::<EndpointInfo>() == 64);

/// Bits of [`EndpointInfo::flags`].
pub mod flag {
    /// Packets to the workload need an allowing row; without this bit everything may come in.
    pub const ENFORCE_INGRESS: u32 = 1;
    /// Packets from the workload need an allowing row; without this bit everything may go out.
    pub const ENFORCE_EGRESS: u32 = 2;
    /// Packets that policy refuses at layers 3 and 4 are reported and let through.
    pub const AUDIT: u32 = 4;
}
