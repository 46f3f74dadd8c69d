//! What the packet path knows of the workload behind an interface, and of the node itself.

use crate::Address;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Key of [`crate::map::Endpoints`]: the index of the host-side interface.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, IntoBytes, FromBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct EndpointKey {
    /// Interface index in the node's network namespace; 0 for the node itself.
    pub interface: u32,
}

impl EndpointKey {
    /// The node itself, which is behind no interface. It has a row while policies select it; of that row identity,
    /// policy and flags count.
    pub const NODE: Self = Self { interface: 0 };
}

/// One workload. Writing this row is how most policies take effect: `policy`, `flags` and `grouping` change together. They
/// are one word of eight bytes, and the alignment makes the packet path read them as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, IntoBytes, FromBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct EndpointInfo {
    /// Number of the endpoint on this node, from 1.
    pub id: u32,
    /// Security identity.
    pub identity: u32,
    /// Number of the policy in force; rows of [`crate::map::Columns`] carry it. It may stay where one of those is all that
    /// changes, and is not given to another policy while a flow may remember it.
    pub policy: u32,
    /// A union of the `flag` constants.
    pub flags: u8,
    /// Number of the grouping that the policy speaks of; rows of [`crate::map::Groups`] carry it.
    pub grouping: Grouping,
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
const _: () = assert!(core::mem::offset_of!(EndpointInfo, policy).is_multiple_of(8));
const _: () =
    assert!(core::mem::offset_of!(EndpointInfo, flags) == core::mem::offset_of!(EndpointInfo, policy) + 4);
const _: () =
    assert!(core::mem::offset_of!(EndpointInfo, grouping) == core::mem::offset_of!(EndpointInfo, policy) + 5);

/// Number of a grouping in 24 bits, which is how many there is room for beside policy and flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, IntoBytes, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Grouping([u8; 3]);

impl Grouping {
    /// The greatest number.
    pub const MAX: u32 = 0x00ff_ffff;

    /// The grouping with this number, at most [`Self::MAX`].
    pub const fn new(number: u32) -> Self {
        let [low, middle, high, _] = number.to_le_bytes();
        Self([low, middle, high])
    }

    /// Its number.
    #[inline(always)]
    pub const fn number(self) -> u32 {
        let [low, middle, high] = self.0;
        u32::from_le_bytes([low, middle, high, 0])
    }
}

/// Bits of [`EndpointInfo::flags`].
pub mod flag {
    /// Packets to the workload need an allowing row; without this bit everything may come in.
    pub const ENFORCE_INGRESS: u8 = 1;
    /// Packets from the workload need an allowing row; without this bit everything may go out.
    pub const ENFORCE_EGRESS: u8 = 2;
    /// Either of the above.
    pub const ENFORCE: u8 = ENFORCE_INGRESS | ENFORCE_EGRESS;
    /// Packets that policy refuses at layers 3 and 4 are reported and let through.
    pub const AUDIT: u8 = 4;
}
