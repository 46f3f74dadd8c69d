//! Sends a permitted packet on its way.

use crate::check::Permit;
use crate::checksum;
use crate::delivery::Delivery;
use crate::packet::{Bytes, Mark};
use crate::parse::{IP, PacketFlow};
use crate::scratch::Scratch;
use abi::address::AddressInfo;
use abi::{DropReason, mark};

/// Proof that a packet was delivered; only this module grants it, for a permit or by [`exempt`] and [`ignore`].
#[must_use]
pub(crate) struct Delivered {
    is_reported: bool,
}

impl Delivered {
    /// Whether the packet is counted, and perhaps reported.
    #[inline(always)]
    pub(crate) fn is_reported(&self) -> bool {
        self.is_reported
    }
}

/// Delivers a packet that a workload sent: to a workload of this node, to the stack, which routes the packet, or to the
/// proxy.
#[inline(always)]
pub(crate) fn route(
    packet: &mut (impl Bytes + Mark),
    scratch: &mut Scratch,
    to: &AddressInfo,
    permit: Permit,
) -> Result<Delivered, DropReason> {
    if scratch.decision.proxy != 0 || to.interface == 0 || scratch.decision.is_routed {
        return Ok(pass(packet, scratch, permit));
    }
    decrement_hop_limit(packet, &scratch.found.flow)?;
    let [a, b, c, d, e, f] = to.mac;
    let [g, h, i, j, k, l] = scratch.found.endpoint.host_mac;
    put(packet, 0, [a, b, c, d, e, f, g, h, i, j, k, l])?;
    scratch.delivery = Delivery::Egress(to.interface);
    Ok(Delivered { is_reported: true })
}

/// Delivers a packet the way it was going, or to the proxy.
#[inline(always)]
pub(crate) fn pass(packet: &mut impl Mark, scratch: &mut Scratch, _permit: Permit) -> Delivered {
    if scratch.decision.proxy == 0 {
        scratch.delivery = Delivery::Pass;
    } else {
        let others = packet.mark() & !mark::MASK;
        packet.set_mark(others | mark::TO_PROXY);
        scratch.delivery = Delivery::Ingress(scratch.decision.proxy);
    }
    Delivered { is_reported: true }
}

/// Keeps the delivery that the endpoint before on the packet's way decided.
#[inline(always)]
pub(crate) fn keep(_permit: Permit) -> Delivered {
    Delivered { is_reported: true }
}

/// Delivers a packet that policy does not judge at this hook: address resolution, and what a verdict redirected to the
/// proxy.
#[inline(always)]
pub(crate) fn exempt(scratch: &mut Scratch, delivery: Delivery) -> Delivered {
    scratch.delivery = delivery;
    Delivered { is_reported: true }
}

/// Lets a packet pass uncounted that the hook's endpoint neither sends nor receives.
#[inline(always)]
pub(crate) fn ignore() -> Delivered {
    Delivered { is_reported: false }
}

/// Decrements the hop limit, as a router does.
#[inline(always)]
fn decrement_hop_limit(packet: &mut impl Bytes, flow: &PacketFlow) -> Result<(), DropReason> {
    if flow.hop_limit <= 1 {
        return Err(DropReason::TimeExceeded);
    }
    if !flow.source.is_v4() {
        let [next, hop_limit] = packet.read::<2>(IP + 6)?;
        return put(packet, IP + 6, [next, hop_limit - 1]);
    }
    let [hop_limit, protocol, high, low] = packet.read::<4>(IP + 8)?;
    let [high, low] = checksum::with_hop_taken([high, low]);
    put(packet, IP + 8, [hop_limit - 1, protocol, high, low])
}

/// Writes bytes where they lie, as the kernel holds the headers of nearly all packets in one piece; a helper costs a call.
#[inline(always)]
fn put<const N: usize>(packet: &mut impl Bytes, offset: u32, bytes: [u8; N]) -> Result<(), DropReason> {
    match packet.overwrite(offset, bytes) {
        Some(()) => Ok(()),
        None => packet.write(offset, bytes),
    }
}
