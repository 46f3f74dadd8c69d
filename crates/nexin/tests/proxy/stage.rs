//! The servers and clients of the tests, and the policy between them.

use crate::bed::{Host, requests_to_server};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// All peers may send `server` requests for /public.
pub(crate) const PUBLIC: &str =
    requests_to_server!("requests", "fromEntities: [all]", r#"{path: "/public.*"}"#);

/// The timeout of a step.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// How a server responds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Like HTTP/1.0: closing ends the body.
    Old,
    /// With a length and `Connection: close`, and closes.
    Close,
    /// In chunks for any version of the client, and closes.
    Chunks,
    /// With a length, and closes when the client does.
    Keep,
    /// Never: it only reads.
    Hang,
    /// Starts a response of a gigabyte, a little at a time.
    Drip,
    /// Accepts a WebSocket, and echoes what it receives.
    Switch,
}

/// Serves on port 80 in both families.
pub(crate) fn serve(host: &Host, manner: Manner) {
    let listener = host.enter(|| TcpListener::bind("[::]:80")).unwrap();
    let name = name_of_servers(host);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            match manner {
                // A thread for each connection would distort the measurement.
                Manner::Old | Manner::Close | Manner::Chunks => drop(attend(stream, manner)),
                _ => drop(thread::Builder::new().name(name.clone()).spawn(move || attend(stream, manner))),
            }
        }
    });
}

/// The name of a host's server threads, unique among hosts at a time.
pub(crate) fn name_of_servers(host: &Host) -> String {
    let namespace = host.enter(|| fs::read_link("/proc/thread-self/ns/net")).unwrap();
    namespace.to_string_lossy().chars().filter(char::is_ascii_digit).collect()
}

fn attend(mut stream: TcpStream, manner: Manner) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(120)))?;
    let mut heard = Vec::new();
    while read_head(&mut stream, &mut heard)? {
        match manner {
            Manner::Old => return stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nok"),
            Manner::Close => {
                return stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
            }
            Manner::Chunks => {
                return stream.write_all(
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nok\r\n0\r\n\r\n",
                );
            }
            Manner::Keep => stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?,
            Manner::Hang => return io::copy(&mut stream, &mut io::sink()).map(drop),
            Manner::Drip => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")?;
                loop {
                    stream.write_all(&[b'x'; 100])?;
                    thread::sleep(Duration::from_millis(20));
                }
            }
            Manner::Switch => {
                stream.write_all(
                    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
                )?;
                return io::copy(&mut stream.try_clone()?, &mut stream).map(drop);
            }
        }
    }
    Ok(())
}

/// Reads a head; false at the end.
fn read_head(stream: &mut TcpStream, heard: &mut Vec<u8>) -> io::Result<bool> {
    let mut part = [0; 4096];
    heard.clear();
    while !heard.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        match stream.read(&mut part)? {
            0 => return Ok(false),
            count => heard.extend_from_slice(&part[..count]),
        }
    }
    Ok(true)
}

/// A connection from a host to port 80 of another, optionally from a given source port.
pub(crate) fn connect(from: &Host, to: SocketAddr, port: Option<u16>) -> io::Result<TcpStream> {
    from.enter(|| dial(&from.addresses, to, port))
}

/// The same from the namespace of the calling thread, which has these addresses.
pub(crate) fn dial(own: &[IpAddr], to: SocketAddr, port: Option<u16>) -> io::Result<TcpStream> {
    let until = Instant::now() + PATIENCE / 10;
    loop {
        match dial_once(own, to, port) {
            // The client's kernel has not released the previous connection from this port yet.
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable && Instant::now() < until => {}
            result => return result,
        }
        thread::sleep(Duration::from_micros(200));
    }
}

fn dial_once(own: &[IpAddr], to: SocketAddr, port: Option<u16>) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    if let Some(port) = port {
        let own = own.iter().find(|address| address.is_ipv4() == to.is_ipv4()).unwrap();
        socket.set_reuse_address(true)?;
        socket.bind(&SockAddr::from(SocketAddr::new(*own, port)))?;
    }
    socket.connect_timeout(&SockAddr::from(to), PATIENCE)?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A connection on which a request was sent.
pub(crate) fn ask(from: &Host, to: &Host, request: &str) -> TcpStream {
    let mut stream = connect(from, SocketAddr::new(to.addresses[0], 80), None).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

/// Reads to the end; a reset counts as the end, other errors do not.
pub(crate) fn rest(stream: &mut TcpStream) -> String {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Err(error) if error.kind() != io::ErrorKind::ConnectionReset => {
            panic!("the connection does not end: {error}")
        }
        _ => String::from_utf8_lossy(&rest).into_owned(),
    }
}

/// A number from an environment variable.
pub(crate) fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
}
