//! Masquerading: a flow of a workload to an address outside the cluster gets an address and a port of the node. Ports of the node
//! that lead to workloads are the same the other way round ([`crate::host_port`]).
//!
//! Nothing but the two entries of a flow is read for most of its packets ([`abi::masquerade::MasqueradeInfo`]); an entry is extended when half of
//! its time is over. The node's own packets, and those to addresses inside the cluster, are not looked up at all.

use crate::delivery::Delivery;
use crate::found::Masquerading;
use crate::maps::{AddressFact, Keep, Maps};
use crate::packet::{Bytes, Checksums, Mark, PacketRoute};
use crate::parse::{FIN, IP, PacketFlow};
use crate::scratch::Scratch;
use crate::to_proxy::Sockets;
use crate::translate::{self, PacketEnd};
use crate::{established, host_port, masquerade_flow, pipeline};
use abi::config::{Config, flag};
use abi::conntrack::ConnKey;
use abi::policy::Direction;
use abi::protocol::{TCP, UDP};
use abi::{Address, DropReason, map};

/// Masquerades a packet that leaves the node, if a workload sends it to an address outside the cluster.
#[inline(always)]
pub(crate) fn outward(
    packet: &mut (impl Bytes + Checksums + Mark + PacketRoute + Sockets),
    maps: &impl Maps,
    scratch: &mut Scratch,
) -> Result<Delivery, DropReason> {
    let Some(config) = maps.config() else { return Err(DropReason::MapMissing) };
    let is_from_proxy = packet.is_from_proxy();
    let is_nodes = packet.ingress() == 0 && !is_from_proxy;
    if config.flags & (flag::MASQUERADE | flag::HOST_PORTS) == 0 || is_nodes {
        return Ok(Delivery::Pass);
    }
    match quick_outward(packet, maps, scratch) {
        Quick::Passes => return Ok(Delivery::Pass),
        Quick::IsKnown => return rewrite_plain(packet, PacketEnd::Source, scratch).map(|()| Delivery::Pass),
        Quick::TakesStages => {}
    }
    scratch.begin(Direction::Egress);
    pipeline::run_apart(packet, maps, scratch, masquerade_flow::outward);
    pipeline::verdict(scratch)
}

/// What a look at a plain packet and its entry shows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quick {
    /// The packet keeps its addresses.
    Passes,
    /// The packet is rewritten by the entry in `scratch`.
    IsKnown,
    /// All stages must look at the packet.
    TakesStages,
}

/// Looks at a packet that leaves the node. A function of its own in the kernel, as is [`quick_inward`]: the verifier follows its
/// many paths once, and not into the stages.
#[inline(never)]
fn quick_outward(packet: &(impl Bytes + Mark), maps: &impl Maps, scratch: &mut Scratch) -> Quick {
    let is_from_proxy = packet.is_from_proxy();
    let Some(Config { epoch, flags, .. }) = maps.config() else { return Quick::TakesStages };
    let Some(tcp_flags) = established::read_plain(packet, Direction::Egress, is_from_proxy, &mut scratch.key)
    else {
        return Quick::TakesStages;
    };
    if flags & flag::HOST_PORTS != 0 && host_port::outward(maps, scratch) {
        return Quick::IsKnown;
    }
    if flags & flag::MASQUERADE == 0 {
        return Quick::Passes;
    }
    if maps.knows(AddressFact::Unmasqueraded, &scratch.key.remote, *epoch) {
        return Quick::Passes;
    }
    let is_known = tcp_flags & FIN == 0 && find_fresh(maps, *epoch, scratch);
    if is_known { Quick::IsKnown } else { Quick::TakesStages }
}

/// Gives a packet from outside the address of the workload whose masqueraded flow it belongs to; false where it belongs to none.
#[inline(always)]
pub(crate) fn inward(
    packet: &mut (impl Bytes + Checksums + Mark + PacketRoute),
    maps: &impl Maps,
    scratch: &mut Scratch,
) -> Result<bool, DropReason> {
    let Some(config) = maps.config() else { return Ok(false) };
    if config.flags & (flag::MASQUERADE | flag::HOST_PORTS) == 0 {
        return Ok(false);
    }
    match quick_inward(packet, maps, scratch) {
        Quick::Passes => return Ok(false),
        Quick::IsKnown => return rewrite_plain(packet, PacketEnd::Destination, scratch).map(|()| true),
        Quick::TakesStages => {}
    }
    scratch.begin(Direction::Ingress);
    scratch.masquerading.is_done = false;
    pipeline::run_apart(packet, maps, scratch, masquerade_flow::inward);
    pipeline::verdict(scratch)?;
    Ok(scratch.masquerading.is_done)
}

/// Looks at a packet from outside.
#[inline(never)]
fn quick_inward(packet: &(impl Bytes + Mark), maps: &impl Maps, scratch: &mut Scratch) -> Quick {
    let Some(Config { epoch, flags, masquerade, .. }) = maps.config() else { return Quick::TakesStages };
    let Some(tcp_flags) = established::read_plain(packet, Direction::Ingress, false, &mut scratch.key) else {
        return Quick::TakesStages;
    };
    let ConnKey { local, local_port, protocol, .. } = &scratch.key;
    let has_port = !matches!(*protocol, TCP | UDP) || masquerade.has_port(*local_port);
    let may_be = has_port && local == masquerade.address(local.is_v4());
    if may_be && tcp_flags & FIN == 0 && find_fresh(maps, *epoch, scratch) {
        return Quick::IsKnown;
    }
    if may_be {
        return Quick::TakesStages;
    }
    let is_forwarded = flags & flag::HOST_PORTS != 0 && host_port::inward(maps, scratch);
    if is_forwarded { Quick::IsKnown } else { Quick::Passes }
}

/// Copies the entry of the packet's flow, if the entry need not be extended.
#[inline(always)]
fn find_fresh(maps: &impl Maps, epoch: u32, scratch: &mut Scratch) -> bool {
    let (_, now) = maps.clock();
    let Some(entry) = Keep::<map::Masquerades>::find_mut(maps, &scratch.key) else { return false };
    scratch.masquerading.info = *entry;
    entry.epoch == epoch && now < entry.extend
}

/// Rewrites one end of a plain packet by its entry. A function of its own in the kernel: the paths of both families become one.
#[inline(never)]
fn rewrite_plain(
    packet: &mut (impl Bytes + Checksums),
    end: PacketEnd,
    scratch: &mut Scratch,
) -> Result<(), DropReason> {
    let Scratch { key, masquerading: Masquerading { info, .. }, found, .. } = scratch;
    let (source, source_port) = (key.local, key.local_port);
    found.flow = PacketFlow {
        // Which of the ends is rewritten does not depend on the other one.
        source,
        destination: source,
        source_port,
        destination_port: source_port,
        protocol: key.protocol,
        transport: if source.is_v4() { IP + 20 } else { IP + 40 },
        ..PacketFlow::unknown()
    };
    let address: Address = info.address;
    translate::rewrite(packet, &found.flow, end, &address, info.port)
}
