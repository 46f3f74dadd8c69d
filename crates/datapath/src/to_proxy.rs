//! Ingress of the node proxy's interface: lets packets that policy sent here through to the proxy's sockets.
//!
//! The stack finds the socket: a connection's by the packet's own addresses, and for a new connection the proxy's
//! listener, by the socket lookup program ([`is_for_proxy`]). A new connection between ports that were connected a moment
//! ago goes to the listener too: the socket in TIME_WAIT gives way, as at any server.

use crate::deliver::{self, Delivered};
use crate::delivery::Delivery;
use crate::maps::Maps;
use crate::packet::{Bytes, Mark, PacketRoute};
use crate::parse::{self, PacketFlow};
use crate::pipeline;
use crate::scratch::Scratch;
use crate::verifier::Fresh;
use abi::endpoint::EndpointInfo;
use abi::policy::Direction;
use abi::protocol;
use abi::{Address, DropReason, mark};

/// The addresses and ports of a packet, by which the stack looks up a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketTuple {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// Source port in network order.
    pub source_port: [u8; 2],
    /// Destination port in network order.
    pub destination_port: [u8; 2],
}

/// The state of a TCP socket, as far as it decides which packets the socket receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketState {
    /// Listens, at this port in network order.
    Listen([u8; 2]),
    /// Waits for late segments of a connection that is over; a new connection goes to the listener.
    TimeWait,
    /// One end of a connection that opens, is open or closes.
    Connected,
}

/// The sockets of the node's own network namespace.
pub trait Sockets {
    /// The state of the socket that the stack would find for this tuple.
    fn state_of(&self, tuple: &SocketTuple) -> Option<SocketState>;

    /// Whether a socket of the node itself would receive a packet of this protocol with this tuple.
    fn has_port(&self, protocol: u8, tuple: &SocketTuple) -> bool;
}

/// Whether the node proxy's listener is the only one that may receive packets of this interface.
#[inline(always)]
pub fn is_for_proxy(maps: &impl Maps, interface: u32) -> bool {
    maps.config().is_some_and(|config| interface != 0 && config.proxy_interface == interface)
}

/// Judges a packet that came in by the node proxy's interface.
#[inline(always)]
pub fn to_proxy(
    packet: &mut (impl Bytes + Mark + PacketRoute + Sockets),
    maps: &impl Maps,
    scratch: &mut Scratch,
) -> Result<Delivery, DropReason> {
    scratch.found.endpoint = EndpointInfo::default();
    scratch.begin(Direction::Ingress);
    pipeline::run(packet, maps, &mut Fresh::new(scratch), judge)
}

#[inline(always)]
fn judge(
    packet: &mut (impl Bytes + Mark + PacketRoute + Sockets),
    maps: &impl Maps,
    scratch: &mut Fresh<'_, Scratch>,
) -> Result<Delivered, DropReason> {
    if packet.mark() & mark::MASK != mark::TO_PROXY {
        return Err(DropReason::NotForProxy);
    }
    parse::headers(packet, &mut scratch.found.flow)?;
    packet.claim()?;
    let flow = &scratch.found.flow;
    // The stack finds the socket of an ICMP error about one of the proxy's connections.
    if flow.protocol == protocol::TCP && !has_socket(packet, maps, flow)? {
        return Err(DropReason::ProxyUnavailable);
    }
    Ok(deliver::exempt(scratch, Delivery::Pass))
}

/// Whether the stack would find a socket of the proxy for the segment.
#[inline(always)]
fn has_socket(packet: &impl Sockets, maps: &impl Maps, flow: &PacketFlow) -> Result<bool, DropReason> {
    let own = SocketTuple {
        source: flow.source,
        destination: flow.destination,
        source_port: flow.source_port,
        destination_port: flow.destination_port,
    };
    let config = maps.config().ok_or(DropReason::MapMissing)?;
    let mut state = packet.state_of(&own);
    if flow.opens() && matches!(state, Some(SocketState::TimeWait)) {
        // The listener that takes over from the socket is the one that a port without a connection leads to.
        state = packet.state_of(&SocketTuple { source_port: [0; 2], ..own });
    }
    Ok(match state {
        Some(SocketState::Connected | SocketState::TimeWait) => true,
        // Where the proxy does not listen, the stack finds the listener of another program.
        Some(SocketState::Listen(port)) => port == config.proxy_port,
        None => false,
    })
}
