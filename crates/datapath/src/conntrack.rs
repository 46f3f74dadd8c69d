//! Connection tracking: which row a packet belongs to, and what the packet changes in it.

use crate::parse::{ACK, FIN, Flow, RST, SYN};
use abi::conntrack::{ConnInfo, ConnKey, flag, lifetime};
use abi::policy::Direction;
use abi::protocol::TCP;

/// What a packet changed in the life of its connection that is worth a report.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transition {
    /// Nothing.
    None,
    /// It opened, was answered for the first time, or ended.
    Notable,
}

/// The row's key, seen from the workload.
#[inline(always)]
pub(crate) fn key(flow: &Flow, direction: Direction) -> ConnKey {
    // ICMP has one number for both ends.
    let destination_port = if flow.is_icmp() { flow.source_port } else { flow.destination_port };
    let (local, remote, local_port, remote_port) = match direction {
        Direction::Egress => (flow.source, flow.destination, flow.source_port, destination_port),
        Direction::Ingress => (flow.destination, flow.source, destination_port, flow.source_port),
    };
    ConnKey { local, remote, local_port, remote_port, protocol: flow.protocol, padding: [0; 3] }
}

/// The direction of the packets of the side that opened the flow.
#[inline(always)]
pub(crate) fn opening_direction(row: &ConnInfo) -> Direction {
    if row.flags & flag::LOCAL_OPENED != 0 { Direction::Egress } else { Direction::Ingress }
}

/// Whether the row still counts and is that of a flow.
#[inline(always)]
pub(crate) fn is_live(row: &ConnInfo, now: u32) -> bool {
    row.expires > now && row.flags & flag::CHOICE == 0
}

/// Whether a packet belongs to the flow that the row remembers, rather than being the first of another.
#[inline(always)]
pub(crate) fn continues(row: &ConnInfo, flow: &Flow, direction: Direction, now: u32) -> bool {
    if !is_live(row, now) {
        return false;
    }
    if !flow.opens() {
        return true;
    }
    // The other side's opening packet is a request of its own, and so is one that follows the end; what is left is
    // the opener saying it again.
    opening_direction(row) == direction && !is_over(row.flags)
}

/// The row of a flow that begins with this packet.
#[inline(always)]
pub(crate) fn new_entry(direction: Direction) -> ConnInfo {
    let flags = match direction {
        Direction::Egress => flag::LOCAL_OPENED,
        Direction::Ingress => 0,
    };
    ConnInfo { flags, ..EMPTY }
}

/// Which of a proxied flow's two TCP connections a packet belongs to; both share the row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leg {
    /// Between the one who opened the flow and the proxy; of an unproxied flow, its one connection.
    Downstream,
    /// Between the proxy and the one who was asked.
    Upstream,
}

/// The leg that a packet belongs to.
#[inline(always)]
fn leg(row: &ConnInfo, observed: Observed) -> Leg {
    let Observed { direction, from_proxy, .. } = observed;
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

/// Notes a packet that was let through: counters, answers, ends and the time from which the row no longer counts.
#[inline(always)]
pub(crate) fn update(row: &mut ConnInfo, flow: &Flow, observed: Observed) -> Transition {
    let Observed { direction, length, now, .. } = observed;
    let before = row.flags;
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
    let mut flags = flags_after(row, flow.tcp_flags, observed);
    // The opener of a proxied flow may be answered by the proxy alone; its acknowledgement tells.
    let acknowledges = before & flag::PROXIED != 0 && flow.tcp_flags & (SYN | ACK) == ACK;
    if opening_direction(row) != direction || acknowledges {
        flags |= flag::ANSWERED;
    }
    row.flags = flags;
    row.expires = now + lifetime_of(flow.protocol, flags);
    let answered = (before ^ flags) & flag::ANSWERED != 0;
    if answered || is_over(flags) != is_over(before) { Transition::Notable } else { Transition::None }
}

/// What counts of a packet besides its flow.
#[derive(Clone, Copy)]
pub(crate) struct Observed {
    /// Seen from the endpoint.
    pub(crate) direction: Direction,
    /// Whether the node proxy sent the packet.
    pub(crate) from_proxy: bool,
    pub(crate) length: u32,
    /// Seconds of the clock that rows expire by.
    pub(crate) now: u32,
}

/// The row's flags after a segment that opens or ends one of its directions.
///
/// The onward leg of a proxied flow may end and begin anew while the opener's lives on. Where the workload opened
/// the flow that is no business of its row; where it was asked, the leg's end stands for the workload's.
#[inline(always)]
fn flags_after(row: &ConnInfo, tcp_flags: u8, observed: Observed) -> u32 {
    let flags = row.flags;
    let leg = leg(row, observed);
    let ends = tcp_flags & (FIN | RST) != 0;
    let closed = match (leg, observed.direction) {
        (Leg::Upstream, _) if flags & flag::LOCAL_OPENED != 0 => return flags,
        (Leg::Upstream, _) | (Leg::Downstream, Direction::Egress) => flag::LOCAL_CLOSED,
        (Leg::Downstream, Direction::Ingress) => flag::REMOTE_CLOSED,
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

const EMPTY: ConnInfo = ConnInfo {
    expires: 0,
    flags: 0,
    policy: 0,
    epoch: 0,
    rule: 0,
    l7: 0,
    peer_identity: 0,
    service_port: [0; 2],
    padding: [0; 2],
    service: abi::Address([0; 16]),
    packets_out: 0,
    packets_in: 0,
    bytes_out: 0,
    bytes_in: 0,
};

/// Whether a TCP connection is over: both ends closed it, or one reset it.
#[inline(always)]
fn is_over(flags: u32) -> bool {
    const BOTH: u32 = flag::LOCAL_CLOSED | flag::REMOTE_CLOSED;
    flags & flag::RESET != 0 || flags & BOTH == BOTH
}

#[inline(always)]
fn lifetime_of(protocol: u8, flags: u32) -> u32 {
    if protocol != TCP {
        lifetime::ANY
    } else if is_over(flags) {
        lifetime::TCP_CLOSING
    } else if flags & flag::ANSWERED == 0 {
        lifetime::TCP_OPENING
    } else if flags & (flag::LOCAL_CLOSED | flag::REMOTE_CLOSED) != 0 {
        lifetime::TCP_HALF_CLOSED
    } else {
        lifetime::TCP
    }
}
