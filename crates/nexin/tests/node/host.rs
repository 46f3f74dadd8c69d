//! A workload of a test's node: its server, and its requests to others.

use super::eventually;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;
use workload::NetworkNamespace;

/// The timeout for a response that may not come.
const PATIENCE: Duration = Duration::from_millis(700);

/// A workload and its network namespace.
pub(crate) struct Host {
    pub(crate) namespace: NetworkNamespace,
    pub(crate) addresses: Vec<IpAddr>,
}

/// An open connection that sends one request after another.
pub(crate) struct Conversation(BufReader<TcpStream>);

impl Host {
    /// Runs a function in the workload's network namespace.
    #[allow(dead_code, reason = "not every test that has a bed sends bytes of its own")]
    pub(crate) fn enter<T: Send>(&self, run: impl FnOnce() -> T + Send) -> T {
        self.namespace.enter(run).unwrap()
    }

    /// Responds to HTTP requests on port 80, in both families, with a name.
    pub(crate) fn serve(&self, name: &str) {
        let listener = self.namespace.enter(|| TcpListener::bind("[::]:80")).unwrap().unwrap();
        let name = name.to_string();
        thread::spawn(move || listener.incoming().flatten().for_each(|stream| serve(stream, name.clone())));
    }

    /// Connects to port 80 over IPv4; none if there is no connection.
    pub(crate) fn connect(&self, to: &Host) -> Option<Conversation> {
        self.connect_to(SocketAddr::new(to.addresses[0], 80))
    }

    pub(crate) fn connect_to(&self, to: SocketAddr) -> Option<Conversation> {
        let stream = self.namespace.enter(|| TcpStream::connect_timeout(&to, PATIENCE)).unwrap().ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Some(Conversation(BufReader::new(stream)))
    }

    /// A connection for any bytes; none if there is no connection.
    #[allow(dead_code, reason = "not every test that has a bed sends bytes of its own")]
    pub(crate) fn stream_to(&self, to: SocketAddr) -> Option<TcpStream> {
        let stream = self.enter(|| TcpStream::connect_timeout(&to, PATIENCE)).ok()?;
        stream.set_read_timeout(Some(2 * PATIENCE)).ok()?;
        Some(stream)
    }

    /// The status of the expected response to a GET, with a timeout that is enough for a machine under load.
    pub(crate) fn reaches(&self, to: &Host, path: &str) -> Option<u16> {
        eventually(|| self.fetch(to, path))
    }

    /// The status of the response to a GET; none if there is no connection or no response.
    pub(crate) fn fetch(&self, to: &Host, path: &str) -> Option<u16> {
        self.connect(to)?.fetch(path)
    }
}

impl Conversation {
    /// The client's port.
    #[allow(dead_code, reason = "not every test that has a bed looks for a connection's flows")]
    pub(crate) fn local_port(&self) -> u16 {
        self.0.get_ref().local_addr().unwrap().port()
    }

    /// The status of the response to a GET; none if there is no response.
    pub(crate) fn fetch(&mut self, path: &str) -> Option<u16> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
        self.0.get_mut().write_all(request.as_bytes()).ok()?;
        let mut status = String::new();
        self.0.read_line(&mut status).ok()?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).ok()?;
            match line.trim_end().to_ascii_lowercase().split_once(": ") {
                Some(("content-length", value)) => length = value.parse().ok()?,
                None if line.trim_end().is_empty() => break,
                _ => {}
            }
        }
        self.0.read_exact(&mut vec![0; length]).ok()?;
        status.split(' ').nth(1)?.parse().ok()
    }
}

fn serve(stream: TcpStream, name: String) {
    thread::spawn(move || {
        let mut lines = BufReader::new(stream);
        let mut line = String::new();
        while lines.read_line(&mut line).is_ok_and(|read| read > 0) {
            if line.trim_end().is_empty() {
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
                if lines.get_mut().write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
            line.clear();
        }
    });
}
