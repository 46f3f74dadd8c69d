//! Servers of workloads, and exchanges with them: HTTP with keep-alive, TCP and UDP echoes.

use crate::node::Workload;
use anyhow::Result;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

/// The port of HTTP, and of both echoes.
pub(crate) const HTTP: u16 = 80;
pub(crate) const ECHO: u16 = 7;
/// How long an exchange may take. A start of agent and proxy is far shorter.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// A connection that carries one HTTP request after another.
pub(crate) struct HttpConnection(BufReader<TcpStream>);

/// Starts the servers of a workload. The threads that serve connections have its name.
pub(crate) fn serve(workload: &Workload) -> Result<()> {
    let any = IpAddr::from(Ipv4Addr::UNSPECIFIED);
    let (http, echo, datagrams) = workload.namespace.enter(|| {
        io::Result::Ok((
            TcpListener::bind((any, HTTP))?,
            TcpListener::bind((any, ECHO))?,
            UdpSocket::bind((any, ECHO))?,
        ))
    })??;
    let name = workload.name.clone();
    thread::spawn(move || serve_each(&http, &name, serve_http));
    let name = workload.name.clone();
    thread::spawn(move || {
        serve_each(&echo, &name, |stream| io::copy(&mut &stream, &mut &stream).map(drop));
    });
    thread::spawn(move || {
        let mut bytes = [0; 2048];
        while let Ok((read, peer)) = datagrams.recv_from(&mut bytes) {
            let _ = datagrams.send_to(&bytes[..read], peer);
        }
    });
    Ok(())
}

fn serve_each(listener: &TcpListener, name: &str, serve: fn(TcpStream) -> io::Result<()>) {
    for stream in listener.incoming().flatten() {
        let serve = move || stream.set_nodelay(true).and_then(|()| serve(stream));
        // Without a thread the connection is closed, which its client reports.
        let _ = thread::Builder::new().name(name.to_owned()).spawn(serve);
    }
}

fn serve_http(stream: TcpStream) -> io::Result<()> {
    let mut lines = BufReader::new(stream);
    let mut line = String::new();
    while lines.read_line(&mut line)? > 0 {
        if line == "\r\n" {
            lines.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
        }
        line.clear();
    }
    Ok(())
}

/// Connects from a workload to a port of another.
pub(crate) fn connect(from: &Workload, to: &Workload, port: u16, patience: Duration) -> Result<TcpStream> {
    let to = SocketAddr::new(to.address, port);
    let stream = from.namespace.enter(|| TcpStream::connect_timeout(&to, patience))??;
    stream.set_read_timeout(Some(patience))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl HttpConnection {
    /// Connects from a workload to the HTTP server of another.
    pub(crate) fn open(from: &Workload, to: &Workload) -> Result<Self> {
        Ok(Self(BufReader::new(connect(from, to, HTTP, PATIENCE)?)))
    }

    /// Whether the other side closed the connection while it was idle.
    pub(crate) fn has_ended(&self) -> bool {
        let stream = self.0.get_ref();
        let peeked = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut [0]));
        let is_blocking_again = stream.set_nonblocking(false).is_ok();
        !is_blocking_again || !peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Sends a GET request: the status of the response.
    ///
    /// # Errors
    /// `UnexpectedEof` where the other side closed the connection before the response.
    pub(crate) fn fetch(&mut self, path: &str) -> io::Result<u16> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: server\r\n\r\n");
        self.0.get_mut().write_all(request.as_bytes())?;
        let (mut status, mut length, mut line) = (None, 0, String::new());
        loop {
            line.clear();
            if self.0.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let text = line.trim_end().to_ascii_lowercase();
            match text.split_once(": ") {
                Some(("content-length", value)) => length = value.parse().map_err(io::Error::other)?,
                _ if text.is_empty() => break,
                _ if status.is_none() => status = text.split(' ').nth(1).and_then(|code| code.parse().ok()),
                _ => {}
            }
        }
        self.0.read_exact(&mut vec![0; length])?;
        status.ok_or_else(|| io::Error::other("a response without a status"))
    }
}
