//! The entries of a masqueraded flow: which flows get them, with which port, and how long they last.

use crate::conntrack;
use crate::deliver::{self, Delivered};
use crate::found::Masquerading;
use crate::maps::{AddressFact, Keep, Maps};
use crate::packet::{Bytes, Checksums, Mark, PacketRoute};
use crate::parse::{self, FIN, Kind, PacketFlow, RST};
use crate::scratch::Scratch;
use crate::to_proxy::{SocketTuple, Sockets};
use crate::translate::{self, PacketEnd};
use crate::verifier::Fresh;
use crate::{fragment, host_port, related};
use abi::address::AddressKey;
use abi::config::{self, Config};
use abi::conntrack::{ConnKey, lifetime};
use abi::endpoint::EndpointKey;
use abi::masquerade::{MasqueradeInfo, flag};
use abi::policy::Direction;
use abi::protocol::{SCTP, TCP, UDP};
use abi::service::ServiceKey;
use abi::{Address, DropReason, identity, map};

/// How many ports are tried for a flow. The next packet of a refused flow tries others.
const ATTEMPTS: u32 = 16;

/// The distance of the ports that are tried: a prime, so that all ports come in turn.
const STRIDE: u32 = 7919;

/// Masquerades a packet by all stages: its flow may be new.
#[inline(always)]
pub(crate) fn outward(
    packet: &mut (impl Bytes + Checksums + Mark + PacketRoute + Sockets),
    maps: &impl Maps,
    scratch: &mut Fresh<'_, Scratch>,
) -> Result<Delivered, DropReason> {
    if !is_of_workload(packet, maps, scratch)? {
        return Ok(deliver::ignore());
    }
    scratch.key = conntrack::key(&scratch.found.flow, Direction::Egress);
    if scratch.found.config.flags & config::flag::HOST_PORTS != 0 && host_port::outward(maps, scratch) {
        return rewrite(packet, PacketEnd::Source, scratch).map(|()| deliver::ignore());
    }
    if !leaves_cluster(maps, scratch)? {
        return Ok(deliver::ignore());
    }
    let node = *scratch.found.config.masquerade.address(scratch.found.flow.source.is_v4());
    if node == Address([0; 16]) {
        return Err(DropReason::NoNodeAddress);
    }
    if related::is_error(&scratch.found.flow) {
        return answer_error(packet, maps, scratch).map(|()| deliver::ignore());
    }
    // A message that is neither an error nor an echo has no identifier by which its answer would be recognised.
    if !conntrack::is_tracked(&scratch.found.flow) {
        return Err(DropReason::TranslationFailed);
    }
    if !extend_outward(maps, &node, scratch) {
        if is_opened_outside(maps, scratch) {
            return Ok(deliver::ignore());
        }
        begin(packet, maps, &node, scratch)?;
    }
    rewrite(packet, PacketEnd::Source, scratch)?;
    Ok(deliver::ignore())
}

/// Gives a packet from outside the address of its flow's workload by all stages. A packet of the node itself stays as it is,
/// whatever is wrong with it.
#[inline(always)]
pub(crate) fn inward(
    packet: &mut (impl Bytes + Checksums + Mark + PacketRoute),
    maps: &impl Maps,
    scratch: &mut Fresh<'_, Scratch>,
) -> Result<Delivered, DropReason> {
    if !may_be_answer(packet, maps, scratch) {
        return Ok(deliver::ignore());
    }
    let is_error = related::is_error(&scratch.found.flow);
    if is_error {
        let Scratch { found, related, .. } = &mut **scratch;
        if !matches!(related::read(packet, &found.flow, Direction::Ingress, related), Ok(true)) {
            return Ok(deliver::ignore());
        }
        scratch.key = scratch.related.key;
    } else {
        scratch.key = conntrack::key(&scratch.found.flow, Direction::Ingress);
    }
    let has_host_ports = scratch.found.config.flags & config::flag::HOST_PORTS != 0;
    let is_translated =
        extend_inward(maps, is_error, scratch) || has_host_ports && host_port::inward(maps, scratch);
    if !is_translated {
        return Ok(deliver::ignore());
    }
    if is_error {
        let Scratch { found, masquerading: Masquerading { info, .. }, .. } = &mut **scratch;
        translate::rewrite_error(packet, &found.flow, PacketEnd::Source, &info.address, info.port)?;
    }
    rewrite(packet, PacketEnd::Destination, scratch)?;
    scratch.masquerading.is_done = true;
    Ok(deliver::ignore())
}

