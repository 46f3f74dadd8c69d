//! ICMP errors: an error belongs to the flow of the packet whose beginning it carries.

use crate::conntrack;
use crate::packet::{Bytes, MAX_OFFSET};
use crate::parse::{IP, PacketFlow};
use crate::verifier::Fresh;
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

/// The packet inside an ICMP error.
pub(crate) struct Related {
    inner: PacketFlow,
    /// The key of the packet's connection.
    pub(crate) key: ConnKey,
}

impl Related {
    /// Before a packet is read.
    pub(crate) fn nothing() -> Self {
        Self { inner: PacketFlow::unknown(), key: ConnKey::default() }
    }
}

/// Reads the packet inside an ICMP error, and computes the key of its connection; false where the packet has none, or one
/// that is not of the workload that sends or receives the error.
///
/// A function of its own in the kernel: most packets are no errors.
#[inline(never)]
pub(crate) fn read(
    packet: &impl Bytes,
    error: &PacketFlow,
    direction: Direction,
    related: &mut Related,
) -> Result<bool, DropReason> {
    if error.transport < IP || error.transport > MAX_OFFSET / 2 {
        return Ok(false);
    }
    let related = &mut Fresh::new(related);
    related.inner = PacketFlow::unknown();
    addresses(packet, error, &mut related.inner)?;
    if !transport(packet, error, &mut related.inner)? {
        return Ok(false);
    }
    // The packet inside went the other way. A workload may send errors on its own flows only, and only to their other end.
    // An error to the workload may come from any router on the way.
    let Related { inner, key } = &mut **related;
    Ok(match direction {
        Direction::Egress => {
            *key = conntrack::key(inner, Direction::Ingress);
            inner.destination == error.source && inner.source == error.destination
        }
        Direction::Ingress => {
            *key = conntrack::key(inner, Direction::Egress);
            inner.source == error.destination
        }
    })
}

/// Reads the first header of the packet inside.
#[inline(always)]
fn addresses(packet: &impl Bytes, error: &PacketFlow, inner: &mut PacketFlow) -> Result<(), DropReason> {
    let at = embedded(error);
    if error.source.is_v4() {
        // Read piece by piece: a function of its own has little stack.
        inner.transport = at + u32::from(error.copy::<2>(packet, at)?[0] & 15) * 4;
        inner.protocol = error.copy::<2>(packet, at + 8)?[1];
        inner.source = Address::from_v4(error.copy::<4>(packet, at + 12)?);
        inner.destination = Address::from_v4(error.copy::<4>(packet, at + 16)?);
        return Ok(());
    }
    // Extension headers are not walked here: policy judges an error that carries one.
    inner.protocol = error.copy::<8>(packet, at)?[6];
    inner.source = Address(error.copy::<16>(packet, at + 8)?);
    inner.destination = Address(error.copy::<16>(packet, at + 24)?);
    inner.transport = at + 40;
    Ok(())
}

/// Reads the ports of the packet inside; false where the packet belongs to no flow.
#[inline(always)]
fn transport(packet: &impl Bytes, error: &PacketFlow, inner: &mut PacketFlow) -> Result<bool, DropReason> {
    let [a, b, c, d, high, low, _, _] = error.copy::<8>(packet, inner.transport)?;
    match inner.protocol {
        TCP | UDP | SCTP => {
            inner.source_port = [a, b];
            inner.destination_port = [c, d];
        }
        ICMP | ICMP6 => {
            inner.destination_port = [a, b];
            if !inner.is_echo() {
                return Ok(false);
            }
            inner.source_port = [high, low];
        }
        _ => {}
    }
    Ok(true)
}
