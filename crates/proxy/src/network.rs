//! Addresses: the original destination of a connection, and the source address that the server sees.

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};

/// The addressing of connections, which differs between a node and a test on loopback.
pub trait ProxyNetwork: Send + Sync {
    /// The original destination of a connection.
    fn destination(&self, accepted: &TcpStream) -> io::Result<SocketAddr>;

    /// A socket for the connection to the server, bound to the client's address.
    fn socket(&self, client: SocketAddr, server: SocketAddr) -> io::Result<TcpSocket>;
}

/// Connections that `sk_lookup` hands to the proxy: both ends keep their addresses. Needs CAP_NET_ADMIN.
#[derive(Clone, Copy, Debug, Default)]
pub struct Transparent;

impl Transparent {
    /// Opens this many listeners (`SO_REUSEPORT`), among which the kernel distributes the connections. All packets of the
    /// listeners and of their connections carry [`abi::mark::FROM_PROXY`].
    pub fn listen(address: SocketAddr, count: usize) -> io::Result<Vec<TcpListener>> {
        // Sockets that share a port also share it with other programs of the same user. This one does not, and so fails
        // where the port is taken.
        drop(listener(address, Sharing::Alone)?);
        (0..count).map(|_| listener(address, Sharing::Group)).collect()
    }
}

/// Whether other listeners may use the same address.
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
    Ok(socket.into())
}

impl ProxyNetwork for Transparent {
    fn destination(&self, accepted: &TcpStream) -> io::Result<SocketAddr> {
        accepted.local_addr()
    }

    /// The socket is bound to the client's address and port. With ports of its own, the proxy would run out of them, because
    /// the port of a closed connection is in TIME_WAIT for a minute. The kernel lets a socket that is bound to a port in
    /// TIME_WAIT connect if timestamps distinguish old segments from new ones.
    fn socket(&self, client: SocketAddr, server: SocketAddr) -> io::Result<TcpSocket> {
        let socket = transparent_socket(server)?;
        bind(&socket, client)?;
        Ok(TcpSocket::from_std_stream(socket.into()))
    }
}

/// Binds to the client's address and port, or to another port of the same address where the port is privileged, because the
/// proxy lacks that capability.
fn bind(socket: &Socket, client: SocketAddr) -> io::Result<()> {
    match socket.bind(&SockAddr::from(client)) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            socket.bind(&SockAddr::from(SocketAddr::new(client.ip(), 0)))
        }
        bound => bound,
    }
}

/// A non-blocking socket of the address's family that may bind to foreign addresses and has the proxy's mark.
fn transparent_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    match address {
        SocketAddr::V4(_) => socket.set_ip_transparent_v4(true)?,
        SocketAddr::V6(_) => socket.set_ip_transparent_v6(true)?,
    }
    socket.set_reuse_address(true)?;
    socket.set_mark(abi::mark::FROM_PROXY)?;
    Ok(socket)
}

/// Disables Nagle's algorithm, and enables keepalive so that a vanished peer is noticed after this time. The connections of a
/// listener inherit these options.
pub(crate) fn prepare(socket: SockRef<'_>, unacknowledged: Duration) -> io::Result<()> {
    /// Keepalive probes within this time.
    const PROBES: u32 = 3;
    socket.set_tcp_nodelay(true)?;
    // The unit of these socket options is a second.
    let pause = (unacknowledged / (PROBES + 1)).max(Duration::from_secs(1));
    let keepalive = TcpKeepalive::new().with_time(pause).with_interval(pause).with_retries(PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(unacknowledged))
}

/// Lets closing the connection reset it, so that its port is free at once.
pub(crate) fn reset_on_close(stream: &TcpStream) {
    if let Err(error) = SockRef::from(stream).set_linger(Some(Duration::ZERO)) {
        tracing::debug!(%error, "a connection closes without a reset");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_inherit_the_options_of_their_listener() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        prepare(SockRef::from(&listener), Duration::from_secs(8)).unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let accepted = SockRef::from(&accepted);
        assert!(accepted.tcp_nodelay().unwrap() && accepted.keepalive().unwrap());
        assert_eq!(accepted.tcp_user_timeout().unwrap(), Some(Duration::from_secs(8)));
        assert_eq!(accepted.tcp_keepalive_time().unwrap(), Duration::from_secs(2));
        assert_eq!(accepted.tcp_keepalive_interval().unwrap(), Duration::from_secs(2));
        assert_eq!(accepted.tcp_keepalive_retries().unwrap(), 3);
    }
}
