//! The configuration of the node.

use crate::masquerade::MasqueradeConfig;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The single value of [`crate::map::Config`] (an array of one).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, IntoBytes, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Config {
    /// Rises with every change of entries by which flows are judged and delivered, after all other writes of the change; of
    /// services, with each new frontend. The next packet of a connection that was allowed in another epoch is checked again.
    pub epoch: u32,
    /// Index of the interface by which packets reach the node proxy; 0 while there is none, and then packets that policy
    /// redirects to the proxy are dropped.
    pub proxy_interface: u32,
    /// Port the node proxy listens on, in network order.
    pub proxy_port: [u8; 2],
    /// Zero.
    pub padding: [u8; 2],
    /// A union of the `flag` constants.
    pub flags: u32,
    /// What flows of workloads get outside the cluster, where [`flag::MASQUERADE`] is set.
    pub masquerade: MasqueradeConfig,
}

const _: () = assert!(size_of::<Config>() == 52);

/// Bits of [`Config::flags`].
pub mod flag {
    /// Report the packet that opens a connection, at every hook: each hook has its own verdict.
    pub const REPORT_OPENED: u32 = 1;
    /// Report the first packet of a connection in the other direction, at the last hook that judges it.
    pub const REPORT_ANSWERED: u32 = 2;
    /// Report the packet that ends a connection, at the last hook that judges it.
    pub const REPORT_ENDED: u32 = 4;
    /// Report every packet, at the last hook that judges it.
    pub const REPORT_PACKETS: u32 = 8;
    /// With [`REPORT_PACKETS`], report every packet at the other hooks too.
    pub const REPORT_HOPS: u32 = 16;
    /// The node's policy enforces nothing: the hooks of the node let every packet pass, without a lookup of the node's endpoint.
    /// Without this bit that endpoint decides.
    pub const NODE_OPEN: u32 = 32;
    /// Flows of workloads to addresses outside the cluster get an address of the node.
    pub const MASQUERADE: u32 = 64;
    /// Ports of the node lead to workloads.
    pub const HOST_PORTS: u32 = 128;
}
