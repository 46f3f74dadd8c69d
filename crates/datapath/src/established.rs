//! The short way of a packet that belongs to an established flow: one lookup returns all that the stages would find out.
//!
//! Under each epoch, the first packet of either direction passes the stages of its hook. The stages leave in the connection's
//! entry what they found out about all packets of this direction ([`Way`]). This holds until the epoch rises, and the epoch
//! rises with every change of an address, an endpoint, a policy or the set of services. A packet that changes the state of
//! its connection passes the stages too, and so does one that is not plain: options, extension headers, fragments, marks,
//! messages of ICMP.

use crate::delivery::Delivery;
use crate::maps::{Keep, Maps};
use crate::packet::{Bytes, Mark, PacketRoute};
use crate::parse::{FIN, IP, RST, SYN};
use crate::{checksum, conntrack};
use abi::conntrack::{ConnInfo, ConnKey, Way, flag};
use abi::policy::Direction;
use abi::protocol::{SCTP, TCP, UDP};
use abi::{Address, event, map, mark};

/// Delivers a workload's packet of an established flow; nothing where the packet has to pass the stages.
#[inline(always)]
pub(crate) fn from_workload(
    packet: &mut (impl Bytes + Mark + PacketRoute),
    maps: &impl Maps,
) -> Option<Delivery> {
    let mut entry = find(packet, maps, Direction::Egress)?;
    let interface = entry.way_out.interface();
    if interface != 0 {
        forward(packet, &entry.link)?;
    }
    count(packet, maps, Direction::Egress, &mut entry);
    Some(if interface == 0 { Delivery::Pass } else { Delivery::Egress(interface) })
}

/// The same for a packet to a workload.
#[inline(always)]
pub(crate) fn to_workload(packet: &(impl Bytes + Mark + PacketRoute), maps: &impl Maps) -> Option<Delivery> {
    let mut entry = find(packet, maps, Direction::Ingress)?;
    count(packet, maps, Direction::Ingress, &mut entry);
    Some(Delivery::Pass)
}

/// The entry of the packet's flow with its life extended, if the flow is established, and the way of packets in this
/// direction is known under the epoch in force.
#[inline(always)]
fn find<'a, M: Maps>(
    packet: &(impl Bytes + Mark + PacketRoute),
    maps: &'a M,
    direction: Direction,
) -> Option<<M as Keep<map::Conntrack>>::Entry<'a>> {
    // Whatever the entry holds of another epoch does not count.
    let epoch = maps.config()?.epoch;
    if packet.mark() & mark::MASK != 0 || packet.is_tagged() {
        return None;
    }
    let key = key(packet, direction)?;
    let mut entry = maps.connection(&key)?;
    let (is_on_its_way, known) = match direction {
        Direction::Egress => (entry.way_out.epoch() == epoch, flag::WAY_OUT),
        Direction::Ingress => (entry.way_in == Way::new(epoch, packet.ingress()), flag::WAY_IN),
    };
    let is_own = entry.local == Way::new(epoch, packet.interface());
    let is_steady = entry.flags & (CHANGING | flag::ANSWERED | known) == flag::ANSWERED | known;
    let now = maps.seconds();
    if !is_on_its_way || !is_own || !is_steady || entry.expires <= now {
        return None;
    }
    entry.expires = now + conntrack::lifetime_of(key.protocol, flag::ANSWERED);
    Some(entry)
}

/// Counts a packet that passes.
#[inline(always)]
fn count(packet: &impl Bytes, maps: &impl Maps, direction: Direction, entry: &mut ConnInfo) {
    let length = packet.length();
    conntrack::count(entry, direction, length);
    maps.count(event::counter_index(0, direction), length);
}

/// Flags of flows whose packets pass the stages: flows that end, and those that are rewritten or go to the proxy.
const CHANGING: u32 =
    flag::LOCAL_CLOSED | flag::REMOTE_CLOSED | flag::RESET | flag::PROXIED | flag::TRANSLATED;

/// The key of the flow of a plain packet; nothing for other packets, and for segments that open or end a connection.
#[inline(always)]
fn key(packet: &impl Bytes, direction: Direction) -> Option<ConnKey> {
    match packet.front::<2>(12)? {
        [0x08, 0x00] => {
            let header = packet.front::<{ 20 + PORTS }>(IP)?;
            let [length, place] = [word(&header, 2), word(&header, 6)];
            // Version 4, a header of five words, and no fragment; the one bit left over forbids to make fragments.
            if header[0] != 0x45 || place & 0x3fff != 0 {
                return None;
            }
            let protocol = transport(packet, header[9], IP + 20, IP + u32::from(length))?;
            let ends = [12, 16].map(|at| Address::from_v4([0, 1, 2, 3].map(|byte| header[at + byte])));
            Some(conntrack::key_of(direction, ends, ports(&header, 20), protocol))
        }
        [0x86, 0xdd] => {
            let header = packet.front::<{ 40 + PORTS }>(IP)?;
            let protocol = transport(packet, header[6], IP + 40, IP + 40 + u32::from(word(&header, 4)))?;
            let ends = [8, 24].map(|at| {
                let mut address = Address([0; 16]);
                address.0.copy_from_slice(&header[at..at + 16]);
                address
            });
            // As `parse` does, refuses addresses on the wire that stand for addresses of IPv4.
            if header[0] >> 4 != 6 || ends[0].is_v4() || ends[1].is_v4() {
                return None;
            }
            Some(conntrack::key_of(direction, ends, ports(&header, 40), protocol))
        }
        _ => None,
    }
}

/// Bytes of the two ports.
const PORTS: usize = 4;

/// The ports, source first.
#[inline(always)]
fn ports(header: &[u8], at: usize) -> [[u8; 2]; 2] {
    [[header[at], header[at + 1]], [header[at + 2], header[at + 3]]]
}

#[inline(always)]
fn word(header: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([header[at], header[at + 1]])
}

/// The protocol, if it has ports, and the packet holds the whole header at `at` and ends at `end` in its frame; nothing for a
/// TCP segment that opens or ends a connection.
#[inline(always)]
fn transport(packet: &impl Bytes, protocol: u8, at: u32, end: u32) -> Option<u8> {
    if end > packet.length() {
        return None;
    }
    match protocol {
        TCP => {
            let [_, flags] = packet.front::<2>(at + 12)?;
            (end >= at + 20 && flags & (SYN | FIN | RST) == 0).then_some(TCP)
        }
        UDP | SCTP => (end >= at + 8).then_some(protocol),
        _ => None,
    }
}

/// Makes a frame one to the workload at the other end; nothing where the packet's hop limit ends here.
#[inline(always)]
fn forward(packet: &mut impl Bytes, link: &[u8; 12]) -> Option<()> {
    match packet.front::<2>(12)? {
        [0x08, 0x00] => {
            let [hop_limit, protocol, high, low] = packet.front::<4>(IP + 8)?;
            if hop_limit <= 1 {
                return None;
            }
            let [high, low] = checksum::with_hop_taken([high, low]);
            packet.overwrite(IP + 8, [hop_limit - 1, protocol, high, low])?;
        }
        _ => {
            let [next, hop_limit] = packet.front::<2>(IP + 6)?;
            if hop_limit <= 1 {
                return None;
            }
            packet.overwrite(IP + 6, [next, hop_limit - 1])?;
        }
    }
    packet.overwrite(0, *link)
}
