//! Exchanges that go on while agent and proxy end, and what they come to.
//!
//! An exchange is a message and its answer. It is lost if the right answer does not arrive within [`PATIENCE`]. A connection
//! may end only together with the proxy that carries it: a request on it that has no response yet is repeated on another
//! connection, as clients do with GET (RFC 9112, 9.3.1), and counts as repeated. Where no proxy ended, it is lost.

use crate::node::Workload;
use crate::traffic::{ECHO, HttpConnection, PATIENCE, connect};
use anyhow::Result;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Between two exchanges on one connection, and between two connections.
const PAUSE: Duration = Duration::from_millis(8);
const PAUSE_OF_CONNECTIONS: Duration = Duration::from_millis(16);
/// How long an attempt that policy denies is tried.
const DENIED: Duration = Duration::from_millis(300);

/// A kind of exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Eight bytes each way on one TCP connection.
    Tcp,
    /// The same on a new TCP connection each.
    NewTcp,
    /// A datagram each way.
    Udp,
    /// Requests on one HTTP connection.
    Http,
    /// A request on a new HTTP connection each.
    NewHttp,
}

/// What exchanges came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) exchanges: u64,
    /// Exchanges without the right answer.
    pub(crate) lost: u64,
    /// HTTP requests that had no response when their proxy ended.
    pub(crate) repeated: u64,
    /// HTTP connections that ended between two requests, together with their proxy.
    pub(crate) ended_idle: u64,
    pub(crate) slowest: Duration,
}

/// The ends of proxies: an odd number while one ends and the next one starts.
#[derive(Debug, Default)]
pub(crate) struct ProxyEnds(AtomicU64);

/// An end of a proxy; dropped when the next one serves.
pub(crate) struct ProxyEnd<'a>(&'a ProxyEnds);

/// An HTTP connection, and the number of ends of proxies when it was opened.
struct Opened {
    connection: HttpConnection,
    ends: u64,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] = [Self::Tcp, Self::NewTcp, Self::Udp, Self::Http, Self::NewHttp];

    /// Makes exchanges of this kind until it is over.
    pub(crate) fn exchange(
        self,
        ends: (&Workload, &Workload),
        proxies: &ProxyEnds,
        is_over: &AtomicBool,
    ) -> Result<Tally> {
        match self {
            Self::Tcp => exchange_tcp(ends, is_over),
            Self::NewTcp => exchange_on_new(ends, is_over),
            Self::Udp => exchange_udp(ends, is_over),
            Self::Http => exchange_http(ends, proxies, (PAUSE, true), is_over),
            Self::NewHttp => exchange_http(ends, proxies, (PAUSE_OF_CONNECTIONS, false), is_over),
        }
    }
}

impl Tally {
    /// Adds the exchanges of another thread.
    pub(crate) fn add(&mut self, other: &Self) {
        self.exchanges += other.exchanges;
        self.lost += other.lost;
        self.repeated += other.repeated;
        self.ended_idle += other.ended_idle;
        self.slowest = self.slowest.max(other.slowest);
    }

    /// Repeats an exchange until it is over; the exchange returns whether its answer was right.
    fn repeat(
        pause: Duration,
        is_over: &AtomicBool,
        mut exchange: impl FnMut(&mut Self, u64) -> Result<bool>,
    ) -> Result<Self> {
        let mut tally = Self::default();
        while !is_over.load(Ordering::Relaxed) {
            let began = Instant::now();
            let number = tally.exchanges;
            let is_right = exchange(&mut tally, number)?;
            tally.exchanges += 1;
            tally.lost += u64::from(!is_right);
            tally.slowest = tally.slowest.max(began.elapsed());
            thread::sleep(pause);
        }
        Ok(tally)
    }
}

impl ProxyEnds {
    /// A proxy is about to be ended.
    pub(crate) fn begin(&self) -> ProxyEnd<'_> {
        self.0.fetch_add(1, Ordering::SeqCst);
        ProxyEnd(self)
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    /// Whether a proxy that served at `then` may have ended by now.
    fn has_any_since(&self, then: u64) -> bool {
        then % 2 == 1 || self.count() != then
    }
}

impl Drop for ProxyEnd<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Sends eight bytes and receives them again.
fn echo(stream: &mut TcpStream, number: u64) -> io::Result<bool> {
    let (sent, mut received) = (number.to_be_bytes(), [0; 8]);
    stream.write_all(&sent)?;
    stream.read_exact(&mut received)?;
    Ok(sent == received)
}