/// Parses a packet that leaves the node; false where it is not one of a workload.
#[inline(never)]
fn is_of_workload(packet: &impl Bytes, maps: &impl Maps, scratch: &mut Scratch) -> Result<bool, DropReason> {
    let scratch = &mut Fresh::new(scratch);
    scratch.found.config = *maps.config().ok_or(DropReason::MapMissing)?;
    // What others send through the node is theirs, whatever it is.
    if !matches!(parse::kind(packet), Ok(Kind::Ip))
        || parse::addresses(packet, &mut scratch.found.flow).is_err()
    {
        return Ok(false);
    }
    let Some(source) = maps.address(&AddressKey::host(scratch.found.flow.source)) else { return Ok(false) };
    if source.interface == 0 {
        return Ok(false);
    }
    let key = EndpointKey { interface: source.interface };
    scratch.found.endpoint = *maps.endpoint(&key).ok_or(DropReason::UnknownEndpoint)?;
    scratch.found.read_clock(maps);
    parse::after_addresses(packet, &mut scratch.found.flow)?;
    fragment::resolve_ports(maps, &mut scratch.found.flow)?;
    Ok(true)
}

/// Whether the packet of a workload goes to an address outside the cluster, to which it is masqueraded.
#[inline(never)]
fn leaves_cluster(maps: &impl Maps, scratch: &mut Scratch) -> Result<bool, DropReason> {
    if scratch.found.config.flags & config::flag::MASQUERADE == 0 {
        return Ok(false);
    }
    let remote = AddressKey::host(scratch.found.flow.destination);
    scratch.found.peer_identity = maps.address(&remote).ok_or(DropReason::MapMissing)?.identity;
    if !identity::is_world(scratch.found.peer_identity) || maps.lookup(map::Unmasqueraded, &remote).is_some()
    {
        maps.remember(AddressFact::Unmasqueraded, &remote.address, scratch.found.config.epoch);
        return Ok(false);
    }
    Ok(true)
}

/// Parses a packet from outside; false where it cannot belong to a masqueraded flow.
#[inline(never)]
fn may_be_answer(packet: &impl Bytes, maps: &impl Maps, scratch: &mut Scratch) -> bool {
    let scratch = &mut Fresh::new(scratch);
    let Some(config) = maps.config() else { return false };
    scratch.found.config = *config;
    if !matches!(parse::kind(packet), Ok(Kind::Ip))
        || parse::addresses(packet, &mut scratch.found.flow).is_err()
    {
        return false;
    }
    let local = scratch.found.flow.destination;
    let Config { flags, masquerade, .. } = &scratch.found.config;
    if flags & config::flag::HOST_PORTS == 0 && local != *masquerade.address(local.is_v4()) {
        return false;
    }
    scratch.found.read_clock(maps);
    parse::after_addresses(packet, &mut scratch.found.flow).is_ok()
        && fragment::resolve_ports(maps, &mut scratch.found.flow).is_ok()
}

/// Gives an error that a workload sends about a masqueraded flow, and the packet in it, the node's address.
#[inline(never)]
fn answer_error(
    packet: &mut (impl Bytes + Checksums),
    maps: &impl Maps,
    scratch: &mut Scratch,
) -> Result<(), DropReason> {
    let Scratch { found, related, masquerading: Masquerading { info, .. }, .. } = scratch;
    if !related::read(packet, &found.flow, Direction::Egress, related)? {
        return Ok(());
    }
    // The error is about a flow that was opened from outside to the workload's own address.
    let Some(entry) = Keep::<map::Masquerades>::find_mut(maps, &related.key) else { return Ok(()) };
    *info = *entry;
    drop(entry);
    translate::rewrite_error(packet, &found.flow, PacketEnd::Destination, &info.address, info.port)?;
    rewrite(packet, PacketEnd::Source, scratch)
}

/// Gives one end of the packet the address and port that were found for its flow.
#[inline(always)]
fn rewrite(
    packet: &mut (impl Bytes + Checksums),
    end: PacketEnd,
    scratch: &Scratch,
) -> Result<(), DropReason> {
    let Scratch { found, masquerading: Masquerading { info, .. }, .. } = scratch;
    if found.flow.is_icmp() {
        return translate::rewrite_message(packet, &found.flow, end, &info.address, info.port);
    }
    translate::rewrite(packet, &found.flow, end, &info.address, info.port)
}

