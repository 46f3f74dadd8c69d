//! Frames for tests: built with right checksums, and their checksums checked.

mod link;
mod sums;

pub use link::{arp, neighbour_solicitation};
pub use sums::{Fault, check};

use abi::protocol::{ICMP, ICMP6, SCTP, TCP, UDP};
use std::net::{IpAddr, SocketAddr};

/// Bits of a TCP header's flags.
pub mod flag {
    /// No more data from the sender.
    pub const FIN: u8 = crate::parse::FIN;
    /// Opens a connection.
    pub const SYN: u8 = crate::parse::SYN;
    /// Ends a connection at once.
    pub const RST: u8 = crate::parse::RST;
    /// Acknowledges.
    pub const ACK: u8 = crate::parse::ACK;
}

/// Link-layer source of a frame; [`Craft::link`] sets another.
pub const SOURCE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Link-layer destination of a frame; [`Craft::link`] sets another.
pub const DESTINATION_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// A frame that is being built.
#[derive(Clone, Debug)]
pub struct Craft {
    source: IpAddr,
    destination: IpAddr,
    link: [[u8; 6]; 2],
    hop_limit: u8,
    protocol: u8,
    header: Vec<u8>,
    payload: Vec<u8>,
    options: Vec<u8>,
    first_extension: u8,
    identification: u32,
    checksum: bool,
}

/// A TCP segment: a SYN; [`Craft::flags`] sets other flags.
///
/// # Panics
/// Like all functions here, if the ends are of different families.
pub fn tcp(source: SocketAddr, destination: SocketAddr) -> Craft {
    let mut header = ports(source, destination);
    header.extend([0, 0, 0, 1, 0, 0, 0, 0, 5 << 4, flag::SYN, 0xff, 0xff, 0, 0, 0, 0]);
    Craft::new(source.ip(), destination.ip(), TCP, header)
}

/// A UDP datagram.
pub fn udp(source: SocketAddr, destination: SocketAddr) -> Craft {
    let mut header = ports(source, destination);
    header.extend([0; 4]);
    Craft::new(source.ip(), destination.ip(), UDP, header)
}

/// An SCTP packet with one INIT chunk.
pub fn sctp(source: SocketAddr, destination: SocketAddr) -> Craft {
    let mut header = ports(source, destination);
    header.extend([0; 8]);
    header.extend([1, 0, 0, 20, 0, 0, 0, 1, 0, 0, 0xff, 0xff, 0, 1, 0, 1, 0, 0, 0, 1]);
    Craft::new(source.ip(), destination.ip(), SCTP, header)
}

/// An ICMP or ICMPv6 message, by the family of its ends. An echo has identifier 7; [`Craft::identifier`] sets another.
pub fn icmp(source: IpAddr, destination: IpAddr, kind: u8, code: u8) -> Craft {
    let protocol = if source.is_ipv4() { ICMP } else { ICMP6 };
    Craft::new(source, destination, protocol, vec![kind, code, 0, 0, 0, 7, 0, 1])
}

/// An ICMP error on a frame, with the frame's IP header and eight bytes more.
pub fn icmp_error(source: IpAddr, destination: IpAddr, kind: u8, code: u8, about: &[u8]) -> Craft {
    let header = if source.is_ipv4() { 20 } else { 40 };
    let mut craft = icmp(source, destination, kind, code);
    craft.header[4..].fill(0);
    craft.payload(&about[14..about.len().min(14 + header + 8)])
}

/// A packet of any other protocol.
pub fn other(source: IpAddr, destination: IpAddr, protocol: u8) -> Craft {
    Craft::new(source, destination, protocol, Vec::new())
}

impl Craft {
    fn new(source: IpAddr, destination: IpAddr, protocol: u8, header: Vec<u8>) -> Self {
        assert_eq!(source.is_ipv4(), destination.is_ipv4(), "both ends of a packet are of one family");
        Self {
            source,
            destination,
            link: [SOURCE_MAC, DESTINATION_MAC],
            hop_limit: 64,
            protocol,
            header,
            payload: Vec::new(),
            options: Vec::new(),
            first_extension: protocol,
            identification: 1,
            checksum: true,
        }
    }

    /// Sets the TCP flags (see [`flag`]).
    pub fn flags(mut self, flags: u8) -> Self {
        assert_eq!(self.protocol, TCP, "only TCP has flags");
        self.header[13] = flags;
        self
    }

    /// Sets the identifier of an ICMP echo.
    pub fn identifier(mut self, identifier: u16) -> Self {
        self.header[4..6].copy_from_slice(&identifier.to_be_bytes());
        self
    }

    /// Sets what follows the transport header.
    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    /// Sets the link-layer source and destination.
    pub fn link(mut self, source: [u8; 6], destination: [u8; 6]) -> Self {
        self.link = [source, destination];
        self
    }

