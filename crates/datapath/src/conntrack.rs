//! Connection tracking: which conntrack entry a packet belongs to, and what the packet changes in the entry.

use crate::found::{Found, Sender};
use crate::parse::{ACK, FIN, PacketFlow, RST, SYN};
use crate::verifier::Fresh;
use abi::Address;
use abi::config;
use abi::conntrack::{ConnInfo, ConnKey, LinkAddresses, Way, flag, lifetime};
use abi::policy::Direction;
use abi::protocol::TCP;

/// What a packet changed in the state of its connection. Each change is the flag of the node's configuration by which the
/// packet is worth an event.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Transition {
    /// Nothing.
    None = 0,
    /// The connection opened.
    Opened = config::flag::REPORT_OPENED,
    /// The connection had its first reply.
    Answered = config::flag::REPORT_ANSWERED,
    /// The connection ended.
    Ended = config::flag::REPORT_ENDED,
}

/// Where the entry of a packet's flow is from that is not changed in place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The flow is new.
    New,
    /// The map of flows that nothing has answered.
    Openings,
    /// The map of connections.
    Connections,
}

/// The key of the flow's entry, seen from the workload.
#[inline(always)]
pub(crate) fn key(flow: &PacketFlow, direction: Direction) -> ConnKey {
    // An ICMP echo has one identifier for both ends.
    let destination_port = if flow.is_icmp() { flow.source_port } else { flow.destination_port };
    let (ends, ports) = ([flow.source, flow.destination], [flow.source_port, destination_port]);
    key_of(direction, ends, ports, flow.protocol)
}

/// The key for a packet between these ends, source first.
#[inline(always)]
pub(crate) fn key_of(
    direction: Direction,
    [source, destination]: [Address; 2],
    [source_port, destination_port]: [[u8; 2]; 2],
    protocol: u8,
) -> ConnKey {
    let (local, remote, local_port, remote_port) = match direction {
        Direction::Egress => (source, destination, source_port, destination_port),
        Direction::Ingress => (destination, source, destination_port, source_port),
    };
    ConnKey { local, remote, local_port, remote_port, protocol, padding: [0; 3] }
}

/// The direction in which the flow was opened; of a flow that was taken up ([`flag::TAKEN_UP`]), the direction of the segment
/// that it was taken up by.
#[inline(always)]
pub(crate) fn opening_direction(row: &ConnInfo) -> Direction {
    opened(row.flags)
}

/// The same by the entry's flags.
#[inline(always)]
pub(crate) fn opened(flags: u32) -> Direction {
    if flags & flag::LOCAL_OPENED != 0 { Direction::Egress } else { Direction::Ingress }
}

/// Whether the connection was allowed under the policy and epoch in force, and to the packet's sender: what one sender may do
/// does not count for others that have the same address, as those behind the node's.
#[inline(always)]
pub(crate) fn is_current(row: &ConnInfo, found: &Found) -> bool {
    let is_of_sender = found.sender != Sender::Hidden
        || row.flags & flag::MASQUERADED != 0 && row.untranslated == found.hidden;
    row.policy == found.endpoint.policy && row.epoch == found.config.epoch && is_of_sender
}

/// Whether a flow has a connection: single ICMP messages have none.
#[inline(always)]
pub(crate) fn is_tracked(flow: &PacketFlow) -> bool {
    !flow.is_icmp() || flow.is_echo()
}

/// Whether the entry has not expired.
#[inline(always)]
pub(crate) fn is_live(row: &ConnInfo, now: u32) -> bool {
    row.expires > now
}

/// Whether a packet belongs to the flow of the entry; otherwise the packet is the first of another flow. `opens` tells whether
/// the packet opens a flow, whatever was before.
#[inline(always)]
pub(crate) fn continues(row: &ConnInfo, opens: bool, direction: Direction, now: u32) -> bool {
    // An opening packet in the other direction opens another flow, and so does one after the end. In the same direction it
    // is a retransmission.
    let is_retransmission = opening_direction(row) == direction && !is_over(row.flags);
    is_live(row, now) && (is_retransmission || !opens)
}

/// The entry of a flow that is opened in this direction.
#[inline(always)]
pub(crate) fn new_entry(direction: Direction) -> ConnInfo {
    let flags = match direction {
        Direction::Egress => flag::LOCAL_OPENED,
        Direction::Ingress => 0,
    };
    ConnInfo { flags, ..EMPTY }
}

/// One of the two TCP connections of a proxied flow; both share the entry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leg {
    /// Between the end that opened the flow and the proxy; of a flow without proxy, the one connection.
    Downstream,
    /// Between the proxy and the end that the flow was opened to.
    Upstream,
}

/// The leg that a packet belongs to.
#[inline(always)]
fn leg(row: &ConnInfo, direction: Direction, from_proxy: bool) -> Leg {
    if row.flags & flag::PROXIED == 0 {
        return Leg::Downstream;
    }
    match (opening_direction(row), direction) {
        (Direction::Ingress, Direction::Egress) => Leg::Upstream,
        (Direction::Ingress, Direction::Ingress) if from_proxy => Leg::Upstream,
        (Direction::Egress, Direction::Ingress) if !from_proxy => Leg::Upstream,
        _ => Leg::Downstream,
    }
}

