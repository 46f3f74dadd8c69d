//! Route netlink, synchronously: a request and the answers to it, and subscriptions to changes.
//!
//! A [`Socket`] belongs to the network namespace in which it was opened, whichever thread uses it later.
#![forbid(unsafe_code)]

mod subscription;

pub use subscription::{Notice, Subscription, Topic};

use netlink_packet_core::{
    DecodeError, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
pub use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
pub use netlink_packet_route as message;
use netlink_packet_route::RouteNetlinkMessage;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::io;
use std::os::fd::OwnedFd;

/// The kernel fills datagrams of a dump up to the size of the first read, and 32 KiB at most.
const DATAGRAM: usize = 64 * 1024;

/// A route netlink socket.
#[derive(Debug)]
pub struct Socket {
    descriptor: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket in the network namespace of the calling thread.
    pub fn open() -> io::Result<Self> {
        // NETLINK_ROUTE is protocol 0, the default.
        let descriptor =
            rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        Ok(Self { descriptor, sequence: 0, buffer: vec![0; DATAGRAM] })
    }

    /// Requests a change, and waits until it is made. `flags` are added to the request's own, such as [`NLM_F_CREATE`].
    pub fn change(&mut self, request: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.send(request, NLM_F_ACK | flags)?;
        self.receive(|_| ())
    }

    /// Requests every object of a kind.
    pub fn dump(&mut self, request: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.send(request, NLM_F_DUMP)?;
        let mut answers = Vec::new();
        self.receive(|answer| answers.push(answer))?;
        Ok(answers)
    }

    /// Requests one object. For an object that does not exist the kernel returns an error (`ENODEV`, `ENOENT`, ...).
    pub fn find(&mut self, request: RouteNetlinkMessage) -> io::Result<Option<RouteNetlinkMessage>> {
        self.send(request, NLM_F_ACK)?;
        let mut found = None;
        self.receive(|answer| found = Some(answer))?;
        Ok(found)
    }

    fn send(&mut self, request: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = NetlinkMessage::from(request);
        message.header.flags = NLM_F_REQUEST | flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        rustix::net::send(&self.descriptor, &bytes, SendFlags::empty())?;
        Ok(())
    }

    /// Passes each answer to the last request to `answer`, until the kernel sends the end.
    fn receive(&mut self, mut answer: impl FnMut(RouteNetlinkMessage)) -> io::Result<()> {
        loop {
            let (_, length) = rustix::net::recv(&self.descriptor, &mut self.buffer[..], RecvFlags::TRUNC)?;
            let bytes = self.buffer.get(..length).ok_or_else(|| invalid("an answer longer than 64 KiB"))?;
            let end = decode(bytes, |message| {
                // An answer to an earlier request, which failed before all its answers were read.
                if message.header.sequence_number != self.sequence {
                    return None;
                }
                match message.payload {
                    NetlinkPayload::InnerMessage(inner) => answer(inner),
                    NetlinkPayload::Error(error) if error.code.is_some() => {
                        return Some(Err(error.to_io()));
                    }
                    NetlinkPayload::Error(_) | NetlinkPayload::Done(_) => return Some(Ok(())),
                    _ => {}
                }
                None
            })?;
            if let Some(end) = end {
                return end;
            }
        }
    }
}

/// Passes each message of a datagram to `take`, until it returns something.
fn decode<T>(
    mut bytes: &[u8],
    mut take: impl FnMut(NetlinkMessage<RouteNetlinkMessage>) -> Option<T>,
) -> io::Result<Option<T>> {
    while !bytes.is_empty() {
        let message =
            NetlinkMessage::deserialize(bytes).map_err(|error: DecodeError| invalid(error.to_string()))?;
        let aligned = (message.header.length as usize).next_multiple_of(4);
        bytes = bytes.get(aligned..).unwrap_or_default();
        if let Some(found) = take(message) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn invalid(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("netlink: {}", why.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_route::link::{LinkAttribute, LinkMessage};

    #[test]
    fn a_dump_of_links_names_the_loopback() {
        let links =
            Socket::open().unwrap().dump(RouteNetlinkMessage::GetLink(LinkMessage::default())).unwrap();
        let is_loopback = |link: &RouteNetlinkMessage| match link {
            RouteNetlinkMessage::NewLink(link) => {
                link.attributes.contains(&LinkAttribute::IfName("lo".to_owned()))
            }
            _ => false,
        };
        assert!(links.iter().any(is_loopback), "{links:?}");
    }

    #[test]
    fn what_is_not_there_is_the_kernels_error_and_the_socket_stays_usable() {
        let mut socket = Socket::open().unwrap();
        let mut nowhere = LinkMessage::default();
        nowhere.header.index = i32::MAX as u32;
        let error = socket.find(RouteNetlinkMessage::GetLink(nowhere)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::NODEV.raw_os_error()));
        let mut loopback = LinkMessage::default();
        loopback.header.index = 1;
        assert!(socket.find(RouteNetlinkMessage::GetLink(loopback)).unwrap().is_some());
    }
}
