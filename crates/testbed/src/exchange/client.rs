//! A client: sends a crossing for real, and returns what comes back.

use super::server::{has_sctp, socket};
use crate::crossing::{Crossing, Sent, head};
use manifest::TransportProtocol;
use manifest::test::HttpRequest;
use socket2::{Domain, Socket, Type};
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};
use workload::NetworkNamespace;

/// Source ports that a client binds itself.
const CHOSEN: std::ops::Range<u16> = 10_000..30_000;

/// What the client received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nothing.
    Nothing,
    /// A reset, or the end of the connection at once.
    Reset,
    /// An echo, or a connection.
    Reached,
    /// An HTTP response.
    Status(u16),
}

/// A crossing, the namespace of its sender, and how long to wait.
#[derive(Clone, Copy)]
pub(super) struct Client<'a> {
    pub(super) crossing: &'a Crossing,
    pub(super) from: &'a NetworkNamespace,
    pub(super) to: &'a NetworkNamespace,
    pub(super) patience: Duration,
}

impl Client<'_> {
    /// Sends the crossing's packet, connection or request.
    pub(super) fn ask(&self) -> io::Result<Seen> {
        match &self.crossing.sent {
            Sent::Icmp(kind) => self.echo(*kind),
            Sent::Connection(TransportProtocol::Udp, _) => self.datagram(),
            Sent::Connection(TransportProtocol::Sctp, port) if !has_sctp() => self.first_message(*port),
            Sent::Connection(TransportProtocol::Sctp, _) => {
                Ok(self.connect(TransportProtocol::Sctp)?.map_or_else(|seen| seen, |_| Seen::Reached))
            }
            // The proxy may accept a TCP connection in the server's place: only a response shows that the server answers.
            Sent::Connection(TransportProtocol::Tcp, _) => {
                let (method, path, host) = ("GET".into(), "/".into(), Some("probe".into()));
                self.request(&HttpRequest { method, path, host, headers: Vec::new() })
            }
            Sent::Request(_, request) => self.request(request),
        }
    }

    fn request(&self, request: &HttpRequest) -> io::Result<Seen> {
        let mut stream = match self.connect(TransportProtocol::Tcp)? {
            Ok(stream) => stream,
            Err(seen) => return Ok(seen),
        };
        stream.set_read_timeout(Some(self.patience))?;
        match stream.write_all(&head(request)).and_then(|()| status(&mut stream)) {
            Ok(status) => Ok(Seen::Status(status)),
            Err(error) => what_happened(error),
        }
    }

    /// Connects, or returns what happened instead.
    fn connect(&self, protocol: TransportProtocol) -> io::Result<Result<Socket, Seen>> {
        let socket = self.open(Type::STREAM, protocol)?;
        let to = self.crossing.asked();
        match socket.connect_timeout(&to.into(), self.patience) {
            Ok(()) => Ok(Ok(socket)),
            Err(error) => what_happened(error).map(Err),
        }
    }

    /// A socket of the source, bound to a port from which the service selects the wanted backend.
    fn open(&self, kind: Type, protocol: TransportProtocol) -> io::Result<Socket> {
        let Crossing { source, frontend, .. } = *self.crossing;
        if frontend.is_none_or(|frontend| frontend.count < 2) {
            return socket(self.from, kind, protocol, (source, 0).into());
        }
        // Outside the range that the kernel assigns from, and never the same port twice in a row.
        static TRIED: AtomicU16 = AtomicU16::new(0);
        for _ in 0..CHOSEN.len() {
            let port = CHOSEN.start + TRIED.fetch_add(1, Ordering::Relaxed) % CHOSEN.len() as u16;
            if self.crossing.reaches(port) {
                match socket(self.from, kind, protocol, (source, port).into()) {
                    Err(error) if error.kind() == ErrorKind::AddrInUse => {}
                    opened => return opened,
                }
            }
        }
        Err(ErrorKind::AddrInUse.into())
    }

    /// Repeats a datagram until its echo arrives.
    fn datagram(&self) -> io::Result<Seen> {
        let socket = self.open(Type::DGRAM, TransportProtocol::Udp)?;
        socket.connect(&self.crossing.asked().into())?;
        self.until_received(&socket, || socket.send(b"nexin").map(drop), |heard| heard == b"nexin")
    }

    /// Repeats an echo request until the other end receives it. The request itself counts: its reply belongs to the same
    /// flow.
    fn echo(&self, kind: u8) -> io::Result<Seen> {
        let protocol = if self.crossing.source.is_ipv4() { 1 } else { 58 };
        // The payload differs from other probes between the same ends.
        let mut message = [&[kind, 0, 0, 0, 0, 7, 0, 1][..], self.token().as_bytes()].concat();
        let sum = checksum(&message);
        message[2..4].copy_from_slice(&sum);
        self.raw(protocol, &message)
    }

    /// Repeats the INIT of an SCTP handshake until the other end receives it: what a kernel without SCTP can send.
    fn first_message(&self, port: u16) -> io::Result<Seen> {
        const SOURCE_PORT: u16 = 5_000;
        const CHUNK: [u8; 20] = [1, 0, 0, 20, 0, 0, 0, 7, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1];
        let ports = [SOURCE_PORT.to_be_bytes(), port.to_be_bytes()].concat();
        // Verification tag and checksum are zero. The packet path reads neither, and no kernel answers.
        let message = [&ports[..], &[0; 8], &CHUNK, self.token().as_bytes()].concat();
        self.raw(i32::from(TransportProtocol::Sctp.number()), &message)
    }

    /// What the packets of this probe end with, and of no other probe between the same ends.
    fn token(&self) -> String {
        let Crossing { source, destination, .. } = *self.crossing;
        format!("{source} {destination} {:?}", std::thread::current().id())
    }

    /// Repeats a packet until the other end receives it.
    fn raw(&self, protocol: i32, message: &[u8]) -> io::Result<Seen> {
        let Crossing { source, destination, .. } = *self.crossing;
        let open = |namespace: &NetworkNamespace, address: SocketAddr| {
            let open = || Socket::new(Domain::for_address(address), Type::RAW, Some(protocol.into()));
            let socket = namespace.enter(open).map_err(io::Error::other)??;
            socket.bind(&address.into())?;
            io::Result::Ok(socket)
        };
        let sender = open(self.from, (source, 0).into())?;
        let receiver = open(self.to, (destination, 0).into())?;
        let to = SocketAddr::new(destination, 0);
        let send = || sender.send_to(message, &to.into()).map(drop);
        let token = self.token();
        self.until_received(&receiver, send, |heard| heard.ends_with(token.as_bytes()))
    }

    /// Repeats the sending until the socket receives the wanted bytes.
    fn until_received(
        &self,
        socket: &Socket,
        send: impl Fn() -> io::Result<()>,
        is_it: impl Fn(&[u8]) -> bool,
    ) -> io::Result<Seen> {
        const PAUSE: Duration = Duration::from_millis(100);
        socket.set_read_timeout(Some(PAUSE))?;
        let deadline = Instant::now() + self.patience;
        let mut bytes = [0; 2048];
        while Instant::now() < deadline {
            send()?;
            let pause = Instant::now() + PAUSE;
            while Instant::now() < pause {
                match (&*socket).read(&mut bytes) {
                    Ok(length) if is_it(&bytes[..length]) => return Ok(Seen::Reached),
                    Ok(_) => {}
                    Err(error) => match what_happened(error)? {
                        Seen::Nothing => break,
                        seen => return Ok(seen),
                    },
                }
            }
        }
        Ok(Seen::Nothing)
    }
}

/// The outcome that an error of a socket stands for; an error of this machine itself is returned.
fn what_happened(error: io::Error) -> io::Result<Seen> {
    match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Ok(Seen::Nothing),
        ErrorKind::ConnectionRefused
        | ErrorKind::ConnectionReset
        | ErrorKind::BrokenPipe
        | ErrorKind::UnexpectedEof => Ok(Seen::Reset),
        _ => Err(error),
    }
}

/// The status of a response: `HTTP/1.1 200 OK`.
fn status(stream: &mut impl Read) -> io::Result<u16> {
    const BEFORE: usize = "HTTP/1.1 ".len();
    let mut line = [0; BEFORE + 3];
    stream.read_exact(&mut line)?;
    let number = std::str::from_utf8(&line[BEFORE..]).ok().and_then(|digits| digits.parse().ok());
    number.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "the response does not begin as HTTP does"))
}

/// The Internet checksum (RFC 1071); the kernel overwrites the one of ICMPv6.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words =
        bytes.chunks(2).map(|pair| u32::from_be_bytes([0, 0, pair[0], pair.get(1).copied().unwrap_or(0)]));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    (!((folded + (folded >> 16)) as u16)).to_be_bytes()
}