    /// Sets the hop limit.
    pub fn hop_limit(mut self, hop_limit: u8) -> Self {
        self.hop_limit = hop_limit;
        self
    }

    /// Sets the identification that the fragments of one packet share.
    pub fn identification(mut self, identification: u32) -> Self {
        self.identification = identification;
        self
    }

    /// Leaves a UDP checksum out (zero), as IPv4 allows.
    pub fn without_checksum(mut self) -> Self {
        self.checksum = false;
        self
    }

    /// Puts `count` headers of eight bytes without effect before the transport header: IPv4 options "no operation" (up to
    /// five), or IPv6 destination options.
    pub fn padded(mut self, count: usize) -> Self {
        for left in (0..count).rev() {
            if self.source.is_ipv4() {
                self.options.extend([1; 8]);
            } else {
                let next = if left == 0 { self.protocol } else { 60 };
                self.options.extend([next, 0, 1, 4, 0, 0, 0, 0]);
                self.first_extension = 60;
            }
        }
        self
    }

    /// The frame.
    pub fn frame(self) -> Vec<u8> {
        let body = self.segment();
        self.wrap(&body, None)
    }

    /// The frames of the packet cut into fragments that carry `size` bytes (a multiple of eight) each.
    pub fn fragments(self, size: usize) -> Vec<Vec<u8>> {
        assert_eq!(size % 8, 0, "fragments are cut at multiples of eight");
        let body = self.segment();
        let pieces = body.chunks(size).count();
        let cut = |(index, piece)| {
            let offset = u16::try_from(index * size).expect("a packet is below 64 KiB");
            self.wrap(piece, Some(Cut { offset, more: index + 1 < pieces }))
        };
        body.chunks(size).enumerate().map(cut).collect()
    }

    /// The transport header and payload, with lengths and checksum.
    fn segment(&self) -> Vec<u8> {
        let mut bytes = [&self.header[..], &self.payload[..]].concat();
        if self.protocol == UDP {
            let length = u16::try_from(bytes.len()).expect("a datagram is below 64 KiB");
            bytes[4..6].copy_from_slice(&length.to_be_bytes());
        }
        if self.checksum {
            sums::fill(&mut bytes, self.source, self.destination, self.protocol);
        }
        bytes
    }

    fn wrap(&self, body: &[u8], cut: Option<Cut>) -> Vec<u8> {
        let mut frame = [self.link[1], self.link[0]].concat();
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                frame.extend([0x08, 0x00]);
                frame.extend(self.header4(body.len(), cut, source.octets(), destination.octets()));
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                frame.extend([0x86, 0xdd]);
                frame.extend(self.header6(body.len(), cut, source.octets(), destination.octets()));
            }
            _ => unreachable!("the constructor saw to one family"),
        }
        frame.extend(body);
        frame
    }

    fn header4(&self, body: usize, cut: Option<Cut>, source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
        let length = 20 + self.options.len();
        let total = u16::try_from(length + body).expect("a packet is below 64 KiB");
        let mut header = vec![0x40 | (length / 4) as u8, 0];
        header.extend(total.to_be_bytes());
        header.extend((self.identification as u16).to_be_bytes());
        header.extend(cut.map_or(0, |cut| (u16::from(cut.more) << 13) | (cut.offset / 8)).to_be_bytes());
        header.extend([self.hop_limit, self.protocol, 0, 0]);
        header.extend(source);
        header.extend(destination);
        header.extend(&self.options);
        let sum = sums::complement(&header);
        header[10..12].copy_from_slice(&sum);
        header
    }

    fn header6(&self, body: usize, cut: Option<Cut>, source: [u8; 16], destination: [u8; 16]) -> Vec<u8> {
        let mut extensions = self.options.clone();
        let mut next = self.first_extension;
        if let Some(cut) = cut {
            assert!(extensions.is_empty(), "fragments of padded IPv6 packets are not made here");
            extensions.extend([self.protocol, 0]);
            extensions.extend((cut.offset | u16::from(cut.more)).to_be_bytes());
            extensions.extend(self.identification.to_be_bytes());
            next = 44;
        }
        let length = u16::try_from(extensions.len() + body).expect("a packet is below 64 KiB");
        let mut header = vec![0x60, 0, 0, 0];
        header.extend(length.to_be_bytes());
        header.extend([next, self.hop_limit]);
        header.extend(source);
        header.extend(destination);
        header.extend(extensions);
        header
    }
}

/// Which part of a packet a fragment carries.
#[derive(Clone, Copy)]
struct Cut {
    offset: u16,
    more: bool,
}

fn ports(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    [source.port().to_be_bytes(), destination.port().to_be_bytes()].concat()
}
