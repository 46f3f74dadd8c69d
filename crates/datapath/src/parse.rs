//! Parses a packet: both address families and all protocols become one [`PacketFlow`].

use crate::packet::Bytes;
use crate::verifier::Fresh;
use abi::protocol::{self, ICMP, ICMP6, SCTP, TCP, UDP};
use abi::{Address, DropReason};

/// TCP flag: no more data from the sender.
pub(crate) const FIN: u8 = 1;
/// TCP flag: opens a connection.
pub(crate) const SYN: u8 = 2;
/// TCP flag: ends a connection at once.
pub(crate) const RST: u8 = 4;
/// TCP flag: acknowledges.
pub(crate) const ACK: u8 = 16;

/// Offset of the IP header.
pub(crate) const IP: u32 = 14;

/// IPv6 extension headers, by the number that announces them.
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const OPTIONS: u8 = 60;
/// IPv6 extension headers that are walked; a packet with more is refused.
const MAX_EXTENSIONS: usize = 6;

/// What follows the Ethernet header.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// IPv4 or IPv6.
    Ip,
    /// ARP.
    Arp,
}

/// The addresses, ports and header fields of a packet.
///
/// The alignment lets a program set all of them by words of eight bytes.
#[derive(Clone, Copy)]
#[repr(align(8))]
pub(crate) struct PacketFlow {
    pub(crate) source: Address,
    pub(crate) destination: Address,
    /// In network order; for ICMP echo the identifier.
    pub(crate) source_port: [u8; 2],
    /// In network order; for ICMP its type and code, which is what policy rows carry.
    pub(crate) destination_port: [u8; 2],
    pub(crate) protocol: u8,
    pub(crate) tcp_flags: u8,
    pub(crate) hop_limit: u8,
    /// Offset of the transport header; 0 in a fragment that does not carry it.
    pub(crate) transport: u32,
    /// Offset at which the IP packet ends. A frame may have padding after it, which is not to be read.
    pub(crate) end: u32,
    /// Offset of the fragment in its packet, in units of eight bytes.
    pub(crate) fragment: u16,
    /// Whether another fragment follows.
    pub(crate) more_fragments: bool,
    /// The identification that all fragments of a packet share.
    pub(crate) identification: [u8; 4],
}

impl PacketFlow {
    /// Before the packet is parsed.
    #[inline(always)]
    pub(crate) const fn unknown() -> Self {
        Self {
            source: Address([0; 16]),
            destination: Address([0; 16]),
            source_port: [0; 2],
            destination_port: [0; 2],
            protocol: 0,
            tcp_flags: 0,
            hop_limit: 0,
            transport: 0,
            end: 0,
            fragment: 0,
            more_fragments: false,
            identification: [0; 4],
        }
    }

    /// Whether the packet opens a flow, whatever was before it: a TCP SYN or an echo request.
    #[inline(always)]
    pub(crate) fn opens(&self) -> bool {
        match self.protocol {
            TCP => self.is_syn(),
            ICMP => self.destination_port[0] == 8,
            ICMP6 => self.destination_port[0] == 128,
            _ => false,
        }
    }

    /// Whether the packet is a TCP segment that opens a connection.
    #[inline(always)]
    pub(crate) fn is_syn(&self) -> bool {
        self.protocol == TCP && self.tcp_flags & (SYN | ACK) == SYN
    }

    /// Whether the packet is a TCP segment that accepts a connection.
    #[inline(always)]
    pub(crate) fn is_syn_ack(&self) -> bool {
        self.protocol == TCP && self.tcp_flags & (SYN | ACK) == SYN | ACK
    }

    /// Whether the packet is a TCP segment that accepts or refuses a connection; the end of an open connection may look the same.
    #[inline(always)]
    pub(crate) fn answers_syn(&self) -> bool {
        self.is_syn_ack() || (self.protocol == TCP && self.tcp_flags & RST != 0)
    }

    /// Reads `N` bytes of the IP packet; beyond its end the packet is invalid.
    #[inline(always)]
    pub(crate) fn read<const N: usize>(
        &self,
        packet: &impl Bytes,
        offset: u32,
    ) -> Result<[u8; N], DropReason> {
        if offset + N as u32 > self.end {
            return Err(DropReason::InvalidPacket);
        }
        packet.read(offset)
    }

