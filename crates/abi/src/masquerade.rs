//! Masquerading: flows of workloads to addresses outside the cluster, which get an address and a port of the node.

use crate::Address;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What the node masquerades with; part of [`crate::config::Config`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, IntoBytes, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MasqueradeConfig {
    /// The node's IPv4 address, mapped; all zero where it has none.
    pub v4: Address,
    /// The node's IPv6 address; all zero where it has none.
    pub v6: Address,
    /// The first port that flows get.
    pub first_port: u16,
    /// How many ports there are from the first one on.
    pub ports: u16,
}

impl MasqueradeConfig {
    /// The node's address of a family; all zero where it has none.
    #[inline(always)]
    pub const fn address(&self, is_v4: bool) -> &Address {
        if is_v4 { &self.v4 } else { &self.v6 }
    }

    /// Whether flows get this port, in network order.
    #[inline(always)]
    pub const fn has_port(&self, port: [u8; 2]) -> bool {
        u16::from_be_bytes(port).wrapping_sub(self.first_port) < self.ports
    }
}

/// Value of [`crate::map::Masquerades`].
///
/// A flow has two entries. The key of one has the workload's address and port as the local ones, and its value the node's; of the
/// other one it is the other way round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, IntoBytes, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MasqueradeInfo {
    /// The address that replaces the local one of the key.
    pub address: Address,
    /// The port that replaces the local one of the key, in network order; for ICMP echo the identifier.
    pub port: [u8; 2],
    /// Zero.
    pub padding: [u8; 2],
    /// A union of the `flag` constants, the same in both entries.
    pub flags: u32,
    /// The value of [`crate::config::Config::epoch`] when the flow was last found to be masqueraded.
    pub epoch: u32,
    /// When both entries must be extended, in seconds of the monotonic clock. A packet before that time changes nothing.
    pub extend: u32,
    /// When the entry expires, in seconds of the monotonic clock.
    pub expires: u32,
}

const _: () = assert!(size_of::<MasqueradeInfo>() == 36);

/// Bits of [`MasqueradeInfo::flags`].
pub mod flag {
    /// The end outside has answered.
    pub const ANSWERED: u32 = 1;
    /// Either end sent FIN or RST.
    pub const CLOSING: u32 = 2;
}
