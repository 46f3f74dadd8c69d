//! A proxy in front of the API server with the faults of API servers: requests are answered with errors, and streams end.
//!
//! It presents the API server's own certificate, so that its clients notice no difference.

use super::links;
use super::plan::{Machine, PLANE, Plan};
use anyhow::{Context, Result};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// The port of the proxy, at the address of the API server.
pub(super) const PORT: u16 = 6444;
const SERVER_PORT: u16 = 6443;
/// The longest head of a request.
const MAX_HEAD: usize = 65_536;

/// What the proxy does with requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// Every watch is too old: by the status of the answer and by an event of the stream, in turn.
    Expired,
    /// Every request is refused; the client is to try again after this number of seconds.
    Busy(Option<u32>),
    /// Every request fails with 500, 502, 503 or 504, in turn.
    Failing,
    /// Connections end without an answer.
    Closed,
}

/// A running proxy; it lasts as long as this process.
#[derive(Clone)]
pub(super) struct FaultProxy(Arc<Shared>);

struct Shared {
    fault: Mutex<Fault>,
    requests: AtomicUsize,
    /// The connections of clients whose requests are forwarded.
    streams: Mutex<Vec<TcpStream>>,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

type Downstream = StreamOwned<ServerConnection, TcpStream>;

impl FaultProxy {
    /// Starts the proxy in the network namespace of the plane.
    pub(super) fn start(plan: &Plan) -> Result<Self> {
        let shared = Arc::new(Shared::new(plan)?);
        let network = File::open(links::namespace_path(&plan.name, Machine::Plane))?;
        let accepting = Arc::clone(&shared);
        let bound = thread::spawn(move || -> Result<()> {
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
            let listener = TcpListener::bind((PLANE[0], PORT))?;
            // Threads stay in the namespace of the thread that starts them.
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let shared = Arc::clone(&accepting);
                    thread::spawn(move || shared.serve(stream));
                }
            });
            Ok(())
        });
        bound.join().expect("the thread does not panic").context("the fault proxy cannot listen")?;
        Ok(Self(shared))
    }

    /// Sets what happens with requests from now on, and returns the number of requests since the last call.
    pub(super) fn set(&self, fault: Fault) -> usize {
        *self.0.fault() = fault;
        self.0.requests.swap(0, Ordering::SeqCst)
    }

    /// Ends all forwarded connections in the middle.
    pub(super) fn drop_streams(&self) {
        for stream in self.0.streams().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn new(plan: &Plan) -> Result<Self> {
        let certificate = plan.name.certificate();
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_file_iter(&certificate)?.collect::<Result<_, _>>()?;
        let key = PrivateKeyDer::from_pem_file(certificate.with_extension("key"))?;
        let mut roots = RootCertStore::empty();
        chain.iter().try_for_each(|certificate| roots.add(certificate.clone()))?;
        let server = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
        let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Self {
            fault: Mutex::new(Fault::None),
            requests: AtomicUsize::new(0),
            streams: Mutex::default(),
            server: Arc::new(server),
            client: Arc::new(client),
        })
    }

    fn fault(&self) -> MutexGuard<'_, Fault> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn streams(&self) -> MutexGuard<'_, Vec<TcpStream>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves one request. A client that ends its connection is no error.
    fn serve(&self, stream: TcpStream) {
        let Ok(connection) = ServerConnection::new(Arc::clone(&self.server)) else { return };
        let mut client = StreamOwned::new(connection, stream);
        if let Ok(Some(request)) = read_request(&mut client) {
            let _ = self.answer(&mut client, &request);
        }
        client.conn.send_close_notify();
        let _ = client.conn.complete_io(&mut client.sock);
        let _ = client.sock.shutdown(Shutdown::Both);
    }

    fn answer(&self, client: &mut Downstream, request: &[u8]) -> io::Result<()> {
        let number = self.requests.fetch_add(1, Ordering::SeqCst);
        let fault = *self.fault();
        let is_watch = request
            .split(|byte| *byte == b'\n')
            .next()
            .is_some_and(|line| String::from_utf8_lossy(line).contains("watch=true"));
        match fault {
            Fault::Expired if is_watch && number.is_multiple_of(2) => client.write_all(&status(410, None)),
            Fault::Expired if is_watch => client.write_all(EXPIRED_EVENT.as_bytes()),
            Fault::Busy(seconds) => client.write_all(&status(429, seconds)),
            Fault::Failing => client.write_all(&status([500, 502, 503, 504][number % 4], None)),
            Fault::Closed => Ok(()),
            Fault::None | Fault::Expired => self.forward(client, request),
        }
    }

    fn forward(&self, client: &mut Downstream, request: &[u8]) -> io::Result<()> {
        let stream = TcpStream::connect((PLANE[0], SERVER_PORT))?;
        self.streams().extend([stream.try_clone()?, client.sock.try_clone()?]);
        let name = ServerName::try_from(PLANE[0]).map_err(io::Error::other)?;
        let connection = ClientConnection::new(Arc::clone(&self.client), name).map_err(io::Error::other)?;
        let mut server = StreamOwned::new(connection, stream);
        server.write_all(request)?;
        let mut bytes = vec![0; 65_536];
        loop {
            let count = server.read(&mut bytes)?;
            if count == 0 {
                return Ok(());
            }
            client.write_all(&bytes[..count])?;
        }
    }
}

