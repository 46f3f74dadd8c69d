//! Service translation: a packet to a frontend goes to the backend that was chosen for its flow.

use crate::found::{Found, ServiceAddress};
use crate::maps::Maps;
use crate::packet::{Bytes, Checksums};
use crate::parse::{FIN, PacketFlow, RST, SYN};
use crate::translate::{self, PacketEnd};
use abi::DropReason;
use abi::conntrack::lifetime;
use abi::map;
use abi::protocol::{SCTP, TCP, UDP};
use abi::service::{BackendKey, ChoiceInfo, ChoiceKey, ServiceInfo, ServiceKey, choice_flag, service_flag};

/// Translates the destination of a packet to a frontend to the flow's backend. Other packets stay as they are, and so does a
/// segment that accepts a connection: a frontend opens none.
#[inline(always)]
pub(crate) fn translate(
    packet: &mut (impl Bytes + Checksums),
    maps: &impl Maps,
    found: &mut Found,
) -> Result<(), DropReason> {
    if !matches!(found.flow.protocol, TCP | UDP | SCTP) || found.flow.is_syn_ack() {
        return Ok(());
    }
    if find_backend(maps, found)? { redirect(packet, found) } else { Ok(()) }
}

/// Whether a packet that [`translate`] left as it is goes to a frontend: a segment of a TCP connection from before the
/// frontend was one.
#[inline(always)]
pub(crate) fn is_to_frontend(maps: &impl Maps, flow: &PacketFlow) -> bool {
    let may_be = flow.protocol == TCP && flow.tcp_flags & SYN == 0;
    may_be && maps.service(&frontend(flow)).is_some()
}

/// Gives the packet the address of the backend.
#[inline(never)]
fn redirect(packet: &mut (impl Bytes + Checksums), found: &mut Found) -> Result<(), DropReason> {
    let backend = found.backend;
    translate::rewrite(packet, &found.flow, PacketEnd::Destination, &backend.address, backend.port)?;
    found.service = ServiceAddress { address: found.flow.destination, port: found.flow.destination_port };
    found.flow.destination = backend.address;
    found.flow.destination_port = backend.port;
    Ok(())
}

/// Finds the backend of the packet's flow, chosen before or now; false where the destination is no frontend.
#[inline(never)]
fn find_backend(maps: &impl Maps, found: &mut Found) -> Result<bool, DropReason> {
    let flow = &found.flow;
    let now = found.seconds;
    let key = key(flow);
    // An open TCP connection stays with its backend, whatever becomes of the service. Datagrams, and connections that
    // only begin, leave a set of backends that is no longer the service's.
    let is_open = flow.protocol == TCP && !flow.opens();
    let service = if is_open {
        None
    } else {
        let Some(service) = maps.service(&frontend(flow)) else { return Ok(false) };
        Some(service)
    };
    if let Some(mut choice) = maps.lookup_mut(map::Choices, &key)
        && choice.expires > now
        && service.is_none_or(|service| service.backends == choice.backends)
    {
        keep(&mut choice, flow, now);
        found.backend = choice.backend;
        return Ok(true);
    }
    let Some(service) = service else { return Ok(false) };
    choose(maps, &key, service, found)?;
    Ok(true)
}

/// The key of the frontend that the packet would go to.
#[inline(always)]
fn frontend(flow: &PacketFlow) -> ServiceKey {
    ServiceKey { address: flow.destination, port: flow.destination_port, protocol: flow.protocol, padding: 0 }
}

/// The key of the choice for a flow.
#[inline(always)]
fn key(flow: &PacketFlow) -> ChoiceKey {
    ChoiceKey {
        client: flow.source,
        service: flow.destination,
        client_port: flow.source_port,
        service_port: flow.destination_port,
        protocol: flow.protocol,
        padding: [0; 3],
    }
}

/// Extends a choice; the choice of a connection that ends expires soon.
#[inline(always)]
fn keep(choice: &mut ChoiceInfo, flow: &PacketFlow, now: u32) {
    if flow.tcp_flags & (FIN | RST) != 0 {
        choice.flags |= choice_flag::CLOSED;
    }
    let is_open = flow.protocol == TCP && choice.flags & choice_flag::CLOSED == 0;
    choice.expires = now + if is_open { lifetime::TCP } else { lifetime::ANY };
}

/// Chooses a backend by a hash of the flow, and remembers the choice.
#[inline(always)]
fn choose(
    maps: &impl Maps,
    key: &ChoiceKey,
    service: &ServiceInfo,
    found: &mut Found,
) -> Result<(), DropReason> {
    let ServiceInfo { backends, count, flags } = *service;
    if count == 0 {
        return Err(DropReason::NoBackend);
    }
    let is_of_client = flags & service_flag::ONE_BACKEND_OF_CLIENT != 0;
    let index = if is_of_client { backend_of_client(key, count) } else { backend_index(key, count) };
    let backend = maps.backend(&BackendKey { backends, index }).ok_or(DropReason::MapMissing)?;
    found.backend = *backend;
    let expires = found.seconds + lifetime::ANY;
    let choice = ChoiceInfo { backend: found.backend, backends, expires, flags: 0 };
    if maps.update(map::Choices, key, &choice) { Ok(()) } else { Err(DropReason::ConntrackFull) }
}

/// The index of the backend for a flow, in a set of `count` backends. The same flow always gets the same index.
#[inline(always)]
pub fn backend_index(key: &ChoiceKey, count: u32) -> u32 {
    spread(key, key.client_port) % count
}

/// The index of the backend for all flows of a client to a service, in a set of `count` backends.
#[inline(always)]
pub fn backend_of_client(key: &ChoiceKey, count: u32) -> u32 {
    spread(key, [0; 2]) % count
}

/// A number that spreads flows evenly: the fields of the key, mixed as by MurmurHash3's finalizer, and the client's port.
#[inline(always)]
fn spread(key: &ChoiceKey, [a, b]: [u8; 2]) -> u32 {
    let mut hash = u32::from(key.protocol);
    let mut at = 0;
    while at < 16 {
        for address in [&key.client.0, &key.service.0] {
            hash = mix(hash, [address[at], address[at + 1], address[at + 2], address[at + 3]]);
        }
        at += 4;
    }
    let [c, d] = key.service_port;
    mix(hash, [a, b, c, d])
}

#[inline(always)]
fn mix(hash: u32, word: [u8; 4]) -> u32 {
    let mut mixed = hash.rotate_left(5) ^ u32::from_be_bytes(word);
    mixed = (mixed ^ (mixed >> 16)).wrapping_mul(0x85eb_ca6b);
    mixed = (mixed ^ (mixed >> 13)).wrapping_mul(0xc2b2_ae35);
    mixed ^ (mixed >> 16)
}
