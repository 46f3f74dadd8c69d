//! What the agent hands to a proxy that it starts: the listeners, and the memory for heartbeats.
//!
//! The agent keeps the listeners open while no proxy runs, so that new connections wait for the next proxy.

use crate::heartbeats::Heartbeats;
use anyhow::Context;
use rustix::net::sockopt::socket_acceptconn;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::fs;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// Descriptors of one message; the kernel takes at most 253.
const PART: usize = 64;

/// The proxy's listeners, one of each family for each worker; none for IPv6 if there is no IPv6.
#[derive(Debug, Default)]
pub(crate) struct ProxyListeners {
    pub(crate) v4: Vec<TcpListener>,
    pub(crate) v6: Vec<TcpListener>,
}

/// What a message carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Part {
    Heartbeats = b'h',
    ListenersV4 = b'4',
    ListenersV6 = b'6',
}

impl ProxyListeners {
    /// Listens at the loopback addresses; an error names the address that another program listens at.
    pub(crate) fn open(port: u16, workers: usize) -> anyhow::Result<Self> {
        let listen = |address: IpAddr| {
            let address = SocketAddr::new(address, port);
            let what = || {
                format!(
                    "the proxy cannot listen at {address}; end the program that does, or give the proxy another port \
                     (proxyPort)"
                )
            };
            match proxy::Transparent::listen(address, workers) {
                Err(error) if address.is_ipv6() && lacks_family(&error) => {
                    tracing::warn!(%error, "there is no IPv6; the proxy listens on IPv4 alone");
                    Ok(Vec::new())
                }
                listens => listens.with_context(what),
            }
        };
        Ok(Self { v4: listen(Ipv4Addr::LOCALHOST.into())?, v6: listen(Ipv6Addr::LOCALHOST.into())? })
    }

    /// The listeners of a running process at this port; empty if the kernel does not share them.
    pub(crate) fn of_process(process: u32, port: u16) -> Self {
        Self::found(process, port).unwrap_or_else(|error| {
            tracing::warn!(%error, process, "the proxy's listeners cannot be shared; connections are refused while it restarts");
            Self::default()
        })
    }

    fn found(process: u32, port: u16) -> io::Result<Self> {
        let pid = i32::try_from(process).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
        let process = pidfd_open(pid, PidfdFlags::empty())?;
        let mut listeners = Self::default();
        for entry in fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero()))? {
            let entry = entry?;
            let is_socket =
                fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"));
            let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
            let (true, Some(number)) = (is_socket, number) else { continue };
            // The process may have closed it meanwhile.
            let Ok(socket) = pidfd_getfd(&process, number, PidfdGetfdFlags::empty()) else { continue };
            if !socket_acceptconn(&socket).unwrap_or(false) {
                continue;
            }
            let listener = TcpListener::from(socket);
            match listener.local_addr() {
                Ok(SocketAddr::V4(address)) if address.port() == port => listeners.v4.push(listener),
                Ok(SocketAddr::V6(address)) if address.port() == port => listeners.v6.push(listener),
                _ => {}
            }
        }
        Ok(listeners)
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.v4.is_empty()
    }
}

/// Whether listening on the IPv6 loopback failed because the kernel or the namespace has no IPv6.
fn lacks_family(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

/// Writes the handover; the returned end becomes the proxy's standard input.
pub(crate) fn send(listeners: &ProxyListeners, heartbeats: &Heartbeats) -> io::Result<OwnedFd> {
    let (ours, theirs) = UnixStream::pair()?;
    send_part(&ours, Part::Heartbeats, &[heartbeats.as_fd()])?;
    for (part, listeners) in [(Part::ListenersV4, &listeners.v4), (Part::ListenersV6, &listeners.v6)] {
        let descriptors: Vec<BorrowedFd<'_>> = listeners.iter().map(AsFd::as_fd).collect();
        descriptors.chunks(PART).try_for_each(|chunk| send_part(&ours, part, chunk))?;
    }
    Ok(theirs.into())
}

fn send_part(to: &UnixStream, part: Part, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PART))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("too many descriptors for one message"));
    }
    sendmsg(to, &[IoSlice::new(&[part as u8])], &mut control, SendFlags::empty())?;
    Ok(())
}

/// Reads the handover from standard input.
pub(crate) fn receive(from: BorrowedFd<'_>) -> anyhow::Result<(ProxyListeners, Heartbeats)> {
    let (mut listeners, mut heartbeats) = (ProxyListeners::default(), None);
    let what = "the proxy reads its listeners from standard input; only an agent starts it";
    while let Some((part, descriptors)) = receive_part(from).context(what)? {
        let sockets = descriptors.into_iter();
        match part {
            Part::Heartbeats => heartbeats = sockets.map(Heartbeats::open).next().transpose()?,
            Part::ListenersV4 => listeners.v4.extend(sockets.map(TcpListener::from)),
            Part::ListenersV6 => listeners.v6.extend(sockets.map(TcpListener::from)),
        }
    }
    anyhow::ensure!(!listeners.is_empty(), what);
    Ok((listeners, heartbeats.context(what)?))
}

/// One message; none at the end.
fn receive_part(from: BorrowedFd<'_>) -> io::Result<Option<(Part, Vec<OwnedFd>)>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PART))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut tag = [0];
    let flags = RecvFlags::CMSG_CLOEXEC;
    if recvmsg(from, &mut [IoSliceMut::new(&mut tag)], &mut control, flags)?.bytes == 0 {
        return Ok(None);
    }
    let part = [Part::Heartbeats, Part::ListenersV4, Part::ListenersV6];
    let part = part.into_iter().find(|part| *part as u8 == tag[0]).ok_or(io::ErrorKind::InvalidData)?;
    let descriptors = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    Ok(Some((part, descriptors.flatten().collect())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listeners(count: usize) -> ProxyListeners {
        let v4 = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        ProxyListeners { v4, v6: Vec::new() }
    }

    #[test]
    fn a_proxy_gets_all_listeners_and_the_memory() {
        // More than fit in one message.
        let (sent, heartbeats) = (listeners(PART + 3), Heartbeats::new(2).unwrap());
        let input = send(&sent, &heartbeats).unwrap();
        let (received, shared) = receive(input.as_fd()).unwrap();
        let ports = |listeners: &[TcpListener]| -> Vec<u16> {
            listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
        };
        assert_eq!(ports(&received.v4), ports(&sent.v4));
        assert!(received.v6.is_empty());
        shared.beat(0).unwrap();
        assert_eq!(heartbeats.late(std::time::Duration::from_secs(60)).unwrap().len(), 1);
    }

    #[test]
    fn an_input_without_a_handover_is_refused() {
        let (_, theirs) = UnixStream::pair().unwrap();
        assert!(receive(theirs.as_fd()).unwrap_err().to_string().contains("only an agent starts it"));
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(receive(file.as_fd()).is_err());
    }

    #[test]
    fn the_listeners_of_a_process_are_those_at_the_port() {
        let (known, _other) = (listeners(1), listeners(1));
        let port = known.v4[0].local_addr().unwrap().port();
        let found = ProxyListeners::of_process(std::process::id(), port);
        assert_eq!(found.v4.iter().map(|one| one.local_addr().unwrap().port()).collect::<Vec<_>>(), [port]);
    }
}
