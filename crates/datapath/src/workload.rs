//! Whose door a packet is at.

use crate::Maps;
use crate::packet::Packet;
use abi::endpoint::{EndpointInfo, EndpointKey};
use abi::{Address, DropReason};

/// The workload behind the packet's interface.
#[inline(always)]
pub(crate) fn behind<'a>(packet: &impl Packet, maps: &'a impl Maps) -> Result<&'a EndpointInfo, DropReason> {
    maps.endpoint(&EndpointKey { interface: packet.interface() }).ok_or(DropReason::UnknownEndpoint)
}

/// Whether the address is the workload's own.
#[inline(always)]
pub(crate) fn owns(endpoint: &EndpointInfo, address: &Address) -> bool {
    // All zero stands for no address, and is one that packets can carry.
    *address != Address([0; 16]) && (*address == endpoint.v4 || *address == endpoint.v6)
}