/// Whether the end outside opened the packet's flow, to the workload's own address.
#[inline(never)]
fn is_opened_outside(maps: &impl Maps, scratch: &Scratch) -> bool {
    let opened = |flags: u32| conntrack::opened(flags) == Direction::Ingress;
    if let Some(row) = maps.connection(&scratch.key) {
        return opened(row.flags);
    }
    maps.opening(&scratch.key).is_some_and(|row| opened(row.flags))
}

/// Extends both entries of the flow of a packet that goes out; false where they are not both there, or name an address that
/// the node has no more.
#[inline(never)]
fn extend_outward(maps: &impl Maps, node: &Address, scratch: &mut Scratch) -> bool {
    let Scratch { found, key, masquerading: Masquerading { inward, info, .. }, .. } = scratch;
    {
        let Some(mut entry) = Keep::<map::Masquerades>::find_mut(maps, key) else { return false };
        if entry.expires <= found.seconds || entry.address != *node {
            return false;
        }
        let flags = flags_after(entry.flags, &found.flow, Direction::Egress);
        extend(&mut entry, flags, found.seconds, key.protocol);
        entry.epoch = found.config.epoch;
        *info = *entry;
    }
    *inward = inward_key(key, node, info.port, &found.flow);
    let Some(mut entry) = Keep::<map::Masquerades>::find_mut(maps, inward) else { return false };
    if entry.address != key.local || entry.port != key.local_port {
        return false;
    }
    extend(&mut entry, info.flags, found.seconds, key.protocol);
    entry.epoch = found.config.epoch;
    true
}

/// Extends both entries of the flow of a packet from outside; false where the packet belongs to none. An ICMP error extends
/// nothing.
#[inline(never)]
fn extend_inward(maps: &impl Maps, is_error: bool, scratch: &mut Scratch) -> bool {
    let Scratch { found, key, masquerading: Masquerading { inward, info, .. }, .. } = scratch;
    {
        let Some(mut entry) = Keep::<map::Masquerades>::find_mut(maps, key) else { return false };
        if entry.expires <= found.seconds {
            return false;
        }
        if is_error {
            *info = *entry;
            return true;
        }
        let flags = flags_after(entry.flags, &found.flow, Direction::Ingress);
        extend(&mut entry, flags, found.seconds, key.protocol);
        entry.epoch = found.config.epoch;
        *info = *entry;
    }
    // The key of the other entry has the workload's address and port as the local ones.
    *inward = inward_key(key, &info.address, info.port, &found.flow);
    if let Some(mut entry) = Keep::<map::Masquerades>::find_mut(maps, inward) {
        // Its epoch stays: the next packet out finds out whether the flow is masqueraded still.
        extend(&mut entry, info.flags, found.seconds, key.protocol);
    }
    true
}

/// Begins to masquerade a flow: takes a port that no other flow to the same end, and no socket of the node, has.
#[inline(never)]
fn begin(
    packet: &impl Sockets,
    maps: &impl Maps,
    node: &Address,
    scratch: &mut Scratch,
) -> Result<(), DropReason> {
    scratch.masquerading.is_done = false;
    maps.repeat(ATTEMPTS, |attempt| match port(attempt, scratch) {
        Some(port) => {
            scratch.masquerading.info.port = port;
            scratch.masquerading.is_done = claim(packet, maps, node, scratch);
            scratch.masquerading.is_done
        }
        None => true,
    });
    if scratch.masquerading.is_done { keep(maps, node, scratch) } else { Err(DropReason::NoPort) }
}

/// The port that is tried for a flow; none where no other one can be tried.
#[inline(always)]
fn port(attempt: u32, scratch: &Scratch) -> Option<[u8; 2]> {
    let Scratch { found, key, .. } = scratch;
    let (first, ports) =
        (u32::from(found.config.masquerade.first_port), u32::from(found.config.masquerade.ports));
    let own = u32::from(u16::from_be_bytes(key.local_port));
    // A checksum that covers ports, as SCTP's, cannot be changed; flows without ports differ by their ends alone.
    if !matches!(key.protocol, TCP | UDP) && !found.flow.is_icmp() {
        return (attempt == 0).then_some(key.local_port);
    }
    if attempt == 0 && own.wrapping_sub(first) < ports {
        return Some(key.local_port);
    }
    let start = found.time as u32 ^ own.wrapping_mul(STRIDE);
    let place = start.wrapping_add(attempt.wrapping_mul(STRIDE)).checked_rem(ports)?;
    Some((first.wrapping_add(place) as u16).to_be_bytes())
}

