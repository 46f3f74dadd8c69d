//! Rewrites addresses and ports, and every checksum that covers them.

use crate::checksum;
use crate::packet::{Bytes, Checksums, Covers};
use crate::parse::{IP, PacketFlow};
use crate::related;
use abi::protocol::{ICMP, ICMP6, SCTP, TCP, UDP};
use abi::{Address, DropReason};

/// Which end of the packet is rewritten.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum PacketEnd {
    Source,
    Destination,
}

/// Gives one end of the packet another address and port; `flow` has the old ones.
#[inline(always)]
pub(crate) fn rewrite(
    packet: &mut (impl Bytes + Checksums),
    flow: &PacketFlow,
    end: PacketEnd,
    address: &Address,
    port: [u8; 2],
) -> Result<(), DropReason> {
    let (old, old_port) = match end {
        PacketEnd::Source => (&flow.source, flow.source_port),
        PacketEnd::Destination => (&flow.destination, flow.destination_port),
    };
    let difference = readdress(packet, old, end, address)?;
    // A later fragment has no transport header; the checksum in the first one covers them all.
    if flow.transport == 0 {
        return Ok(());
    }
    let port_difference = checksum::difference(&old_port, &port);
    match flow.protocol {
        TCP => {
            packet.fix_checksum(flow.transport + 16, difference, Covers::Address)?;
            packet.fix_checksum(flow.transport + 16, port_difference, Covers::Segment)?;
        }
        UDP => {
            packet.fix_optional_checksum(flow.transport + 6, difference, Covers::Address)?;
            packet.fix_optional_checksum(flow.transport + 6, port_difference, Covers::Segment)?;
        }
        // The CRC of SCTP covers ports but no addresses, and cannot be changed by a difference.
        SCTP if old_port != port => return Err(DropReason::TranslationFailed),
        SCTP => return Ok(()),
        _ => return Ok(()),
    }
    match end {
        PacketEnd::Source => packet.write(flow.transport, port),
        PacketEnd::Destination => packet.write(flow.transport + 2, port),
    }
}

/// Gives one end of an ICMP message another address, and an echo another identifier. A function of its own in the kernel.
#[inline(never)]
pub(crate) fn rewrite_message(
    packet: &mut (impl Bytes + Checksums),
    flow: &PacketFlow,
    end: PacketEnd,
    address: &Address,
    identifier: [u8; 2],
) -> Result<(), DropReason> {
    let old = if end == PacketEnd::Source { &flow.source } else { &flow.destination };
    let difference = readdress(packet, old, end, address)?;
    if flow.transport == 0 {
        return Ok(());
    }
    let sum = flow.transport + 2;
    if flow.protocol == ICMP6 {
        packet.fix_checksum(sum, difference, Covers::Address)?;
    }
    if !flow.is_echo() {
        return Ok(());
    }
    packet.fix_checksum(sum, checksum::difference(&flow.source_port, &identifier), Covers::Segment)?;
    packet.write(flow.transport + 4, identifier)
}

/// Gives one end of the packet inside an ICMP error another address and port. `related` has found the connection by the bytes
/// that are read here, so the packet holds them.
#[inline(always)]
pub(crate) fn rewrite_error(
    packet: &mut (impl Bytes + Checksums),
    flow: &PacketFlow,
    end: PacketEnd,
    address: &Address,
    port: [u8; 2],
) -> Result<(), DropReason> {
    let at = related::embedded(flow);
    let sum = flow.transport + 2;
    let (protocol, ports) = if flow.source.is_v4() {
        let place = if end == PacketEnd::Source { at + 12 } else { at + 16 };
        let old = packet.copy::<4>(place)?;
        let header = u32::from(packet.copy::<2>(at)?[0] & 15) * 4;
        // The inner header's checksum changes by as much as its address does, so the sum over both stays.
        packet.fix_header_checksum(at + 10, checksum::difference(&old, &address.v4()))?;
        packet.write(place, address.v4())?;
        (packet.copy::<2>(at + 8)?[1], at + header)
    } else {
        let place = if end == PacketEnd::Source { at + 8 } else { at + 24 };
        let old = packet.copy::<16>(place)?;
        packet.fix_checksum(sum, checksum::difference(&old, &address.0), Covers::Segment)?;
        packet.write(place, address.0)?;
        (packet.copy::<2>(at + 6)?[0], at + 40)
    };
    let place = match protocol {
        // The identifier of an echo.
        ICMP | ICMP6 => ports + 4,
        TCP | UDP | SCTP if end == PacketEnd::Source => ports,
        TCP | UDP | SCTP => ports + 2,
        _ => return Ok(()),
    };
    let old_port = packet.copy::<2>(place)?;
    packet.fix_checksum(sum, checksum::difference(&old_port, &port), Covers::Segment)?;
    packet.write(place, port)
}

/// Rewrites the address in the IP header; returns the difference for the transport checksum.
#[inline(always)]
fn readdress(
    packet: &mut (impl Bytes + Checksums),
    old: &Address,
    end: PacketEnd,
    new: &Address,
) -> Result<u32, DropReason> {
    if old.is_v4() != new.is_v4() {
        return Err(DropReason::TranslationFailed);
    }
    if old.is_v4() {
        let difference = checksum::difference(&old.v4(), &new.v4());
        let at = if end == PacketEnd::Source { IP + 12 } else { IP + 16 };
        packet.write(at, new.v4())?;
        packet.fix_header_checksum(IP + 10, difference)?;
        return Ok(difference);
    }
    let at = if end == PacketEnd::Source { IP + 8 } else { IP + 24 };
    packet.write(at, new.0)?;
    Ok(checksum::difference(&old.0, &new.0))
}
