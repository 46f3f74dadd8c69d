//! The short way of a packet that belongs to an established flow: one lookup returns all that the stages would find out.
//!
//! Under each epoch, the first packet of either direction passes the stages of its hook. The stages leave in the connection's
//! entry what they found out about all packets of this direction ([`Way`]). This holds until the epoch rises, and the epoch
//! rises with every change of an address, an endpoint, a policy or the set of services. A segment that opens or resets its
//! connection passes the stages too, and so does one whose end of the connection is reported, and a packet that is not plain:
//! options, extension headers, fragments, messages of ICMP, and marks other than the proxy's.

use crate::delivery::Delivery;
use crate::maps::{AddressFact, Keep, Maps};
use crate::packet::{Bytes, Mark, PacketRoute};
use crate::parse::{FIN, IP, RST, SYN};
use crate::{checksum, conntrack};
use abi::conntrack::{ConnInfo, ConnKey, LinkAddresses, Way, flag};
use abi::policy::Direction;
use abi::protocol::{SCTP, TCP, UDP};
use abi::{Address, event, map, mark};
use core::ops::DerefMut;

/// Delivers a workload's packet of an established flow; nothing where the packet has to pass the stages.
#[inline(always)]
pub(crate) fn from_workload(
    packet: &mut (impl Bytes + Mark + PacketRoute),
    maps: &impl Maps,
    key: &mut ConnKey,
) -> Option<Delivery> {
    let ends = Ends { local: packet.interface(), other: None, is_from_proxy: false };
    let tcp_flags = read_plain(packet, Direction::Egress, false, key)?;
    let mut flow = find(tcp_flags, maps, key, Direction::Egress, ends)?;
    let interface = flow.entry.way_out.interface();
    if interface != 0 {
        forward(packet, &flow.entry.link)?;
    }
    flow.keep(packet, maps, Direction::Egress);
    Some(if interface == 0 { Delivery::Pass } else { Delivery::Egress(interface) })
}

/// The same for a packet to a workload, which may be one of the node's proxy.
#[inline(always)]
pub(crate) fn to_workload(
    packet: &(impl Bytes + Mark + PacketRoute),
    maps: &impl Maps,
    key: &mut ConnKey,
) -> Option<Delivery> {
    let ends = Ends {
        local: packet.interface(),
        other: Some(packet.ingress()),
        is_from_proxy: packet.is_from_proxy(),
    };
    let tcp_flags = read_plain(packet, Direction::Ingress, ends.is_from_proxy, key)?;
    find(tcp_flags, maps, key, Direction::Ingress, ends)?.keep(packet, maps, Direction::Ingress);
    Some(Delivery::Pass)
}

/// The same for a packet of the node itself, at an interface that leads out of the node; and for a packet that is known not to
/// be the node's.
#[inline(always)]
pub(crate) fn at_node(
    packet: &(impl Bytes + Mark + PacketRoute),
    maps: &impl Maps,
    key: &mut ConnKey,
    direction: Direction,
) -> Option<Delivery> {
    let ends = Ends { local: 0, other: Some(packet.ingress()), is_from_proxy: false };
    let tcp_flags = read_plain(packet, direction, false, key)?;
    // What the node itself sends may have any source.
    let may_be_foreign = direction == Direction::Ingress || packet.ingress() != 0;
    if may_be_foreign && maps.knows(AddressFact::Foreign, &key.local, maps.config()?.epoch) {
        return Some(Delivery::Pass);
    }
    find(tcp_flags, maps, key, direction, ends)?.keep(packet, maps, direction);
    Some(Delivery::Pass)
}

/// Where a packet came from, and the interfaces that its entry has to name.
struct Ends {
    /// Of the endpoint; 0 for the node.
    local: u32,
    /// By which the packet came into the node; none where the entry tells where the packet goes.
    other: Option<u32>,
    /// True for a packet that the node's proxy sent.
    is_from_proxy: bool,
}

/// An established flow, as a packet leaves it.
struct Established<E> {
    entry: E,
    /// The entry's flags after the packet.
    flags: u32,
    /// When the entry expires after the packet.
    expires: u32,
}

/// The flow with this key, if the flow is established, and the way of packets in this direction is known under the epoch in
/// force.
#[inline(always)]
fn find<'a, M: Maps>(
    tcp_flags: u8,
    maps: &'a M,
    key: &ConnKey,
    direction: Direction,
    ends: Ends,
) -> Option<Established<<M as Keep<map::Conntrack>>::Entry<'a>>> {
    let entry = maps.connection(key)?;
    let epoch = maps.config()?.epoch;
    let (way, known) = match direction {
        Direction::Egress => (entry.way_out, flag::WAY_OUT),
        Direction::Ingress => (entry.way_in, flag::WAY_IN),
    };
    let is_on_its_way = match ends.other {
        Some(other) => way == Way::new(epoch, other),
        None => way.epoch() == epoch,
    };
    let is_own = entry.local == Way::new(epoch, ends.local);
    let changing = if ends.is_from_proxy { CHANGING_OF_PROXY } else { CHANGING };
    let is_steady = entry.flags & (changing | flag::ANSWERED | known) == flag::ANSWERED | known;
    let (_, now) = maps.clock();
    if !is_on_its_way || !is_own || !is_steady || entry.expires <= now {
        return None;
    }
    let mut flags = entry.flags;
    if tcp_flags & FIN != 0 {
        if ends.is_from_proxy {
            return None;
        }
        flags |= conntrack::closed_by(direction);
        // The last hook of the packet reports the end of the connection.
        let is_last = ends.other.is_some() || way.interface() == 0;
        if is_last && conntrack::is_over(flags) && !conntrack::is_over(entry.flags) {
            return None;
        }
    }
    let expires = now + conntrack::lifetime_of(key.protocol, flags | flag::ANSWERED);
    Some(Established { entry, flags, expires })
}