    /// The same by [`Bytes::copy`].
    #[inline(always)]
    pub(crate) fn copy<const N: usize>(
        &self,
        packet: &impl Bytes,
        offset: u32,
    ) -> Result<[u8; N], DropReason> {
        if offset + N as u32 > self.end {
            return Err(DropReason::InvalidPacket);
        }
        packet.copy(offset)
    }

    /// Whether the packet is a fragment.
    #[inline(always)]
    pub(crate) fn is_fragment(&self) -> bool {
        self.more_fragments || self.fragment != 0
    }

    /// Whether this is ICMP of either family.
    #[inline(always)]
    pub(crate) fn is_icmp(&self) -> bool {
        protocol::is_icmp(self.protocol)
    }

    /// Whether this is an ICMP echo request or reply.
    #[inline(always)]
    pub(crate) fn is_echo(&self) -> bool {
        let kind = self.destination_port[0];
        (self.protocol == ICMP && (kind == 8 || kind == 0))
            || (self.protocol == ICMP6 && (kind == 128 || kind == 129))
    }
}

/// Distinguishes IP from ARP; refuses everything else, VLAN tags included.
#[inline(always)]
pub(crate) fn kind(packet: &impl Bytes) -> Result<Kind, DropReason> {
    if packet.is_tagged() {
        return Err(DropReason::UnsupportedProtocol);
    }
    kind_on_any_vlan(packet)
}

/// The same where a frame may have one VLAN tag, which the kernel keeps outside the bytes; a second tag is refused.
#[inline(always)]
pub(crate) fn kind_on_any_vlan(packet: &impl Bytes) -> Result<Kind, DropReason> {
    match packet.read::<2>(12)? {
        [0x08, 0x00] | [0x86, 0xdd] => Ok(Kind::Ip),
        [0x08, 0x06] => Ok(Kind::Arp),
        _ => Err(DropReason::UnsupportedProtocol),
    }
}

/// The same as [`headers`] in a function of its own in the kernel: the paths of both families become one.
#[inline(never)]
pub(crate) fn headers_apart(packet: &impl Bytes, flow: &mut PacketFlow) -> Result<(), DropReason> {
    headers(packet, flow)
}

/// Reads the headers of an IP packet into `flow`; the ports of a later fragment are not among them.
#[inline(always)]
pub(crate) fn headers(packet: &impl Bytes, flow: &mut PacketFlow) -> Result<(), DropReason> {
    addresses(packet, flow)?;
    after_addresses(packet, flow)
}

/// Reads the addresses of an IP packet and the other fields of its first header.
#[inline(always)]
pub(crate) fn addresses(packet: &impl Bytes, flow: &mut PacketFlow) -> Result<(), DropReason> {
    match packet.read::<2>(12)? {
        [0x08, 0x00] => header4(packet, flow),
        _ => header6(packet, flow),
    }
}

/// Reads the headers that follow the first.
#[inline(always)]
pub(crate) fn after_addresses(packet: &impl Bytes, flow: &mut PacketFlow) -> Result<(), DropReason> {
    let mut flow = Fresh::new(flow);
    if is_extension(flow.protocol) && !flow.source.is_v4() {
        extensions(packet, &mut flow)?;
    }
    transport(packet, &mut flow)
}

#[inline(always)]
fn header4(packet: &impl Bytes, flow: &mut PacketFlow) -> Result<(), DropReason> {
    let header = packet.read::<12>(IP)?;
    let words = u32::from(header[0] & 15);
    flow.transport = IP + words * 4;
    flow.end = end(packet, IP, [header[2], header[3]])?;
    if header[0] >> 4 != 4 || words < 5 || flow.end < flow.transport {
        return Err(DropReason::InvalidPacket);
    }
    flow.hop_limit = header[8];
    flow.protocol = header[9];
    let place = u16::from_be_bytes([header[6], header[7]]);
    flow.fragment = place & 0x1fff;
    flow.more_fragments = place & 0x2000 != 0;
    flow.identification = [0, 0, header[4], header[5]];
    let [a, b, c, d, e, f, g, h] = packet.read::<8>(IP + 12)?;
    flow.source = Address::from_v4([a, b, c, d]);
    flow.destination = Address::from_v4([e, f, g, h]);
    Ok(())
}

