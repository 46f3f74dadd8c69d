//! A server and a client of HTTP/1.1, each one thread with an epoll loop: the client keeps one request open on each connection.

use anyhow::{Context, Result, ensure};
use rustix::event::{Timespec, epoll};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// The body of each response.
const BODY: &[u8] = b"hello from the server";
/// The field of a request after which the server closes.
const CLOSE: &[u8] = b"connection: close";
/// How long a response may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many events one call of epoll returns.
const EVENTS: usize = 128;
/// The token of the listener; connections have their index.
const LISTENER: u64 = u64::MAX;

/// What a client measured.
#[derive(Default)]
pub(crate) struct Measured {
    /// How long it sent requests.
    pub(crate) time: Duration,
    /// Time from each request to the end of its response.
    pub(crate) latencies: Vec<Duration>,
}

/// A client with open connections.
pub(crate) struct Client {
    poll: OwnedFd,
    connections: Vec<Connection>,
    request: Vec<u8>,
}

struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    began: Instant,
}

impl Client {
    /// Opens connections from the network namespace of the calling thread, and sends a request on each.
    pub(crate) fn connect(server: SocketAddr, path: &str, connections: usize) -> Result<Self> {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: server\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n");
        let mut client = Self {
            poll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            connections: Vec::new(),
            request: request.into_bytes(),
        };
        for index in 0..connections {
            let stream =
                TcpStream::connect_timeout(&server, PATIENCE).context("the server cannot be reached")?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let data = epoll::EventData::new_u64(index as u64);
            epoll::add(&client.poll, &stream, data, epoll::EventFlags::IN)?;
            client.connections.push(Connection { stream, received: Vec::new(), began: Instant::now() });
        }
        client.run(Duration::ZERO)?;
        Ok(client)
    }

    /// Sends a request on each connection, and the next one at each response until the time has passed.
    pub(crate) fn run(&mut self, time: Duration) -> Result<Measured> {
        let began = Instant::now();
        let mut measured = Measured::default();
        let mut open = self.connections.len();
        for connection in &mut self.connections {
            connection.send(&self.request)?;
        }
        let mut events = Vec::with_capacity(EVENTS);
        while open > 0 {
            wait(&self.poll, &mut events)?;
            ensure!(!events.is_empty(), "{open} requests have no response after {PATIENCE:?}");
            for event in events.drain(..) {
                let connection = &mut self.connections[event.data.u64() as usize];
                if !connection.receive()? {
                    continue;
                }
                measured.latencies.push(connection.began.elapsed());
                if began.elapsed() < time {
                    connection.send(&self.request)?;
                } else {
                    open -= 1;
                }
            }
        }
        measured.time = began.elapsed();
        Ok(measured)
    }
}

/// Opens connections one after another until the time has passed, each for one request after which the server closes.
pub(crate) fn connections(server: SocketAddr, path: &str, time: Duration) -> Result<Measured> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: server\r\nConnection: close\r\n\r\n");
    let began = Instant::now();
    let mut measured = Measured::default();
    let mut response = Vec::new();
    while began.elapsed() < time {
        let connected = Instant::now();
        let mut stream =
            TcpStream::connect_timeout(&server, PATIENCE).context("the server cannot be reached")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(request.as_bytes())?;
        response.clear();
        stream.read_to_end(&mut response).context("a response cannot be read")?;
        let is_right = response.starts_with(b"HTTP/1.1 200 ") && response.ends_with(BODY);
        ensure!(is_right, "a wrong response: {}", String::from_utf8_lossy(&response));
        measured.latencies.push(connected.elapsed());
    }
    measured.time = began.elapsed();
    Ok(measured)
}

impl Connection {
    fn send(&mut self, request: &[u8]) -> Result<()> {
        self.began = Instant::now();
        self.stream.write_all(request).context("a request cannot be sent")
    }

    /// Reads what there is; true at the end of a response.
    fn receive(&mut self) -> Result<bool> {
        let mut part = [0; 4096];
        match self.stream.read(&mut part) {
            Ok(0) => anyhow::bail!("a connection ended before its response"),
            Ok(count) => self.received.extend_from_slice(&part[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error).context("a response cannot be read"),
        }
        let Some(head) = self.received.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
            return Ok(false);
        };
        if self.received.len() < head + 4 + BODY.len() {
            return Ok(false);
        }
        let is_right = self.received.starts_with(b"HTTP/1.1 200 ") && &self.received[head + 4..] == BODY;
        ensure!(is_right, "a wrong response: {}", String::from_utf8_lossy(&self.received));
        self.received.clear();
        Ok(true)
    }
}

/// Serves the listener's connections for ever: each head gets a response.
pub(crate) fn serve(listener: &TcpListener) -> Result<()> {
    let response = [
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nContent-Type: text/plain\r\n\r\n", BODY.len())
            .as_bytes(),
        BODY,
    ]
    .concat();
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    listener.set_nonblocking(true)?;
    epoll::add(&poll, listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
    let mut streams: Vec<Option<TcpStream>> = Vec::new();
    let mut events = Vec::with_capacity(EVENTS);
    loop {
        wait(&poll, &mut events)?;
        for event in events.drain(..) {
            if event.data.u64() == LISTENER {
                accept(listener, &poll, &mut streams)?;
                continue;
            }
            let slot = &mut streams[event.data.u64() as usize];
            if slot.as_mut().is_some_and(|stream| respond(stream, &response).is_err()) {
                *slot = None;
            }
        }
    }
}

fn accept(listener: &TcpListener, poll: &OwnedFd, streams: &mut Vec<Option<TcpStream>>) -> Result<()> {
    let Ok((stream, _)) = listener.accept() else { return Ok(()) };
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    let index = streams.iter().position(Option::is_none).unwrap_or(streams.len());
    epoll::add(poll, &stream, epoll::EventData::new_u64(index as u64), epoll::EventFlags::IN)?;
    match streams.get_mut(index) {
        Some(slot) => *slot = Some(stream),
        None => streams.push(Some(stream)),
    }
    Ok(())
}

/// Answers one head: a client sends one at a time, in one segment. Fails where the connection ends.
fn respond(stream: &mut TcpStream, response: &[u8]) -> io::Result<()> {
    let mut part = [0; 4096];
    match stream.read(&mut part) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(count) => {
            stream.write_all(response)?;
            let closes = part[..count].windows(CLOSE.len()).any(|bytes| bytes.eq_ignore_ascii_case(CLOSE));
            if closes { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error),
    }
}

/// Waits for events; none after the patience of a client.
fn wait(poll: &OwnedFd, events: &mut Vec<epoll::Event>) -> Result<()> {
    let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    events.clear();
    match epoll::wait(poll, rustix::buffer::spare_capacity(events), Some(&patience)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
