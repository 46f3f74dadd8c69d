//! Whose door a packet is at.

use crate::found::Found;
use crate::maps::Maps;
use crate::packet::Route;
use abi::address::AddressInfo;
use abi::endpoint::{EndpointInfo, EndpointKey};
use abi::{Address, DropReason, identity};

/// Takes down what holds for the node, then the workload behind the packet's interface.
///
/// Both are copied before an address or a verdict is looked up: a packet that is held up must not remember an old
/// verdict under a new epoch or policy. `converge` keeps the compiler from reading the rows a second time.
#[inline(always)]
pub(crate) fn load(packet: &impl Route, maps: &impl Maps, found: &mut Found) -> Result<(), DropReason> {
    found.set_time(maps.now());
    found.config = *maps.config().ok_or(DropReason::MapMissing)?;
    found.endpoint = *endpoint_at(packet, maps)?;
    Ok(())
}

/// The workload behind the packet's interface.
#[inline(always)]
pub(crate) fn endpoint_at<'a>(
    packet: &impl Route,
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
    // All zero stands for no address, and is one that packets can carry.
    *address != Address([0; 16]) && (*address == endpoint.v4 || *address == endpoint.v6)
}

/// Whether a packet that came into the node by interface `ingress` may name the peer as its source: a workload speaks
/// by its own door and the node by none. What the node makes itself, it may also make in a workload's name.
#[inline(always)]
pub(crate) fn may_send(peer: &AddressInfo, ingress: u32) -> bool {
    let is_ours = peer.interface != 0 || peer.identity == identity::HOST;
    ingress == 0 || ingress == peer.interface || !is_ours
}
