//! ICMP errors: an error belongs to the flow of the packet whose beginning it carries.

use crate::conntrack;
use crate::packet::{Bytes, MAX_OFFSET};
use crate::parse::{IP, PacketFlow};
use abi::conntrack::ConnKey;
use abi::policy::Direction;
use abi::protocol::{ICMP, ICMP6, SCTP, TCP, UDP};
use abi::{Address, DropReason};

/// Whether the packet is an ICMP error: unreachable, too big, time exceeded or parameter problem.
#[inline(always)]
pub(crate) fn is_error(flow: &PacketFlow) -> bool {
    let kind = flow.destination_port[0];
    match flow.protocol {
        ICMP => kind == 3 || kind == 11 || kind == 12,
        ICMP6 => (1..=4).contains(&kind),
        _ => false,
    }
}

/// Offset of the packet that an error carries.
#[inline(always)]
pub(crate) fn embedded(flow: &PacketFlow) -> u32 {
    flow.transport + 8
}

/// The key of the flow that an ICMP error reports on; none for other packets, and where the flow is not one of the workload that
/// sends or receives the error.
#[inline(always)]
pub(crate) fn key(
    packet: &impl Bytes,
    error: &PacketFlow,
    direction: Direction,
) -> Result<Option<ConnKey>, DropReason> {
    if !is_error(error) || error.transport < IP || error.transport > MAX_OFFSET / 2 {
        return Ok(None);
    }
    let mut inner = PacketFlow::unknown();
    let transport = addresses(packet, error, &mut inner)?;
    let [a, b, c, d, high, low, _, _] = packet.read::<8>(transport)?;
    match inner.protocol {
        TCP | UDP | SCTP => {
            inner.source_port = [a, b];
            inner.destination_port = [c, d];
        }
        ICMP | ICMP6 => {
            inner.destination_port = [a, b];
            if !inner.is_echo() {
                return Ok(None);
            }
            inner.source_port = [high, low];
        }
        _ => {}
    }
    // The packet inside went the other way. A workload may send errors on its own flows only, and only to their other end.
    // An error to the workload may come from any router on the way.
    let (key, is_own) = match direction {
        Direction::Egress => {
            let key = conntrack::key(&inner, Direction::Ingress);
            (key, key.local == error.source && key.remote == error.destination)
        }
        Direction::Ingress => {
            let key = conntrack::key(&inner, Direction::Egress);
            (key, key.local == error.destination)
        }
    };
    Ok(if is_own { Some(key) } else { None })
}

/// Reads the addresses and protocol of the packet inside; returns the offset of its transport header.
#[inline(always)]
fn addresses(packet: &impl Bytes, error: &PacketFlow, inner: &mut PacketFlow) -> Result<u32, DropReason> {
    let at = embedded(error);
    if error.source.is_v4() {
        let header = packet.read::<20>(at)?;
        inner.source = Address::from_v4([header[12], header[13], header[14], header[15]]);
        inner.destination = Address::from_v4([header[16], header[17], header[18], header[19]]);
        inner.protocol = header[9];
        return Ok(at + u32::from(header[0] & 15) * 4);
    }
    // Extension headers are not walked here: policy judges an error that carries one.
    inner.protocol = packet.read::<8>(at)?[6];
    inner.source = Address(packet.read::<16>(at + 8)?);
    inner.destination = Address(packet.read::<16>(at + 24)?);
    Ok(at + 40)
}
