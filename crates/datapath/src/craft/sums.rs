//! Checksums in full: an implementation apart from the packet path's, to check the packet path's by.

use abi::protocol::{ICMP, ICMP6, SCTP, TCP, UDP};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What is wrong with a frame's checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The frame is not a whole IPv4 or IPv6 packet.
    Cut,
    /// The checksum of the IPv4 header is wrong.
    Header,
    /// The checksum of the transport header is wrong.
    Transport,
}

/// Checks every checksum of a frame that is not a fragment.
pub fn check(frame: &[u8]) -> Result<(), Fault> {
    let (source, destination, protocol, body) = match frame.get(12..14) {
        Some([0x08, 0x00]) => open4(&frame[14..])?,
        Some([0x86, 0xdd]) => open6(&frame[14..])?,
        _ => return Err(Fault::Cut),
    };
    if checksum_at(protocol).is_some_and(|(at, length)| body.len() < at + length) {
        return Err(Fault::Cut);
    }
    let optional = protocol == UDP && source.is_ipv4() && body.get(6..8) == Some(&[0, 0]);
    let mut right = body.to_vec();
    fill(&mut right, source, destination, protocol);
    if right == body || optional { Ok(()) } else { Err(Fault::Transport) }
}

/// Writes the checksum of a transport header.
pub(super) fn fill(bytes: &mut [u8], source: IpAddr, destination: IpAddr, protocol: u8) {
    let Some((at, _)) = checksum_at(protocol) else { return };
    if protocol == SCTP {
        bytes[at..at + 4].fill(0);
        let crc = crc32c(bytes);
        bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
        return;
    }
    bytes[at..at + 2].fill(0);
    let mut summed = Vec::new();
    if protocol != ICMP {
        for address in [source, destination] {
            match address {
                IpAddr::V4(v4) => summed.extend(v4.octets()),
                IpAddr::V6(v6) => summed.extend(v6.octets()),
            }
        }
        summed.extend([0, protocol]);
        summed.extend(u16::try_from(bytes.len()).expect("a packet is below 64 KiB").to_be_bytes());
    }
    summed.extend(&*bytes);
    let sum = complement(&summed);
    let sum = if protocol == UDP && sum == [0, 0] { [0xff, 0xff] } else { sum };
    bytes[at..at + 2].copy_from_slice(&sum);
}

/// Offset and length of the checksum in a transport header; none for a protocol without one.
fn checksum_at(protocol: u8) -> Option<(usize, usize)> {
    match protocol {
        TCP => Some((16, 2)),
        UDP => Some((6, 2)),
        SCTP => Some((8, 4)),
        ICMP | ICMP6 => Some((2, 2)),
        _ => None,
    }
}

/// The Internet checksum of `bytes` (RFC 1071).
pub(super) fn complement(bytes: &[u8]) -> [u8; 2] {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

/// A packet's addresses, protocol and transport header with payload.
type Opened<'a> = (IpAddr, IpAddr, u8, &'a [u8]);

fn open4(packet: &[u8]) -> Result<Opened<'_>, Fault> {
    let header = usize::from(packet.first().ok_or(Fault::Cut)? & 15) * 4;
    let total = usize::from(u16::from_be_bytes(take(packet, 2)?));
    if header < 20 || total < header || packet.len() < total {
        return Err(Fault::Cut);
    }
    if complement(&packet[..header]) != [0, 0] {
        return Err(Fault::Header);
    }
    let source = Ipv4Addr::from(take::<4>(packet, 12)?);
    let destination = Ipv4Addr::from(take::<4>(packet, 16)?);
    Ok((source.into(), destination.into(), packet[9], &packet[header..total]))
}

fn open6(packet: &[u8]) -> Result<Opened<'_>, Fault> {
    let source = Ipv6Addr::from(take::<16>(packet, 8)?);
    let destination = Ipv6Addr::from(take::<16>(packet, 24)?);
    let total = 40 + usize::from(u16::from_be_bytes(take(packet, 4)?));
    let mut next = packet[6];
    let mut at = 40;
    while next == 60 {
        let [following, length] = take(packet, at)?;
        next = following;
        at += (usize::from(length) + 1) * 8;
    }
    Ok((source.into(), destination.into(), next, packet.get(at..total).ok_or(Fault::Cut)?))
}

fn take<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Fault> {
    bytes.get(at..at + N).and_then(|bytes| bytes.try_into().ok()).ok_or(Fault::Cut)
}

/// CRC32c, bit by bit (RFC 9260, appendix A).
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::craft::{icmp, sctp, tcp, udp};

    #[test]
    fn a_packet_that_ends_before_its_transport_checksum_is_cut() {
        let (from, to) = ("10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap());
        let echo = icmp(IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]), 8, 0);
        for (craft, shortest) in [(tcp(from, to), 18), (udp(from, to), 8), (sctp(from, to), 12), (echo, 4)] {
            let mut frame = craft.frame();
            assert_eq!(check(&frame), Ok(()));
            frame[17] = 20 + shortest - 1;
            frame[24..26].fill(0);
            let sum = complement(&frame[14..34]);
            frame[24..26].copy_from_slice(&sum);
            assert_eq!(check(&frame), Err(Fault::Cut));
        }
    }
}