impl<E: DerefMut<Target = ConnInfo>> Established<E> {
    /// Keeps what a packet that passes does to the flow, and counts the packet.
    #[inline(always)]
    fn keep(&mut self, packet: &impl Bytes, maps: &impl Maps, direction: Direction) {
        let length = packet.length();
        self.entry.flags = self.flags;
        self.entry.expires = self.expires;
        conntrack::count(&mut self.entry, direction, length);
        maps.count(event::counter_index(0, direction), length);
    }
}

/// Flags of flows whose packets pass the stages: those that are rewritten or go to the proxy.
const CHANGING: u32 = flag::PROXIED | flag::TRANSLATED;
/// The same for packets that the proxy sends, which do not go to the proxy. The flow is two connections, and either may end first.
const CHANGING_OF_PROXY: u32 = flag::LOCAL_CLOSED | flag::REMOTE_CLOSED | flag::RESET | flag::TRANSLATED;

/// Reads the key of a plain packet's flow and returns the TCP flags; nothing for other packets, and for segments that open or
/// reset a connection.
#[inline(always)]
pub(crate) fn read_plain(
    packet: &(impl Bytes + Mark),
    direction: Direction,
    is_from_proxy: bool,
    key: &mut ConnKey,
) -> Option<u8> {
    let mark = if is_from_proxy { mark::FROM_PROXY } else { 0 };
    if packet.mark() & mark::MASK != mark || packet.is_tagged() {
        return None;
    }
    read_key(packet, direction, key)
}

/// The same for a packet without a VLAN tag.
#[inline(always)]
fn read_key(packet: &impl Bytes, direction: Direction, key: &mut ConnKey) -> Option<u8> {
    let tcp_flags;
    match packet.front::<2>(12)? {
        [0x08, 0x00] => {
            let [first, place, protocol, source, destination, ports] = packet.front_words(IP)?;
            let [version, _, high, low] = first.to_ne_bytes();
            let [_, _, place, place_low] = place.to_ne_bytes();
            let [_, protocol, _, _] = protocol.to_ne_bytes();
            // Version 4, a header of five words, and no fragment; the one bit left over forbids to make fragments.
            if version != 0x45 || place & 0x3f != 0 || place_low != 0 {
                return None;
            }
            let end = IP + u32::from(u16::from_be_bytes([high, low]));
            tcp_flags = check_transport(packet, protocol, IP + 20, end)?;
            let ends =
                [source, destination].map(|word| Address::from_words([0, 0, 0xffff_u32.to_be(), word]));
            *key = conntrack::key_of(direction, ends, split(ports), protocol);
        }
        [0x86, 0xdd] => {
            let [first, next, a, b, c, d, e, f, g, h, ports] = packet.front_words(IP)?;
            let [version, _, _, _] = first.to_ne_bytes();
            let [high, low, protocol, _] = next.to_ne_bytes();
            let ends = [Address::from_words([a, b, c, d]), Address::from_words([e, f, g, h])];
            // As `parse` does, refuses addresses on the wire that stand for addresses of IPv4.
            if version >> 4 != 6 || ends[0].is_v4() || ends[1].is_v4() {
                return None;
            }
            let end = IP + 40 + u32::from(u16::from_be_bytes([high, low]));
            tcp_flags = check_transport(packet, protocol, IP + 40, end)?;
            *key = conntrack::key_of(direction, ends, split(ports), protocol);
        }
        _ => return None,
    }
    Some(tcp_flags)
}

/// The two ports, source first.
#[inline(always)]
fn split(ports: u32) -> [[u8; 2]; 2] {
    let [a, b, c, d] = ports.to_ne_bytes();
    [[a, b], [c, d]]
}

/// Checks that the protocol has ports, and that the packet holds the whole header at `at` and ends at `end` in its frame;
/// nothing too for a TCP segment that opens or resets a connection. Returns the TCP flags.
#[inline(always)]
fn check_transport(packet: &impl Bytes, protocol: u8, at: u32, end: u32) -> Option<u8> {
    let length = match protocol {
        TCP => 20,
        UDP | SCTP => 8,
        _ => return None,
    };
    if end > packet.length() || end < at + length {
        return None;
    }
    if protocol != TCP {
        return Some(0);
    }
    let [_, flags] = packet.front::<2>(at + 12)?;
    (flags & (SYN | RST) == 0).then_some(flags)
}

/// Makes a frame one to the workload at the other end; nothing where the packet's hop limit ends here.
#[inline(always)]
fn forward(packet: &mut impl Bytes, link: &LinkAddresses) -> Option<()> {
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
    packet.overwrite(0, link.0)
}
