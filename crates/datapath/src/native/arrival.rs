//! A packet at a hook, and what the hook finds beside it.

use crate::to_proxy::SocketState;
use abi::Address;

/// A packet at a hook.
#[derive(Clone, Copy, Debug, Default)]
pub struct Arrival<'a> {
    /// Index of the interface.
    pub interface: u32,
    /// Index of the interface by which the packet came into the node; 0 where the node itself made it.
    pub ingress: u32,
    /// The source address of the packet that opened the flow, before the kernel translated it.
    pub opener: Option<Address>,
    /// The packet's mark.
    pub mark: u32,
    /// The packet, from its Ethernet header on.
    pub frame: &'a [u8],
    /// Nanoseconds of the monotonic clock.
    pub now: u64,
}

/// The node proxy's sockets, as [`crate::to_proxy`] finds them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProxySockets {
    /// The state of the socket that a packet's own addresses and ports name but for the proxy's listener.
    pub connected: Option<SocketState>,
    /// Whether the proxy listens.
    pub listens: bool,
}
