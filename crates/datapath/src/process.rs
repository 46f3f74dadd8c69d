//! Processes of the node that connect to a port of the node that leads to a workload (hostPort): the socket gets the workload's
//! address. The packets of such a connection are those of a direct one, and policy judges them as packets of the node.

use crate::host_port;
use crate::maps::Maps;
use abi::conntrack::ConnKey;
use abi::protocol::UDP;
use abi::service::ForwardInfo;
use abi::{Address, map};

/// An address and port that a process gives the kernel for a socket, or gets from it.
pub trait PeerAddress {
    /// The socket's IP protocol.
    fn protocol(&self) -> u8;
    /// The address.
    fn address(&self) -> Address;
    /// The port in network order.
    fn port(&self) -> [u8; 2];
    /// Replaces both.
    fn replace(&mut self, address: &Address, port: [u8; 2]);
    /// The number of the socket, which no other socket of this machine gets.
    fn socket(&self) -> u64;
}

/// Replaces a port of the node that leads to a workload by the workload's own address, when a socket connects or sends a
/// datagram. For the answers of datagrams the port is kept.
#[inline(always)]
pub fn to_workload_of_port(peer: &mut impl PeerAddress, maps: &impl Maps) {
    let (address, port, protocol) = (peer.address(), peer.port(), peer.protocol());
    let Some(workload) = host_port::of_node(maps, &address, port, protocol) else { return };
    peer.replace(&workload.address, workload.port);
    if protocol == UDP {
        let forward = ForwardInfo { address, port, padding: [0; 2] };
        // Without an entry the process sees the workload's address.
        maps.update(map::Forwards, &key(peer, workload.address, workload.port), &forward);
    }
}

/// Replaces the workload's address by the port of the node that the process sent its datagram to.
#[inline(always)]
pub fn to_port_of_workload(peer: &mut impl PeerAddress, maps: &impl Maps) {
    let key = key(peer, peer.address(), peer.port());
    let ForwardInfo { address, port, .. } = {
        let Some(forward) = maps.lookup_mut(map::Forwards, &key) else { return };
        *forward
    };
    peer.replace(&address, port);
}

/// The key of what is kept of a socket and a workload. In the place of the other end's address is the socket's number, which
/// is the address of no host: its first 64 bits are zero.
#[inline(always)]
fn key(peer: &impl PeerAddress, workload: Address, port: [u8; 2]) -> ConnKey {
    let [a, b, c, d, e, f, g, h] = peer.socket().to_be_bytes();
    ConnKey {
        local: workload,
        remote: Address([0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d, e, f, g, h]),
        local_port: port,
        remote_port: [0; 2],
        protocol: peer.protocol(),
        padding: [0; 3],
    }
}
