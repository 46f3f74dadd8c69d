//! Subscriptions to the changes of a network namespace.

use crate::{DATAGRAM, Socket, decode};
use netlink_packet_core::NetlinkPayload;
use netlink_packet_route::RouteNetlinkMessage;
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{RecvFlags, sockopt};
use std::io;

/// Bytes of notifications that may wait in the kernel. A notification of an interface takes about 2 KiB there.
const WAITING: usize = 4 * 1024 * 1024;

/// What to be notified of, as bits of `nl_groups` (rtnetlink(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Interfaces: new, changed, removed.
    Links = 0x1,
    /// IPv4 addresses.
    AddressesV4 = 0x10,
    /// IPv4 routes.
    RoutesV4 = 0x40,
    /// IPv6 addresses.
    AddressesV6 = 0x100,
    /// IPv6 routes.
    RoutesV6 = 0x400,
}

/// A subscription; belongs to the network namespace in which it was opened.
#[derive(Debug)]
pub struct Subscription {
    socket: Socket,
}

/// What a subscription received.
#[derive(Debug, PartialEq, Eq)]
pub enum Notice {
    /// Changes, oldest first.
    Changes(Vec<RouteNetlinkMessage>),
    /// Some changes are lost, since more were made than the kernel keeps: the subscriber must read everything again.
    Lost,
}

impl Subscription {
    /// Subscribes in the network namespace of the calling thread.
    pub fn open(topics: &[Topic]) -> io::Result<Self> {
        let socket = Socket::open()?;
        // Without CAP_NET_ADMIN the limit of `net.core.rmem_max` applies.
        if sockopt::set_socket_recv_buffer_size_force(&socket.descriptor, WAITING).is_err() {
            sockopt::set_socket_recv_buffer_size(&socket.descriptor, WAITING)?;
        }
        let groups = topics.iter().fold(0, |groups, &topic| groups | topic as u32);
        rustix::net::bind(&socket.descriptor, &SocketAddrNetlink::new(0, groups))?;
        Ok(Self { socket })
    }

    /// Waits for changes; returns all that arrived by then.
    pub fn wait(&mut self) -> io::Result<Notice> {
        let mut changes = Vec::new();
        let mut flags = RecvFlags::TRUNC;
        loop {
            match rustix::net::recv(&self.socket.descriptor, &mut self.socket.buffer[..], flags) {
                Ok((_, length)) if length > DATAGRAM => return Ok(Notice::Lost),
                Ok((_, length)) => decode(&self.socket.buffer[..length], |message| {
                    if let NetlinkPayload::InnerMessage(change) = message.payload {
                        changes.push(change);
                    }
                    None
                })
                .map(|_: Option<()>| ())?,
                Err(Errno::AGAIN) => return Ok(Notice::Changes(changes)),
                Err(Errno::NOBUFS) => return Ok(Notice::Lost),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            flags |= RecvFlags::DONTWAIT;
        }
    }
}