/// Updates the entry for a packet that passes: counters, flags and expiry.
#[inline(always)]
pub(crate) fn update(row: &mut Fresh<'_, ConnInfo>, found: &Found, direction: Direction) -> Transition {
    let before = row.flags;
    count(row, direction, found.length);
    let mut flags = flags_after(row, found, direction);
    // The proxy may reply to the opener of a flow without an upstream connection. The opener's acknowledgement shows it.
    let acknowledges = before & flag::PROXIED != 0 && found.flow.tcp_flags & (SYN | ACK) == ACK;
    if opening_direction(row) != direction || acknowledges {
        flags |= flag::ANSWERED;
    }
    row.flags = flags;
    // Read back: the verifier follows each set of flags that a register holds, and the entry's once.
    let after = row.flags;
    row.expires = found.seconds + lifetime_of(found.flow.protocol, after);
    match (is_over(before), is_over(after)) {
        (false, true) => Transition::Ended,
        (true, false) => Transition::Opened,
        _ if (before ^ after) & flag::ANSWERED != 0 => Transition::Answered,
        _ => Transition::None,
    }
}

/// Counts a packet in its entry.
#[inline(always)]
pub(crate) fn count(row: &mut ConnInfo, direction: Direction, length: u32) {
    match direction {
        Direction::Egress => {
            row.packets_out = row.packets_out.wrapping_add(1);
            row.bytes_out += u64::from(length);
        }
        Direction::Ingress => {
            row.packets_in = row.packets_in.wrapping_add(1);
            row.bytes_in += u64::from(length);
        }
    }
}

/// Counts in an entry what another entry of the flow has counted.
#[inline(always)]
pub(crate) fn add_counts(row: &mut ConnInfo, other: &ConnInfo) {
    row.packets_out = row.packets_out.wrapping_add(other.packets_out);
    row.packets_in = row.packets_in.wrapping_add(other.packets_in);
    row.bytes_out += other.bytes_out;
    row.bytes_in += other.bytes_in;
}

/// The entry's flags after a segment that opens or ends a direction of a TCP connection.
///
/// The upstream leg of a proxied flow may end and begin anew while the downstream leg lives on. In the entry of the
/// workload that opened the flow, the upstream leg does not count. In the entry of the other workload, the end of the
/// upstream leg counts as the workload's.
#[inline(always)]
fn flags_after(row: &ConnInfo, found: &Found, direction: Direction) -> u32 {
    let flags = row.flags;
    let tcp_flags = found.flow.tcp_flags;
    let leg = leg(row, direction, found.from_proxy);
    let ends = tcp_flags & (FIN | RST) != 0;
    let closed = match leg {
        Leg::Upstream if flags & flag::LOCAL_OPENED != 0 => return flags,
        Leg::Upstream => flag::LOCAL_CLOSED,
        Leg::Downstream => closed_by(direction),
    };
    if tcp_flags & SYN != 0 {
        flags & !closed
    } else if leg == Leg::Downstream && tcp_flags & RST != 0 {
        flags | flag::RESET
    } else if ends {
        flags | closed
    } else {
        flags
    }
}

/// The flag of the end that sends packets in this direction, once that end has sent its last segment.
#[inline(always)]
pub(crate) fn closed_by(direction: Direction) -> u32 {
    match direction {
        Direction::Egress => flag::LOCAL_CLOSED,
        Direction::Ingress => flag::REMOTE_CLOSED,
    }
}

const EMPTY: ConnInfo = ConnInfo {
    expires: 0,
    flags: 0,
    policy: 0,
    epoch: 0,
    local: NO_WAY,
    way_out: NO_WAY,
    way_in: NO_WAY,
    packets_out: 0,
    packets_in: 0,
    bytes_out: 0,
    bytes_in: 0,
    link: LinkAddresses([0; 12]),
    peer_identity: 0,
    rule: 0,
    l7: 0,
    untranslated: Address([0; 16]),
    untranslated_port: [0; 2],
    padding: [0; 6],
};

const NO_WAY: Way = Way::new(0, 0);

/// Whether a TCP connection is over: both ends closed it, or one reset it.
#[inline(always)]
pub(crate) fn is_over(flags: u32) -> bool {
    const BOTH: u32 = flag::LOCAL_CLOSED | flag::REMOTE_CLOSED;
    flags & flag::RESET != 0 || flags & BOTH == BOTH
}

/// How long an entry lives after a packet of a connection with these flags.
#[inline(always)]
pub(crate) fn lifetime_of(protocol: u8, flags: u32) -> u32 {
    const ENDS: u32 = flag::LOCAL_CLOSED | flag::REMOTE_CLOSED | flag::RESET;
    if protocol != TCP {
        lifetime::ANY
    } else if flags & ENDS != 0 && is_over(flags) {
        lifetime::TCP_CLOSING
    } else if flags & flag::ANSWERED == 0 {
        lifetime::TCP_OPENING
    } else if flags & ENDS != 0 {
        lifetime::TCP_HALF_CLOSED
    } else {
        lifetime::TCP
    }
}