/// Exchanges on one connection; one that ended is lost, and opened anew.
fn exchange_tcp((from, to): (&Workload, &Workload), is_over: &AtomicBool) -> Result<Tally> {
    let mut stream = connect(from, to, ECHO, PATIENCE)?;
    Tally::repeat(PAUSE, is_over, |_, number| {
        let done = echo(&mut stream, number);
        if done.is_err() {
            stream = connect(from, to, ECHO, PATIENCE)?;
        }
        Ok(done.unwrap_or(false))
    })
}

fn exchange_on_new((from, to): (&Workload, &Workload), is_over: &AtomicBool) -> Result<Tally> {
    Tally::repeat(PAUSE_OF_CONNECTIONS, is_over, |_, number| {
        let stream = connect(from, to, ECHO, PATIENCE);
        Ok(stream.is_ok_and(|mut stream| echo(&mut stream, number).unwrap_or(false)))
    })
}

fn exchange_udp((from, to): (&Workload, &Workload), is_over: &AtomicBool) -> Result<Tally> {
    let any = IpAddr::from(Ipv4Addr::UNSPECIFIED);
    let socket = from.namespace.enter(|| UdpSocket::bind((any, 0)))??;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(SocketAddr::new(to.address, ECHO))?;
    Tally::repeat(PAUSE, is_over, |_, number| {
        let (sent, mut received) = (number.to_be_bytes(), [0; 8]);
        let done = socket.send(&sent).and_then(|_| socket.recv(&mut received));
        Ok(done.is_ok() && sent == received)
    })
}

/// Requests in turn, one that policy allows and one that it denies, on one connection or on a new one each.
fn exchange_http(
    (from, to): (&Workload, &Workload),
    proxies: &ProxyEnds,
    (pause, keeps): (Duration, bool),
    is_over: &AtomicBool,
) -> Result<Tally> {
    let mut kept: Option<Opened> = None;
    Tally::repeat(pause, is_over, |tally, number| {
        let (path, expected) = if number % 2 == 0 { ("/public", 200) } else { ("/private", 403) };
        let until = Instant::now() + PATIENCE;
        let mut open = kept.take();
        while Instant::now() < until {
            if let Some(idle) = open.take_if(|idle| idle.connection.has_ended()) {
                if !proxies.has_any_since(idle.ends) {
                    return Ok(said(&format!("a connection ended before GET {path}, and no proxy did")));
                }
                tally.ended_idle += 1;
            }
            let mut used = match open.take().map_or_else(|| Opened::open((from, to), proxies), Ok) {
                Ok(used) => used,
                Err(error) => return Ok(said(&format!("no connection for GET {path}: {error:#}"))),
            };
            match used.connection.fetch(path) {
                Ok(status) if status == expected => {
                    kept = keeps.then_some(used);
                    return Ok(true);
                }
                Ok(status) => return Ok(said(&format!("GET {path} is answered with {status}"))),
                Err(error) if is_end(&error) && proxies.has_any_since(used.ends) => tally.repeated += 1,
                Err(error) => return Ok(said(&format!("GET {path} is not answered: {error}"))),
            }
        }
        Ok(said(&format!("GET {path} is not answered in time")))
    })
}

/// Prints why an exchange is lost.
fn said(why: &str) -> bool {
    eprintln!("{why}");
    false
}

impl Opened {
    fn open((from, to): (&Workload, &Workload), proxies: &ProxyEnds) -> Result<Self> {
        // Read first: a proxy that ends meanwhile is one that this connection may have.
        let ends = proxies.count();
        Ok(Self { connection: HttpConnection::open(from, to)?, ends })
    }
}

/// Whether the other side closed the connection.
fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe)
}

/// Opens connections that policy denies: the number of attempts, and of those that succeeded.
pub(crate) fn attempt_denied(
    (from, to): (&Workload, &Workload),
    port: u16,
    is_over: &AtomicBool,
) -> [u64; 2] {
    let mut counts = [0; 2];
    while !is_over.load(Ordering::Relaxed) {
        counts[0] += 1;
        counts[1] += u64::from(connect(from, to, port, DENIED).is_ok());
    }
    counts
}
