//! Sends a permitted packet on its way.

use crate::check::Permit;
use crate::packet::Packet;
use crate::parse::{Flow, IP};
use crate::report::Trace;
use abi::address::AddressInfo;
use abi::{DropReason, mark};

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// On, the way it was going.
    Pass,
    /// Out of the interface with this index.
    Egress(u32),
    /// Into the stack, as if it had come in by the interface with this index.
    Ingress(u32),
}

/// Delivers a packet that a workload sent: to a workload of this node, to the stack, which routes it, or to the proxy.
#[inline(always)]
pub(crate) fn route(
    packet: &mut impl Packet,
    trace: &mut Trace,
    to: &AddressInfo,
    permit: Permit,
) -> Result<(), DropReason> {
    if trace.proxy != 0 || to.interface == 0 {
        pass(packet, trace, permit);
        return Ok(());
    }
    hop(packet, &trace.flow)?;
    let [a, b, c, d, e, f] = to.mac;
    let [g, h, i, j, k, l] = trace.endpoint.host_mac;
    packet.write(0, [a, b, c, d, e, f, g, h, i, j, k, l])?;
    trace.delivery = Delivery::Egress(to.interface);
    Ok(())
}

/// Delivers a packet the way it was going, or to the proxy.
#[inline(always)]
pub(crate) fn pass(packet: &mut impl Packet, trace: &mut Trace, _permit: Permit) {
    if trace.proxy == 0 {
        trace.delivery = Delivery::Pass;
        return;
    }
    let others = packet.mark() & !mark::MASK;
    packet.set_mark(others | mark::TO_PROXY);
    trace.delivery = Delivery::Ingress(trace.proxy);
}

/// Takes one off the hop limit, as a router does.
#[inline(always)]
fn hop(packet: &mut impl Packet, flow: &Flow) -> Result<(), DropReason> {
    if flow.hop_limit <= 1 {
        return Err(DropReason::TimeExceeded);
    }
    if !flow.source.is_v4() {
        return packet.write(IP + 7, [flow.hop_limit - 1]);
    }
    let [hop_limit, protocol, high, low] = packet.read::<4>(IP + 8)?;
    // RFC 1624: one less in the high byte of a word is 0x100 more in the complement.
    let sum = u32::from(u16::from_be_bytes([high, low])) + 0x100;
    let [high, low] = ((sum + (sum >> 16)) as u16).to_be_bytes();
    packet.write(IP + 8, [hop_limit - 1, protocol, high, low])
}
