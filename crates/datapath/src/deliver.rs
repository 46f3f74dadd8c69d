//! Sends a permitted packet on its way.

use crate::check::{Permit, Route};
use crate::packet::Packet;
use crate::parse::{Flow, IP};
use abi::address::AddressInfo;
use abi::config::Config;
use abi::endpoint::EndpointInfo;
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

/// Delivers a packet that a workload sent: to a workload of this node, or to the stack, which routes it.
#[inline(always)]
pub(crate) fn onward(
    packet: &mut impl Packet,
    flow: &Flow,
    from: &EndpointInfo,
    to: &AddressInfo,
    permit: Permit,
) -> Result<Delivery, DropReason> {
    match permit.route() {
        Route::Straight if to.interface == 0 => Ok(Delivery::Pass),
        Route::Straight => {
            hop(packet, flow)?;
            let [a, b, c, d, e, f] = to.mac;
            let [g, h, i, j, k, l] = from.host_mac;
            packet.write(0, [a, b, c, d, e, f, g, h, i, j, k, l])?;
            Ok(Delivery::Egress(to.interface))
        }
        Route::Proxy(interface) => Ok(proxied(packet, interface)),
    }
}

/// Delivers a packet that is at its workload's door.
#[inline(always)]
pub(crate) fn inward(packet: &mut impl Packet, permit: Permit) -> Delivery {
    match permit.route() {
        Route::Straight => Delivery::Pass,
        Route::Proxy(interface) => proxied(packet, interface),
    }
}

/// The interface of the node proxy.
#[inline(always)]
pub(crate) fn proxy_of(config: &Config) -> Result<u32, DropReason> {
    match config.proxy_interface {
        0 => Err(DropReason::ProxyUnavailable),
        interface => Ok(interface),
    }
}

#[inline(always)]
fn proxied(packet: &mut impl Packet, interface: u32) -> Delivery {
    let others = packet.mark() & !mark::MASK;
    packet.set_mark(others | mark::TO_PROXY);
    Delivery::Ingress(interface)
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
