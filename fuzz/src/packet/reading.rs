//! A simple parser of frames, independent of the packet path's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Length of an Ethernet header.
const LINK: usize = 14;

/// True where a workload may neither send nor receive the frame under any policy: it has neither an ARP packet nor a complete
/// IP header.
pub fn is_malformed(frame: &[u8]) -> bool {
    let packet = frame.get(LINK..).unwrap_or_default();
    match frame.get(12..14) {
        Some([0x08, 0x06]) => packet.len() < 28,
        Some([0x08, 0x00]) => {
            let header = packet.first().map_or(0, |first| usize::from(first & 15) * 4);
            let total =
                packet.get(2..4).map_or(0, |total| usize::from(u16::from_be_bytes([total[0], total[1]])));
            packet.len() < 20 || packet[0] >> 4 != 4 || header < 20 || total < header || packet.len() < total
        }
        Some([0x86, 0xdd]) => {
            let payload =
                packet.get(4..6).map_or(0, |length| usize::from(u16::from_be_bytes([length[0], length[1]])));
            packet.len() < 40 + payload || packet[0] >> 4 != 6
        }
        _ => true,
    }
}

/// True for an ARP packet.
pub fn is_arp(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[0x08, 0x06])
}

/// True where a workload with these addresses may send the frame. The source of a packet must be one of the addresses; for
/// neighbour discovery it may be a link-local or the unspecified address.
pub fn may_send(frame: &[u8], own: [IpAddr; 2]) -> bool {
    let packet = frame.get(LINK..).unwrap_or_default();
    let at = |from: usize, length: usize| packet.get(from..from + length).unwrap_or_default();
    match frame.get(12..14) {
        Some([0x08, 0x06]) => {
            at(14, 4) == [0; 4] || <[u8; 4]>::try_from(at(14, 4)).is_ok_and(|ip| own[0] == Ipv4Addr::from(ip))
        }
        Some([0x08, 0x00]) => {
            <[u8; 4]>::try_from(at(12, 4)).is_ok_and(|source| own[0] == Ipv4Addr::from(source))
        }
        Some([0x86, 0xdd]) => <[u8; 16]>::try_from(at(8, 16)).is_ok_and(|source| {
            let source = Ipv6Addr::from(source);
            own[1] == source || source.is_unspecified() || source.is_unicast_link_local()
        }),
        _ => false,
    }
}

/// True where the frame is no fragment, so that its transport checksum can be verified.
pub fn is_whole(frame: &[u8]) -> bool {
    match frame.get(12..14) {
        Some([0x08, 0x00]) => frame.get(20..22).is_some_and(|place| [place[0] & 0x3f, place[1]] == [0, 0]),
        Some([0x86, 0xdd]) => frame.get(20).is_some_and(|next| [1, 6, 17, 58, 60, 132].contains(next)),
        _ => false,
    }
}
