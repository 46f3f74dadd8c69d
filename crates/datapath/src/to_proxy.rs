//! Ingress of the node proxy's interface: gives each packet that policy sent here to the proxy's socket.

use crate::packet::Packet;
use crate::parse;
use crate::report::{Trace, converge};
use crate::{Delivery, Maps};
use abi::policy::Direction;
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
    /// It waits for connections: not ours, for the proxy's listener has another address.
    Listen,
    /// It waits for stray segments of a connection that is over; a new one is the listener's.
    TimeWait,
    /// It is one end of a connection, coming up, up or going down.
    Connected,
}

/// The TCP sockets of the node's own network namespace.
pub trait Sockets {
    /// The state of the socket that the stack would find for this tuple.
    fn state_of(&self, tuple: &SocketTuple) -> Option<SocketState>;
    /// Gives the packet to the socket that listens for this tuple; false where there is none.
    fn assign_listener(&mut self, tuple: &SocketTuple) -> bool;
}

/// Judges a packet that came in by the node proxy's interface.
#[inline(always)]
pub fn to_proxy<P: Packet + Sockets>(
    packet: &mut P,
    maps: &impl Maps,
    trace: &mut Trace,
) -> Result<Delivery, DropReason> {
    let trace = trace.begin(Direction::Ingress);
    trace.refusal = judge(packet, maps, trace).err();
    let trace = converge(trace);
    trace.report(packet, maps);
    trace.verdict()
}

#[inline(always)]
fn judge<P: Packet + Sockets>(packet: &mut P, maps: &impl Maps, trace: &mut Trace) -> Result<(), DropReason> {
    if packet.mark() & mark::MASK != mark::TO_PROXY {
        return Err(DropReason::NotForProxy);
    }
    parse::headers(packet, &mut trace.flow)?;
    let trace = converge(trace);
    let flow = &trace.flow;
    packet.claim()?;
    if flow.protocol != parse::TCP {
        // An ICMP error about one of the proxy's connections: the stack finds the socket.
        return Ok(());
    }
    let own = SocketTuple {
        source: flow.source,
        destination: flow.destination,
        source_port: flow.source_port,
        destination_port: flow.destination_port,
    };
    match packet.state_of(&own) {
        Some(SocketState::Connected) => return Ok(()),
        Some(SocketState::TimeWait) if !flow.opens() => return Ok(()),
        _ => {}
    }
    let config = maps.config().ok_or(DropReason::MapMissing)?;
    let destination = if flow.source.is_v4() {
        Address::from_v4([127, 0, 0, 1])
    } else {
        Address([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
    };
    let listener = SocketTuple { destination, destination_port: config.proxy_port, ..own };
    if packet.assign_listener(&listener) { Ok(()) } else { Err(DropReason::ProxyUnavailable) }
}
