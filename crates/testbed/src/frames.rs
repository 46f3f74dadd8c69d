//! The frames of a crossing: the first one, and the answer to it.

use crate::crossing::{Crossing, Sent};
use datapath::craft::{self, Craft, flag};
use manifest::TransportProtocol;
use std::net::{IpAddr, SocketAddr};

/// Types of the echo request and its reply, of ICMP and of ICMPv6.
const ECHO: [(u8, u8); 2] = [(8, 0), (128, 129)];

/// A crossing as frames; a number makes it differ from other flows between the same ends.
pub(crate) struct CrossingFrames<'a> {
    crossing: &'a Crossing,
    number: u16,
}

impl<'a> CrossingFrames<'a> {
    pub(crate) fn new(crossing: &'a Crossing, number: u16) -> Self {
        Self { crossing, number }
    }

    /// The first frame, as the source sends it.
    pub(crate) fn opening(&self) -> Craft {
        self.opening_to(self.crossing.asked())
    }

    /// The first frame as the destination receives it.
    pub(crate) fn arriving(&self) -> Craft {
        self.opening_to((self.crossing.destination, self.crossing.port()).into())
    }

    fn opening_to(&self, to: SocketAddr) -> Craft {
        let (source, destination) = (self.crossing.source, to.ip());
        match self.crossing.sent {
            Sent::Connection(protocol, _) => segment(protocol, (source, self.number).into(), to, flag::SYN),
            Sent::Request(..) => segment(TransportProtocol::Tcp, (source, self.number).into(), to, flag::SYN),
            Sent::Icmp(kind) if is_error(kind, source) => {
                // The error quotes a datagram of a flow without a conntrack entry, so it is judged by itself.
                let about = craft::udp((destination, self.number).into(), (source, 9).into()).frame();
                craft::icmp_error(source, destination, kind, 0, &about)
            }
            Sent::Icmp(kind) => craft::icmp(source, destination, kind, 0).identifier(self.number),
        }
    }

    /// The frame that answers the first one; none where no frame does.
    pub(crate) fn answer(&self) -> Option<Craft> {
        let (source, destination) = (self.crossing.source, self.crossing.destination);
        let client: SocketAddr = (source, self.number).into();
        match self.crossing.sent {
            Sent::Connection(protocol, port) => {
                Some(segment(protocol, (destination, port).into(), client, flag::SYN | flag::ACK))
            }
            Sent::Request(port, _) => Some(segment(
                TransportProtocol::Tcp,
                (destination, port).into(),
                client,
                flag::SYN | flag::ACK,
            )),
            Sent::Icmp(kind) => {
                let (request, reply) = ECHO[usize::from(source.is_ipv6())];
                (kind == request).then(|| craft::icmp(destination, source, reply, 0).identifier(self.number))
            }
        }
    }
}

fn segment(protocol: TransportProtocol, source: SocketAddr, destination: SocketAddr, flags: u8) -> Craft {
    match protocol {
        TransportProtocol::Tcp => craft::tcp(source, destination).flags(flags),
        TransportProtocol::Udp => craft::udp(source, destination),
        TransportProtocol::Sctp => craft::sctp(source, destination),
    }
}

/// Whether a message of this type quotes the start of another packet.
fn is_error(kind: u8, source: IpAddr) -> bool {
    if source.is_ipv4() { matches!(kind, 3 | 4 | 5 | 11 | 12) } else { kind < 128 }
}
