//! Events that the proxy's process sends to the agent's: datagrams on a unix socket.
//!
//! The proxy never blocks: without an agent or space in the socket's buffer the event is lost, and counted.

use crate::occupancy::OccupancyReport;
use crate::proxy_group;
use crate::storage::{self, DeviceInode};
use flow::{FlowVerdict, TrafficDirection};
use proxy::RequestEvent;
use serde::{Deserialize, Serialize};
use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

/// Maximum size of a datagram: a request's head has at most 60 KiB, and JSON escapes some of its bytes.
const LARGEST: usize = 192 * 1024;

/// How often the socket is checked if nothing is received. The proxy reports its occupancy more often.
const CHECK: Duration = Duration::from_secs(2);

/// The proxy's end of the socket.
#[derive(Debug)]
pub(crate) struct EventSender {
    socket: UnixDatagram,
    to: PathBuf,
    lost: AtomicU64,
}

/// The agent's end of the socket.
#[derive(Debug)]
pub(crate) struct EventReceiver {
    socket: UnixDatagram,
    path: PathBuf,
    identity: DeviceInode,
    buffer: Vec<u8>,
}

/// A message of the proxy.
#[derive(Debug)]
pub(crate) enum ProxyMessage {
    /// The occupancy of its connections.
    Occupancy(OccupancyReport),
    /// A request with its verdict.
    Request {
        /// The request as it was sent; a reader parses it.
        bytes: Arc<[u8]>,
        /// Whether it was forwarded.
        forwarded: bool,
        /// Events that the proxy has lost since it started.
        lost: u64,
    },
}

/// A request with its verdict, as it is sent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RequestMessage {
    /// Nanoseconds since 1970.
    wall: u64,
    client: SocketAddr,
    server: SocketAddr,
    source_identity: u32,
    destination_identity: u32,
    method: String,
    path: String,
    host: String,
    status: Option<u16>,
    /// Proxies of earlier releases do not send it.
    #[serde(default = "http1")]
    protocol: String,
    #[serde(default)]
    reason: String,
    forwarded: bool,
    ingress: bool,
    rule: u32,
    latency: u64,
    /// Events lost before this one, since the proxy started.
    lost: u64,
}

impl EventSender {
    /// Sends to the socket at this path, whenever it is bound.
    pub(crate) fn new(to: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, to: to.to_path_buf(), lost: AtomicU64::new(0) })
    }
}

impl EventSender {
    /// Sends the occupancy; a failure is ignored, since another report follows.
    pub(crate) fn send_occupancy(&self, report: OccupancyReport) {
        let sent = serde_json::to_vec(&report)
            .map_err(io::Error::other)
            .and_then(|bytes| self.socket.send_to(&bytes, &self.to));
        if let Err(error) = sent {
            tracing::debug!(%error, "the occupancy could not be sent to the agent");
        }
    }
}

impl proxy::Events for EventSender {
    fn report(&self, event: RequestEvent) {
        let message = RequestMessage::new(&event, self.lost.load(Ordering::Relaxed));
        let sent = serde_json::to_vec(&message)
            .map_err(io::Error::other)
            .and_then(|bytes| self.socket.send_to(&bytes, &self.to));
        if sent.is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl EventReceiver {
    /// Binds the socket at this path.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let socket = UnixDatagram::bind(path)?;
        if let Err(error) = proxy_group::open_socket(path) {
            tracing::warn!(%error, "the proxy's user may not be able to send events");
        }
        // At each timeout the socket is checked: another program may have removed it.
        socket.set_read_timeout(Some(CHECK))?;
        let identity = storage::identity(path)?;
        Ok(Self { socket, path: path.to_path_buf(), identity, buffer: vec![0; LARGEST] })
    }

    /// Binds the socket again if the path does not lead to it any more.
    fn bind_again(&mut self) {
        if storage::identity(&self.path).ok() == Some(self.identity) {
            return;
        }
        // A failure is retried at the next timeout.
        if let Ok(receiver) = Self::bind(&self.path) {
            tracing::warn!(socket = %self.path.display(), "the socket of the proxy's events was gone and is bound again");
            *self = receiver;
        }
    }

    /// Waits for the next valid message.
    pub(crate) fn receive(&mut self) -> io::Result<ProxyMessage> {
        loop {
            let length = match self.socket.recv(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.bind_again();
                    continue;
                }
                received => received?,
            };
            let bytes = &self.buffer[..length];
            return Ok(match serde_json::from_slice(bytes) {
                Ok(report) => ProxyMessage::Occupancy(report),
                Err(_) => request(bytes),
            });
        }
    }
}

/// A request, of which only the outline is parsed.
fn request(bytes: &[u8]) -> ProxyMessage {
    #[derive(Default, Deserialize)]
    struct Outline {
        forwarded: bool,
        lost: u64,
    }
    let Outline { forwarded, lost } = serde_json::from_slice(bytes).unwrap_or_default();
    ProxyMessage::Request { bytes: bytes.into(), forwarded, lost }
}

impl RequestMessage {
    /// Parses the bytes as they were sent.
    pub(crate) fn parse(bytes: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(bytes)
    }

    fn new(event: &RequestEvent, lost: u64) -> Self {
        let decided = event.decisions.last();
        Self {
            wall: event.time.duration_since(UNIX_EPOCH).map_or(0, nanoseconds),
            client: event.client,
            server: event.server,
            source_identity: event.source_identity,
            destination_identity: event.destination_identity,
            method: event.method.clone(),
            path: event.path.clone(),
            host: event.host.clone(),
            status: event.status,
            protocol: event.protocol.clone().into_owned(),
            reason: event.reason.to_owned(),
            forwarded: event.verdict == proxy::RequestVerdict::Forward,
            ingress: decided
                .is_none_or(|decision| decision.applied.direction == abi::policy::Direction::Ingress),
            rule: decided.map_or(0, |decision| decision.applied.rule),
            latency: nanoseconds(event.latency),
            lost,
        }
    }

    /// Converts the request for a flow, with a clock that counts from `epoch` nanoseconds since 1970.
    pub(crate) fn into_request(self, epoch: u64) -> flow::ProxiedRequest {
        flow::ProxiedRequest {
            time: self.wall.saturating_sub(epoch),
            verdict: if self.forwarded { FlowVerdict::Forwarded } else { FlowVerdict::Dropped },
            source: self.client,
            destination: self.server,
            source_identity: self.source_identity,
            destination_identity: self.destination_identity,
            endpoint: 0,
            direction: if self.ingress { TrafficDirection::Ingress } else { TrafficDirection::Egress },
            rule: self.rule,
            method: self.method,
            path: self.path,
            host: self.host,
            protocol: self.protocol,
            reason: self.reason,
            status: self.status,
            latency: Some(Duration::from_nanos(self.latency)),
        }
    }
}

fn http1() -> String {
    "HTTP/1.1".into()
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
