//! What the packet path knows of the workload at an interface, and of the node itself.

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
    /// The node itself, which has no interface of its own. It has an entry while policies select it, of which identity, policy
    /// and flags count.
    pub const NODE: Self = Self { interface: 0 };
}

/// One workload. Most policies take effect by the write of this entry: `policy`, `flags` and `grouping` change together. They
/// are one word of eight bytes, and the alignment makes the packet path read them as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, IntoBytes, FromBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct EndpointInfo {
    /// Number of the endpoint on this node, from 1.
    pub id: u32,
    /// Security identity.
    pub identity: u32,
    /// Number of the policy in force, which the keys of [`crate::map::Columns`] hold. It stays where a single column changes.
    /// Another policy does not get the number while a connection may remember it.
    pub policy: u32,
    /// A union of the `flag` constants.
    pub flags: u8,
    /// Number of the grouping whose groups the policy uses, which the keys of [`crate::map::Groups`] hold.
    pub grouping: GroupingNumber,
    /// The workload's IPv4 address, mapped; all zero where it has none.
    pub v4: Address,
    /// The workload's IPv6 address; all zero where it has none.
    pub v6: Address,
    /// Link-layer address of the workload's own end.
    pub mac: [u8; 6],
    /// Link-layer address of the host-side end, with which the packet path answers for the gateway.
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

/// Number of a grouping in 24 bits: all that fits beside policy and flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, IntoBytes, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GroupingNumber([u8; 3]);

impl GroupingNumber {
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
    /// Packets to the workload need a verdict that allows them; without this bit every packet may come in.
    pub const ENFORCE_INGRESS: u8 = 1;
    /// Packets from the workload need a verdict that allows them; without this bit every packet may go out.
    pub const ENFORCE_EGRESS: u8 = 2;
    /// Either of the above.
    pub const ENFORCE: u8 = ENFORCE_INGRESS | ENFORCE_EGRESS;
    /// Packets that policy denies at layers 3 and 4 are reported and pass.
    pub const AUDIT: u8 = 4;
}
