//! Service addresses: each flow to one is sent to a backend, always the same.

use crate::conntrack;
use crate::found::{Found, Frontend};
use crate::maps::Maps;
use crate::packet::{Bytes, Checksums};
use crate::parse::{FIN, RST};
use crate::translate::{self, End};
use abi::conntrack::{ConnInfo, ConnKey, flag, lifetime};
use abi::policy::Direction;
use abi::protocol::{SCTP, TCP, UDP};
use abi::service::{BackendKey, ServiceInfo, ServiceKey};
use abi::{Address, DropReason};

/// Sends a packet that goes to a service address to the flow's backend instead; others stay as they are.
#[inline(always)]
pub(crate) fn translate(
    packet: &mut (impl Bytes + Checksums),
    maps: &impl Maps,
    found: &mut Found,
) -> Result<(), DropReason> {
    if !matches!(found.flow.protocol, TCP | UDP | SCTP) {
        return Ok(());
    }
    let Some(backend) = backend(maps, found)? else { return Ok(()) };
    redirect(packet, found, &backend)
}

/// Gives the packet the address of the backend.
#[inline(never)]
fn redirect(
    packet: &mut (impl Bytes + Checksums),
    found: &mut Found,
    backend: &Backend,
) -> Result<(), DropReason> {
    translate::rewrite(packet, &found.flow, End::Destination, &backend.address, backend.port)?;
    found.service = Frontend { address: found.flow.destination, port: found.flow.destination_port };
    found.flow.destination = backend.address;
    found.flow.destination_port = backend.port;
    Ok(())
}

/// Where a flow goes instead.
struct Backend {
    address: Address,
    port: [u8; 2],
}

/// The backend of the packet's flow, chosen before or now; nothing where the destination is no service.
#[inline(always)]
fn backend(maps: &impl Maps, found: &Found) -> Result<Option<Backend>, DropReason> {
    let flow = &found.flow;
    let now = found.seconds;
    let key = conntrack::key(flow, Direction::Egress);
    // A TCP connection stays where it is, whatever becomes of the service. Other flows, and connections that only
    // begin, leave a set of backends that is no longer the service's.
    let settled = flow.protocol == TCP && !flow.opens();
    let service = if settled {
        None
    } else {
        let service = maps.service(&ServiceKey {
            address: flow.destination,
            port: flow.destination_port,
            protocol: flow.protocol,
            padding: 0,
        });
        let Some(service) = service else { return Ok(None) };
        Some(service)
    };
    if let Some(mut choice) = maps.connection(&key)
        && choice.flags & flag::CHOICE != 0
        && choice.expires > now
        && service.is_none_or(|service| service.backends == choice.policy)
    {
        keep(&mut choice, flow.tcp_flags, now);
        return Ok(Some(Backend { address: choice.service, port: choice.service_port }));
    }
    match service {
        Some(service) => choose(maps, &key, service, now).map(Some),
        None => Ok(None),
    }
}

/// Extends a choice; that of a connection which ends is soon forgotten.
#[inline(always)]
fn keep(choice: &mut ConnInfo, tcp_flags: u8, now: u32) {
    if tcp_flags & (FIN | RST) != 0 {
        choice.flags |= flag::LOCAL_CLOSED;
    }
    let stays = choice.flags & flag::LOCAL_OPENED != 0 && choice.flags & flag::LOCAL_CLOSED == 0;
    choice.expires = now + if stays { lifetime::TCP } else { lifetime::ANY };
}

/// Chooses a backend by the flow's own numbers and remembers it.
#[inline(always)]
fn choose(maps: &impl Maps, key: &ConnKey, service: &ServiceInfo, now: u32) -> Result<Backend, DropReason> {
    let (backends, count) = (service.backends, service.count);
    if count == 0 {
        return Err(DropReason::NoBackend);
    }
    let slot = slot(key, count);
    let backend = *maps.backend(&BackendKey { backends, slot }).ok_or(DropReason::MapMissing)?;
    let mut choice = conntrack::new_entry(Direction::Egress);
    choice.flags = flag::CHOICE | if key.protocol == TCP { flag::LOCAL_OPENED } else { 0 };
    choice.expires = now + lifetime::ANY;
    choice.policy = backends;
    choice.service = backend.address;
    choice.service_port = backend.port;
    if !maps.remember(key, &choice) {
        return Err(DropReason::ConntrackFull);
    }
    Ok(Backend { address: backend.address, port: backend.port })
}

/// The slot of the backend, of so many, that a flow to a service begins with; a flow always has the same.
#[inline(always)]
pub fn slot(key: &ConnKey, count: u32) -> u32 {
    spread(key) % count
}

/// A number that spreads flows evenly: the fields of the key, stirred as in MurmurHash3's finalizer.
#[inline(always)]
fn spread(key: &ConnKey) -> u32 {
    let mut hash = u32::from(key.protocol);
    let mut at = 0;
    while at < 16 {
        hash = stir(hash, [key.local.0[at], key.local.0[at + 1], key.local.0[at + 2], key.local.0[at + 3]]);
        hash =
            stir(hash, [key.remote.0[at], key.remote.0[at + 1], key.remote.0[at + 2], key.remote.0[at + 3]]);
        at += 4;
    }
    let [a, b] = key.local_port;
    let [c, d] = key.remote_port;
    stir(hash, [a, b, c, d])
}

#[inline(always)]
fn stir(hash: u32, word: [u8; 4]) -> u32 {
    let mut mixed = hash.rotate_left(5) ^ u32::from_be_bytes(word);
    mixed = (mixed ^ (mixed >> 16)).wrapping_mul(0x85eb_ca6b);
    mixed = (mixed ^ (mixed >> 13)).wrapping_mul(0xc2b2_ae35);
    mixed ^ (mixed >> 16)
}
