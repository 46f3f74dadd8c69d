//! Addresses: where a connection was meant to go, and whom the server sees as its client.

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};

/// The side of the network that differs between a node and a test on one address.
pub trait Network: Send + Sync {
    /// The server that the client of this connection meant to reach.
    fn destination(&self, accepted: &TcpStream) -> io::Result<SocketAddr>;

    /// A socket from which to connect to the server on behalf of the client.
    fn socket(&self, client: SocketAddr, server: SocketAddr) -> io::Result<TcpSocket>;
}

/// Connections that packets were redirected into (`sk_lookup`): both ends keep their addresses. Needs
/// CAP_NET_ADMIN.
#[derive(Clone, Copy, Debug, Default)]
pub struct Transparent;

impl Transparent {
    /// As many listeners as are wanted that take redirected connections, each its part of them. All they send, and what
    /// their connections send, carries [`abi::mark::FROM_PROXY`].
    pub fn listen(address: SocketAddr, count: usize) -> io::Result<Vec<TcpListener>> {
        // Those that share a port would share it with another program of this user's too; this one does not.
        drop(listener(address, Sharing::Alone)?);
        (0..count).map(|_| listener(address, Sharing::Group)).collect()
    }
}

/// Whether other listeners may have the same address.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Alone,
    Group,
}

fn listener(address: SocketAddr, sharing: Sharing) -> io::Result<TcpListener> {
    let socket = transparent_socket(address)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_port(sharing == Sharing::Group)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(4096)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

impl Network for Transparent {
    fn destination(&self, accepted: &TcpStream) -> io::Result<SocketAddr> {
        accepted.local_addr()
    }

    /// Bound to the client's address and port, both: with a port of its own, the proxy would run out of them, for those
    /// of closed connections wait a minute to be used again. The kernel lets a socket that is bound to its port connect
    /// over one in TIME_WAIT, as long as timestamps tell old segments from new ones.
    fn socket(&self, client: SocketAddr, server: SocketAddr) -> io::Result<TcpSocket> {
        let socket = transparent_socket(server)?;
        bind(&socket, client)?;
        socket.set_nonblocking(true)?;
        Ok(TcpSocket::from_std_stream(socket.into()))
    }
}

/// Binds to the client's address and port; where the port is one that the kernel gives to the privileged alone, which the
/// proxy is not, to another port of the same address.
fn bind(socket: &Socket, client: SocketAddr) -> io::Result<()> {
    match socket.bind(&SockAddr::from(client)) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            socket.bind(&SockAddr::from(SocketAddr::new(client.ip(), 0)))
        }
        bound => bound,
    }
}

/// A socket of the address's family that may use addresses of others, marked as the proxy's.
fn transparent_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    match address {
        SocketAddr::V4(_) => socket.set_ip_transparent_v4(true)?,
        SocketAddr::V6(_) => socket.set_ip_transparent_v6(true)?,
    }
    socket.set_reuse_address(true)?;
    socket.set_mark(abi::mark::FROM_PROXY)?;
    Ok(socket)
}

/// Sends small writes at once, and notices a peer that is gone without a word after this long.
pub(crate) fn prepare(stream: &TcpStream, unacknowledged: Duration) -> io::Result<()> {
    /// How many questions go out until the time is over.
    const QUESTIONS: u32 = 3;
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    // The kernel counts in seconds here.
    let pause = (unacknowledged / (QUESTIONS + 1)).max(Duration::from_secs(1));
    let keepalive = TcpKeepalive::new().with_time(pause).with_interval(pause).with_retries(QUESTIONS);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(unacknowledged))
}

/// Makes closing a connection reset it, so that its port is free at once.
pub(crate) fn reset_on_close(stream: &TcpStream) {
    if let Err(error) = SockRef::from(stream).set_linger(Some(Duration::ZERO)) {
        tracing::debug!(%error, "a connection will linger");
    }
}