#[inline(always)]
fn header6(packet: &impl Bytes, flow: &mut PacketFlow) -> Result<(), DropReason> {
    let [version, _, _, _, high, low, next, hop_limit] = packet.read::<8>(IP)?;
    flow.source = Address(packet.read::<16>(IP + 8)?);
    flow.destination = Address(packet.read::<16>(IP + 24)?);
    // The packet path would take a mapped address on the wire for the IPv4 address inside it.
    if version >> 4 != 6 || flow.source.is_v4() || flow.destination.is_v4() {
        return Err(DropReason::InvalidPacket);
    }
    flow.hop_limit = hop_limit;
    flow.protocol = next;
    flow.transport = IP + 40;
    flow.end = end(packet, flow.transport, [high, low])?;
    Ok(())
}

/// Offset at which the IP packet ends, by the length that its header has for the bytes from `start` on. A packet that is
/// longer than its frame is invalid.
///
/// The kernel merges TCP segments to packets that are longer than the field can tell, and sets the field to zero (IPv4 since
/// Linux 6.3; IPv6 since 5.19, at first with a hop-by-hop header).
#[inline(always)]
fn end(packet: &impl Bytes, start: u32, length: [u8; 2]) -> Result<u32, DropReason> {
    let frame = packet.length();
    let end = start + u32::from(u16::from_be_bytes(length));
    if end > frame {
        return Err(DropReason::InvalidPacket);
    }
    if end == start && frame > start + u32::from(u16::MAX) { Ok(frame) } else { Ok(end) }
}

/// Whether a number announces an IPv6 extension header.
#[inline(always)]
fn is_extension(number: u8) -> bool {
    matches!(number, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | OPTIONS)
}

/// Walks IPv6 extension headers up to the transport header or into a later fragment.
#[inline(never)]
fn extensions(packet: &impl Bytes, flow: &mut PacketFlow) -> Result<(), DropReason> {
    let mut flow = Fresh::new(flow);
    for _ in 0..MAX_EXTENSIONS {
        if !extension(packet, &mut flow)? {
            return Ok(());
        }
    }
    Err(DropReason::InvalidPacket)
}

/// Steps over one extension header; false where there is none, and in a later fragment.
#[inline(always)]
fn extension(packet: &impl Bytes, flow: &mut PacketFlow) -> Result<bool, DropReason> {
    if !is_extension(flow.protocol) {
        return Ok(false);
    }
    let [next, length, high, low, a, b, c, d] = flow.copy::<8>(packet, flow.transport)?;
    let length = u32::from(length);
    flow.transport += match flow.protocol {
        FRAGMENT => 8,
        // The authentication header counts in units of four bytes, less two.
        AUTHENTICATION => (length + 2) * 4,
        _ => (length + 1) * 8,
    };
    if flow.transport > flow.end {
        return Err(DropReason::InvalidPacket);
    }
    if flow.protocol == ROUTING && low != 0 {
        // Segments are left: the packet's last destination is not the address that policy would judge.
        return Err(DropReason::InvalidPacket);
    }
    if flow.protocol == FRAGMENT {
        let place = u16::from_be_bytes([high, low]);
        flow.fragment = place >> 3;
        flow.more_fragments = place & 1 != 0;
        flow.identification = [a, b, c, d];
    }
    flow.protocol = next;
    Ok(flow.fragment == 0)
}

/// Reads the ports, or for ICMP what stands in their place. A header that the packet does not hold whole is invalid, in a
/// first fragment too (RFC 1858). A later fragment has no transport header.
#[inline(always)]
fn transport(packet: &impl Bytes, flow: &mut PacketFlow) -> Result<(), DropReason> {
    if flow.fragment != 0 {
        flow.transport = 0;
        return Ok(());
    }
    match flow.protocol {
        TCP => {
            let [a, b, c, d, .., flags, _, _, _, _, _, _] = flow.read::<20>(packet, flow.transport)?;
            flow.source_port = [a, b];
            flow.destination_port = [c, d];
            flow.tcp_flags = flags;
        }
        UDP | SCTP => {
            let [a, b, c, d, ..] = flow.read::<8>(packet, flow.transport)?;
            flow.source_port = [a, b];
            flow.destination_port = [c, d];
        }
        ICMP | ICMP6 => {
            let [kind, code, _, _, high, low, _, _] = flow.read::<8>(packet, flow.transport)?;
            flow.destination_port = [kind, code];
            if flow.is_echo() {
                flow.source_port = [high, low];
            }
        }
        _ => {}
    }
    Ok(())
}
