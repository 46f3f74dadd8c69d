//! The sender of a packet that has the node's address, and that the node did not make: a proxy of services (kube-proxy) gave
//! the packet that address on its way through the node.

use crate::found::{Found, Sender};
use crate::maps::Maps;
use crate::packet::PacketRoute;
use crate::policy;
use crate::scratch::Scratch;
use crate::workload;
use abi::address::{AddressInfo, AddressKey};
use abi::endpoint::{EndpointKey, flag};
use abi::policy::Direction;
use abi::{Address, DropReason, identity};

/// Finds out who sent the packet, and returns the row of the address that the packet is judged by; none for an unknown sender. A
/// workload of the node is known by its interface; other senders by the kernel's connection tracking, which translated the
/// packet. If the packet's receiver opened the flow, the packet is an answer to it.
///
/// A function of its own in the kernel: few packets have another sender than their source.
#[inline(never)]
pub(crate) fn find<'a>(
    packet: &impl PacketRoute,
    maps: &'a impl Maps,
    scratch: &mut Scratch,
) -> Option<&'a AddressInfo> {
    let found = &mut scratch.found;
    let address = match sender(packet, maps, found) {
        Sender::Backend => {
            found.sender = Sender::Backend;
            return maps.address(&AddressKey::host(found.flow.source));
        }
        _ => found.hidden,
    };
    found.sender = Sender::Hidden;
    found.peer_identity = identity::UNKNOWN;
    let row = row(maps, packet.ingress(), &address)?;
    found.peer_identity = row.identity;
    Some(row)
}

/// Who sent the packet; stores the address of a hidden sender.
#[inline(always)]
fn sender(packet: &impl PacketRoute, maps: &impl Maps, found: &mut Found) -> Sender {
    let is_v4 = found.flow.source.is_v4();
    let opener = packet.opener();
    if opener == Some(found.flow.destination) {
        return Sender::Backend;
    }
    if let Some(endpoint) = maps.endpoint(&EndpointKey { interface: packet.ingress() }) {
        found.hidden = if is_v4 { endpoint.v4 } else { endpoint.v6 };
        return Sender::Hidden;
    }
    found.hidden = Address([0; 16]);
    if let Some(opener) = opener.filter(|opener| opener.is_v4() == is_v4) {
        found.hidden = opener;
    }
    Sender::Hidden
}

/// The row of a sender behind an interface; none for an unknown one, and for one that does not send by that interface.
#[inline(never)]
pub(crate) fn row<'a>(maps: &'a impl Maps, interface: u32, sender: &Address) -> Option<&'a AddressInfo> {
    if *sender == Address([0; 16]) {
        return None;
    }
    let row = maps.address(&AddressKey::host(*sender))?;
    let is_workloads = maps.endpoint(&EndpointKey { interface }).is_some();
    let may_send = if is_workloads { row.interface == interface } else { workload::may_send(row, interface) };
    may_send.then_some(row)
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