/// Takes the port in `scratch`, if it is free.
#[inline(never)]
fn claim(packet: &impl Sockets, maps: &impl Maps, node: &Address, scratch: &mut Scratch) -> bool {
    let Scratch { found, key, masquerading: Masquerading { inward, info, .. }, .. } = scratch;
    *inward = inward_key(key, node, info.port, &found.flow);
    let is_known = Keep::<map::Masquerades>::find_mut(maps, inward).map(|entry| {
        let is_own = entry.address == key.local && entry.port == key.local_port;
        is_own || entry.expires <= found.seconds
    });
    match is_known {
        Some(false) => return false,
        Some(true) => maps.delete(map::Masquerades, inward),
        None => {}
    }
    let tuple = SocketTuple {
        source: inward.remote,
        destination: inward.local,
        source_port: inward.remote_port,
        destination_port: inward.local_port,
    };
    if packet.has_port(key.protocol, &tuple) || is_host_port(maps, inward) {
        return false;
    }
    let mut entry = MasqueradeInfo {
        address: key.local,
        port: key.local_port,
        epoch: found.config.epoch,
        ..MasqueradeInfo::default()
    };
    extend(&mut entry, 0, found.seconds, key.protocol);
    // Another CPU may take the port for another flow meanwhile.
    maps.claim(map::Masquerades, inward, &entry)
}

/// Whether the local port of a key leads to a workload.
#[inline(always)]
fn is_host_port(maps: &impl Maps, key: &ConnKey) -> bool {
    let ConnKey { local, local_port, protocol, .. } = *key;
    maps.service(&ServiceKey { address: local, port: local_port, protocol, padding: 0 }).is_some()
}

/// Keeps the entry of packets out for the port that was taken.
#[inline(always)]
fn keep(maps: &impl Maps, node: &Address, scratch: &mut Scratch) -> Result<(), DropReason> {
    let Scratch { found, key, masquerading: Masquerading { inward, info, .. }, .. } = scratch;
    *info = MasqueradeInfo {
        address: *node,
        port: info.port,
        epoch: found.config.epoch,
        ..MasqueradeInfo::default()
    };
    extend(info, 0, found.seconds, key.protocol);
    if maps.update(map::Masquerades, key, info) {
        return Ok(());
    }
    maps.delete(map::Masquerades, inward);
    Err(DropReason::ConntrackFull)
}

/// The key with another local end: that of the other entry of a flow.
#[inline(always)]
fn inward_key(key: &ConnKey, local: &Address, port: [u8; 2], flow: &PacketFlow) -> ConnKey {
    // An ICMP echo has one identifier for both ends.
    let remote_port = if flow.is_icmp() { port } else { key.remote_port };
    ConnKey { local: *local, local_port: port, remote_port, ..*key }
}

/// The flags of a flow after a packet.
#[inline(always)]
fn flags_after(flags: u32, flow: &PacketFlow, direction: Direction) -> u32 {
    if flow.is_syn() && direction == Direction::Egress {
        // The workload opens another connection between the same ends.
        return 0;
    }
    let answered = if direction == Direction::Ingress { flag::ANSWERED } else { 0 };
    let closing = if flow.protocol == TCP && flow.tcp_flags & (FIN | RST) != 0 { flag::CLOSING } else { 0 };
    flags | answered | closing
}

/// Extends an entry from now on.
#[inline(always)]
fn extend(entry: &mut MasqueradeInfo, flags: u32, now: u32, protocol: u8) {
    let lifetime = match flags {
        _ if protocol != TCP && protocol != SCTP => lifetime::ANY,
        flags if flags & flag::CLOSING != 0 => lifetime::TCP_HALF_CLOSED,
        flags if flags & flag::ANSWERED != 0 => lifetime::TCP,
        _ => lifetime::TCP_OPENING,
    };
    entry.flags = flags;
    entry.extend = now + lifetime / 2;
    entry.expires = now + lifetime;
}
