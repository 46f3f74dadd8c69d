//! Ingress of the node proxy's interface: lets packets that policy sent here through to the proxy's sockets.
//!
//! The stack finds the socket: of a connection by the packet's own addresses, and for a new one the proxy's listener, since
//! for packets of this interface the kernel asks [`is_for_proxy`]. That holds for a connection between ports that were
//! connected a moment ago, too: the socket in TIME_WAIT gives way to the listener, as it does at any server.

use crate::deliver::{self, Delivered};
use crate::delivery::Delivery;
use crate::maps::Maps;
use crate::packet::{Bytes, Mark, Route};
use crate::parse::{self, Flow};
use crate::pipeline;
use crate::scratch::Scratch;
use crate::verifier::Fresh;
use abi::policy::Direction;
use abi::protocol;
use abi::{Address, DropReason, mark};

/// What a socket is looked up by: the addresses and ports of a packet.
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

/// What a TCP socket can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketState {
    /// It waits for connections, at this port in network order.
    Listen([u8; 2]),
    /// It waits for stray segments of a connection that is over; a new one is the listener's.
    TimeWait,
    /// It is one end of a connection, coming up, up or going down.
    Connected,
}

/// The TCP sockets of the node's own network namespace.
pub trait Sockets {
    /// The state of the socket that the stack would find for this tuple.
    fn state_of(&self, tuple: &SocketTuple) -> Option<SocketState>;
}

/// Whether a packet that came in by this interface is for no other listener than the node proxy's.
#[inline(always)]
pub fn is_for_proxy(maps: &impl Maps, interface: u32) -> bool {
    maps.config().is_some_and(|config| interface != 0 && config.proxy_interface == interface)
}

/// Judges a packet that came in by the node proxy's interface.
#[inline(always)]
pub fn to_proxy(
    packet: &mut (impl Bytes + Mark + Route + Sockets),
    maps: &impl Maps,
    scratch: &mut Scratch,
) -> Result<Delivery, DropReason> {
    scratch.begin(Direction::Ingress);
    pipeline::run(packet, maps, &mut Fresh::new(scratch), judge)
}

#[inline(always)]
fn judge(
    packet: &mut (impl Bytes + Mark + Route + Sockets),
    maps: &impl Maps,
    scratch: &mut Fresh<'_, Scratch>,
) -> Result<Delivered, DropReason> {
    scratch.found.set_time(maps.now());
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
#[inline(never)]
fn has_socket(packet: &impl Sockets, maps: &impl Maps, flow: &Flow) -> Result<bool, DropReason> {
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
