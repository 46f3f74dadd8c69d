//! Servers that answer everything, so that only policy can cause silence.

use crate::engine::EngineError;
use manifest::TransportProtocol;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use workload::NetworkNamespace;

/// The response to every request.
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// A server's socket.
pub(super) enum Listener {
    /// Answers requests.
    Tcp(TcpListener),
    /// Sends datagrams back.
    Udp(UdpSocket),
    /// The kernel answers.
    Sctp(Socket),
}

/// Servers that answer until they are dropped.
pub(super) struct Servers {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// Opens a server at an address of a namespace.
    pub(super) fn open(
        namespace: &NetworkNamespace,
        address: SocketAddr,
        protocol: TransportProtocol,
    ) -> Result<Self, EngineError> {
        let open = || {
            let kind = if protocol == TransportProtocol::Udp { Type::DGRAM } else { Type::STREAM };
            let socket = socket(namespace, kind, protocol, address)?;
            if kind == Type::STREAM {
                socket.listen(1024)?;
                socket.set_nonblocking(true)?;
            }
            io::Result::Ok(match protocol {
                TransportProtocol::Tcp => Self::Tcp(socket.into()),
                TransportProtocol::Udp => Self::Udp(socket.into()),
                TransportProtocol::Sctp => Self::Sctp(socket),
            })
        };
        open().map_err(EngineError::failed("opening a server"))
    }

    fn answer(&self) {
        match self {
            Self::Tcp(listener) => {
                while let Ok((stream, _)) = listener.accept() {
                    // The thread ends when the client closes, or is silent for too long.
                    std::thread::spawn(move || respond(stream));
                }
            }
            Self::Udp(socket) => {
                let mut bytes = [0; 2048];
                if let Ok((length, from)) = socket.recv_from(&mut bytes) {
                    // Who asks again is answered again.
                    let _ = socket.send_to(&bytes[..length], from);
                }
            }
            Self::Sctp(_) => {}
        }
    }
}

impl Servers {
    /// Answers at every listener, in one thread.
    pub(super) fn start(listeners: Vec<Listener>) -> Result<Self, EngineError> {
        let ended = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ended);
        let thread = std::thread::Builder::new()
            .name("servers".into())
            .spawn(move || serve(&listeners, &told))
            .map_err(EngineError::failed("starting servers"))?;
        Ok(Self { ended, thread: Some(thread) })
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The thread returns nothing.
            let _ = thread.join();
        }
    }
}

/// A socket of a namespace, bound to one of its addresses.
pub(super) fn socket(
    namespace: &NetworkNamespace,
    kind: Type,
    protocol: TransportProtocol,
    address: SocketAddr,
) -> io::Result<Socket> {
    let number = i32::from(protocol.number());
    let open = || Socket::new(Domain::for_address(address), kind, Some(number.into()));
    let socket = namespace.enter(open).map_err(io::Error::other)??;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Whether the kernel has SCTP.
pub(super) fn has_sctp() -> bool {
    Socket::new(Domain::IPV4, Type::STREAM, Some(i32::from(TransportProtocol::Sctp.number()).into())).is_ok()
}

fn serve(listeners: &[Listener], ended: &AtomicBool) {
    const LOOK_UP: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    let mut waited: Vec<PollFd<'_>> =
        listeners.iter().map(|listener| PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN)).collect();
    while !ended.load(Ordering::Relaxed) {
        // The only error is an interruption, after which the call is repeated.
        let _ = poll(&mut waited, Some(&LOOK_UP));
        for (listener, waited) in listeners.iter().zip(&waited) {
            if waited.revents().contains(PollFlags::IN) {
                listener.answer();
            }
        }
    }
}

/// Reads a head and answers it. Errors are not reported: the client sees them.
fn respond(mut stream: TcpStream) {
    let mut read = || {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        let (mut head, mut bytes) = (Vec::new(), [0; 2048]);
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read(&mut bytes)? {
                0 => return Ok(()),
                length => head.extend_from_slice(&bytes[..length]),
            }
        }
        stream.write_all(RESPONSE)
    };
    let _: io::Result<()> = read();
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Udp(socket) => socket.as_fd(),
            Self::Sctp(socket) => socket.as_fd(),
        }
    }
}
