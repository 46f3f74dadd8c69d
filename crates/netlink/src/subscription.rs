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

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_route::AddressFamily;
    use netlink_packet_route::address::{AddressAttribute, AddressMessage};
    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
    use std::net::IpAddr;

    /// Runs a test in the namespace of an `ip netns`, which is deleted afterwards.
    fn in_namespace(name: &str, test: impl FnOnce() + Send + 'static) {
        let name = format!("nxs{}{name}", std::process::id());
        let ip = |arguments: &[&str]| {
            assert!(std::process::Command::new("ip").args(arguments).status().unwrap().success());
        };
        ip(&["netns", "add", &name]);
        let file = std::fs::File::open(format!("/run/netns/{name}")).unwrap();
        let run = move || {
            move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network))
                .unwrap();
            test();
        };
        let result = std::thread::spawn(run).join();
        ip(&["netns", "delete", &name]);
        result.unwrap();
    }

    fn set_address(socket: &mut Socket, last: u16, is_there: bool) {
        let [high, low] = last.to_be_bytes();
        let address = IpAddr::from([10, 9, high, low]);
        let mut request = AddressMessage::default();
        request.header.family = AddressFamily::Inet;
        request.header.index = 1;
        request.header.prefix_len = 32;
        request.attributes.push(AddressAttribute::Local(address));
        let request = match is_there {
            true => RouteNetlinkMessage::NewAddress(request),
            false => RouteNetlinkMessage::DelAddress(request),
        };
        socket.change(request, crate::NLM_F_CREATE).unwrap();
    }

    #[test]
    #[ignore = "needs root"]
    fn a_subscription_receives_what_it_subscribed_to_and_nothing_else() {
        in_namespace("a", || {
            let mut addresses = Subscription::open(&[Topic::AddressesV4]).unwrap();
            let mut socket = Socket::open().unwrap();
            set_address(&mut socket, 1, true);
            set_address(&mut socket, 1, false);
            let Notice::Changes(changes) = addresses.wait().unwrap() else { panic!("nothing is lost") };
            assert!(matches!(
                changes[..],
                [RouteNetlinkMessage::NewAddress(_), RouteNetlinkMessage::DelAddress(_)]
            ));
        });
    }

    #[test]
    #[ignore = "needs root"]
    fn a_subscription_that_lost_changes_says_so_once_and_receives_later_ones() {
        in_namespace("b", || {
            let mut addresses = Subscription::open(&[Topic::AddressesV4]).unwrap();
            let mut socket = Socket::open().unwrap();
            // Each notification takes more than 500 bytes, and the kernel doubles the room.
            for round in 0..20_000u16 {
                set_address(&mut socket, round / 2, round % 2 == 0);
            }
            let mut lost = 0;
            loop {
                match addresses.wait().unwrap() {
                    Notice::Lost => lost += 1,
                    Notice::Changes(_) if lost > 0 => break,
                    Notice::Changes(_) => {}
                }
            }
            set_address(&mut socket, 7, true);
            assert!(matches!(addresses.wait().unwrap(), Notice::Changes(changes) if changes.len() == 1));
            assert_eq!(lost, 1);
        });
    }
}