/// A stream whose first event is that its version is too old.
const EXPIRED_EVENT: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n\
    {\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":410,\"reason\":\"Expired\",\"message\":\"too old resource version\"}}\n";

/// An answer with an error.
fn status(code: u16, retry_after: Option<u32>) -> Vec<u8> {
    let body = format!("{{\"kind\":\"Status\",\"code\":{code},\"message\":\"fault {code}\"}}");
    let wait = retry_after.map_or(String::new(), |seconds| format!("Retry-After: {seconds}\r\n"));
    let length = body.len();
    format!(
        "HTTP/1.1 {code} Fault\r\n{wait}Content-Type: application/json\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Reads a request with its body, and makes it the only one of its connection; none if the connection ends before.
fn read_request(client: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let (mut bytes, mut part) = (Vec::new(), vec![0; 16_384]);
    let head = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        let count = client.read(&mut part)?;
        if count == 0 || bytes.len() > MAX_HEAD {
            return Ok(None);
        }
        bytes.extend_from_slice(&part[..count]);
    };
    let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let header = |line: &str, name: &str| {
        line.split_once(':')
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().to_owned())
    };
    let length = text.lines().find_map(|line| header(line, "content-length"));
    let length: usize = length.and_then(|length| length.parse().ok()).unwrap_or_default();
    while bytes.len() < head + length {
        let count = client.read(&mut part)?;
        if count == 0 {
            return Ok(None);
        }
        bytes.extend_from_slice(&part[..count]);
    }
    let kept = text.lines().filter(|line| !line.is_empty() && header(line, "connection").is_none());
    let mut request: String = kept.map(|line| format!("{line}\r\n")).collect();
    request.push_str("Connection: close\r\n\r\n");
    let mut request = request.into_bytes();
    request.extend_from_slice(&bytes[head..head + length]);
    Ok(Some(request))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_becomes_the_only_one_of_its_connection() {
        let request =
            "POST /x?watch=true HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}";
        let read = read_request(&mut request.as_bytes()).unwrap().unwrap();
        let expected =
            "POST /x?watch=true HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
        assert_eq!(String::from_utf8(read).unwrap(), expected);
        assert!(read_request(&mut &b"GET / HTTP/1.1\r\n"[..]).unwrap().is_none());
    }

    #[test]
    fn an_error_has_the_wait_that_the_client_is_to_obey() {
        let text = String::from_utf8(status(429, Some(3))).unwrap();
        assert!(text.starts_with("HTTP/1.1 429 ") && text.contains("\r\nRetry-After: 3\r\n"), "{text}");
        assert!(!String::from_utf8(status(500, None)).unwrap().contains("Retry-After"));
    }
}
