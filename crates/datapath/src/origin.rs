//! The sender of a packet that has the node's address, and that the node did not make: a proxy of services (kube-proxy) gave
//! the packet that address on its way through the node.

use crate::maps::Maps;
use crate::policy;
use crate::scratch::Scratch;
use abi::DropReason;
use abi::address::{AddressInfo, AddressKey};
use abi::endpoint::{EndpointKey, flag};
use abi::policy::Direction;

/// The row of the workload whose packets come into the node by an interface. None for an interface that leads outside: the packet
/// does not show its sender any more.
///
/// A function of its own in the kernel: few packets have another sender than their source.
#[inline(never)]
pub(crate) fn find(maps: &impl Maps, interface: u32, is_v4: bool) -> Option<&AddressInfo> {
    let endpoint = maps.endpoint(&EndpointKey { interface })?;
    let address = if is_v4 { endpoint.v4 } else { endpoint.v6 };
    maps.address(&AddressKey::host(address)).filter(|info| info.interface == interface)
}

/// Refuses a flow that an unknown sender opened, where the endpoint's policy would have to judge the sender. In audit mode the
/// refusal is stored.
#[inline(always)]
pub(crate) fn refuse_unknown(scratch: &mut Scratch) -> Result<(), DropReason> {
    if !policy::enforces(&scratch.found.endpoint, Direction::Ingress) {
        return Ok(());
    }
    if scratch.found.endpoint.flags & flag::AUDIT == 0 {
        return Err(DropReason::IdentityUnknown);
    }
    scratch.decision.audit = Some(DropReason::IdentityUnknown);
    Ok(())
}
