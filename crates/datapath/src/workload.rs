//! The workload whose interface a packet is at, and the addresses that it may use.

use crate::found::Found;
use crate::maps::Maps;
use crate::packet::PacketRoute;
use abi::address::AddressInfo;
use abi::endpoint::{EndpointInfo, EndpointKey};
use abi::{Address, DropReason, identity};

/// Copies the node's configuration, then the row of the workload behind the packet's interface.
///
/// Both are copied before an address or a verdict is looked up. Otherwise a packet that is delayed between the lookups
/// could store an old verdict under a new epoch or policy. The compiler cannot read the rows again later, since any lookup
/// may change memory as far as the compiler knows.
#[inline(always)]
pub(crate) fn load(packet: &impl PacketRoute, maps: &impl Maps, found: &mut Found) -> Result<(), DropReason> {
    found.read_clock(maps);
    let Some(config) = maps.config() else { return unknown(found, DropReason::MapMissing) };
    found.config = *config;
    let Ok(endpoint) = endpoint_at(packet, maps) else { return unknown(found, DropReason::UnknownEndpoint) };
    found.endpoint = *endpoint;
    Ok(())
}

/// Drops a packet whose endpoint is not known.
#[inline(always)]
fn unknown(found: &mut Found, reason: DropReason) -> Result<(), DropReason> {
    found.endpoint = EndpointInfo::default();
    Err(reason)
}

/// The workload behind the packet's interface.
#[inline(always)]
pub(crate) fn endpoint_at<'a>(
    packet: &impl PacketRoute,
    maps: &'a impl Maps,
) -> Result<&'a EndpointInfo, DropReason> {
    let key = EndpointKey { interface: packet.interface() };
    maps.endpoint(&key).ok_or(DropReason::UnknownEndpoint)
}

/// Whether the packet's source address is the workload's own.
#[inline(always)]
pub(crate) fn owns_source(found: &Found) -> bool {
    owns(&found.endpoint, &found.flow.source)
}

/// Whether the packet's destination address is the workload's own.
#[inline(always)]
pub(crate) fn owns_destination(found: &Found) -> bool {
    owns(&found.endpoint, &found.flow.destination)
}

#[inline(always)]
fn owns(endpoint: &EndpointInfo, address: &Address) -> bool {
    // All zero stands for no address, and packets can carry it.
    *address != Address([0; 16]) && (*address == endpoint.v4 || *address == endpoint.v6)
}

/// Whether a packet that came into the node by interface `ingress` may have the peer's address as its source: packets of a
/// workload come by its own interface, and packets of the node by none. The node may use a workload's address in packets
/// that it makes itself, as the node proxy does.
#[inline(always)]
pub(crate) fn may_send(peer: &AddressInfo, ingress: u32) -> bool {
    let is_local = peer.interface != 0 || peer.identity == identity::HOST;
    ingress == 0 || ingress == peer.interface || !is_local
}
