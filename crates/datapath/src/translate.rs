//! Rewrites addresses and ports, and every checksum that covers them.

use crate::checksum;
use crate::packet::{Bytes, Checksums, Covers};
use crate::parse::{IP, PacketFlow};
use crate::related;
use abi::protocol::{SCTP, TCP, UDP};
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

/// Gives the packet inside an ICMP error the service address that the workload sent it to. `related` has found the
/// connection by the bytes that are read here, so the packet holds them.
#[inline(always)]
pub(crate) fn rewrite_error(
    packet: &mut (impl Bytes + Checksums),
    flow: &PacketFlow,
    service: &Address,
    port: [u8; 2],
) -> Result<(), DropReason> {
    let at = related::embedded(flow);
    let sum = flow.transport + 2;
    let ports = if flow.source.is_v4() {
        let old = packet.copy::<4>(at + 16)?;
        let header = u32::from(packet.copy::<2>(at)?[0] & 15) * 4;
        // The inner header's checksum changes by as much as its address does, so the sum over both stays.
        packet.fix_header_checksum(at + 10, checksum::difference(&old, &service.v4()))?;
        packet.write(at + 16, service.v4())?;
        at + header
    } else {
        let old = packet.copy::<16>(at + 24)?;
        packet.fix_checksum(sum, checksum::difference(&old, &service.0), Covers::Segment)?;
        packet.write(at + 24, service.0)?;
        at + 40
    };
    let old_port = packet.copy::<2>(ports + 2)?;
    packet.fix_checksum(sum, checksum::difference(&old_port, &port), Covers::Segment)?;
    packet.write(ports + 2, port)
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
