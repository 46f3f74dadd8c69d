//! What holds for the whole node.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The single value of [`crate::map::Config`] (an array of one).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, IntoBytes, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Config {
    /// Rises with every change of addresses, columns or classes under a policy number that stays; a flow that was
    /// allowed in another epoch is checked again at its next packet.
    pub epoch: u32,
    /// Index of the interface whose ingress hook hands packets to the node proxy; 0 while there is none, and then
    /// what policy sends to the proxy is dropped.
    pub proxy_interface: u32,
    /// Port the node proxy listens on, in network order.
    pub proxy_port: [u8; 2],
    /// Zero.
    pub padding: [u8; 2],
    /// A union of the `flag` constants.
    pub flags: u32,
}

const _: () = assert!(size_of::<Config>() == 16);

/// Bits of [`Config::flags`].
pub mod flag {
    /// Report the first packet of each flow that is forwarded, not only drops.
    pub const REPORT_FORWARDS: u32 = 1;
}
