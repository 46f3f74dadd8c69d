//! Agent and proxy end over and over while traffic goes on.

use crate::case::{Recorder, scaled};
use crate::node::{Node, Workload, kill};
use crate::traffic::{ECHO, HttpConnection, PATIENCE, connect, serve};
use anyhow::Result;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How many ends at full scale.
const ENDS: usize = 200;
/// Between two exchanges of one kind.
const PAUSE: Duration = Duration::from_millis(8);
/// Between a start and the next end.
const REST: Duration = Duration::from_millis(100);
/// How long an exchange that policy denies is tried.
const DENIED: Duration = Duration::from_millis(300);

/// `client` may use the echoes of `server` and send it GET /public; `stranger` may not.
const POLICY: &str = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: server}\nspec:\n  \
    endpointSelector: {matchLabels: {app: server}}\n  ingress:\n  - fromEndpoints:\n    - matchLabels: {app: client}\n    \
    toPorts:\n    - ports: [{port: \"7\", protocol: ANY}]\n    - ports: [{port: \"80\", protocol: TCP}]\n      rules: \
    {http: [{method: GET, path: /public}]}\n";

/// What exchanges of one kind came to.
#[derive(Debug, Default)]
struct Tally {
    exchanges: u64,
    /// Exchanges without the right answer.
    lost: u64,
    /// HTTP connections that ended before a response, or were refused: a killed proxy closes those that it has. The request is
    /// repeated on a new connection, and counts as one exchange.
    closed: u64,
    slowest: Duration,
}

/// Ends agent and proxy in turn, and starts the agent again; the agent starts the proxy.
pub(crate) fn restarts(node: &mut Node, scale: f64, record: &mut Recorder<'_>) -> Result<()> {
    node.start()?;
    let own = std::process::id();
    let (server, client, stranger) =
        (node.workload("server", own)?, node.workload("client", own)?, node.workload("stranger", own)?);
    serve(&server)?;
    let file = node.directory.join("policy.yaml");
    fs::write(&file, POLICY)?;
    node.apply(&file)?;
    let is_over = AtomicBool::new(false);
    let (ended, tallies, passed) = thread::scope(|scope| {
        let tcp = scope.spawn(|| exchange_tcp(&client, &server, &is_over));
        let http = scope.spawn(|| exchange_http(&client, &server, &is_over));
        let udp = scope.spawn(|| exchange_udp(&client, &server, &is_over));
        let denied = scope.spawn(|| try_denied(&stranger, &server, &is_over));
        let ended = (0..scaled(ENDS, scale)).try_for_each(|turn| {
            match turn % 3 {
                0 => node.stop("-KILL").and_then(|()| node.start().map(drop))?,
                1 => node.stop("-TERM").and_then(|()| node.start().map(drop))?,
                _ => kill("-KILL", node.proxy()?)?,
            }
            thread::sleep(REST);
            anyhow::Ok(())
        });
        // The last request waits for a proxy that was killed last.
        thread::sleep(Duration::from_secs(2));
        is_over.store(true, Ordering::Relaxed);
        let tallies = [tcp, http, udp].map(|one| one.join().expect("an exchange does not panic"));
        (ended, tallies, denied.join().expect("an attempt does not panic"))
    });
    ended?;
    let tallies = tallies.into_iter().collect::<Result<Vec<_>>>()?;
    eprintln!("TCP, HTTP, UDP: {tallies:?}");
    let sum = |count: fn(&Tally) -> u64| tallies.iter().map(count).sum::<u64>() as f64;
    record("exchanges", sum(|tally| tally.exchanges));
    record("exchanges lost or wrong", sum(|tally| tally.lost));
    record("HTTP connections that a killed proxy closed or refused", sum(|tally| tally.closed));
    record("exchanges that policy denies and that passed", passed as f64);
    let slowest = tallies.iter().map(|tally| tally.slowest).max().unwrap_or_default();
    record("slowest exchange", slowest.as_secs_f64() * 1e3);
    Ok(())
}

impl Tally {
    /// Repeats an exchange until it is over; the exchange returns whether its answer was right.
    fn repeat(
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
            thread::sleep(PAUSE);
        }
        Ok(tally)
    }
}

/// Eight bytes each way on one connection; a connection that ended is opened anew.
fn exchange_tcp(from: &Workload, to: &Workload, is_over: &AtomicBool) -> Result<Tally> {
    let mut stream = connect(from, to, ECHO, PATIENCE)?;
    Tally::repeat(is_over, |_, number| {
        let (sent, mut received) = (number.to_be_bytes(), [0; 8]);
        let done = stream.write_all(&sent).and_then(|()| stream.read_exact(&mut received));
        if done.is_err() {
            stream = connect(from, to, ECHO, PATIENCE)?;
        }
        Ok(done.is_ok() && sent == received)
    })
}

fn exchange_udp(from: &Workload, to: &Workload, is_over: &AtomicBool) -> Result<Tally> {
    let any = IpAddr::from(Ipv4Addr::UNSPECIFIED);
    let socket = from.namespace.enter(|| UdpSocket::bind((any, 0)))??;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(SocketAddr::new(to.address, ECHO))?;
    Tally::repeat(is_over, |_, number| {
        let (sent, mut received) = (number.to_be_bytes(), [0; 8]);
        let done = socket.send(&sent).and_then(|_| socket.recv(&mut received));
        Ok(done.is_ok() && sent == received)
    })
}

/// Two requests in turn, one that policy allows and one that it denies, on one connection with keep-alive.
fn exchange_http(from: &Workload, to: &Workload, is_over: &AtomicBool) -> Result<Tally> {
    let mut connection = Some(HttpConnection::open(from, to)?);
    Tally::repeat(is_over, |tally, number| {
        let (path, expected) = if number % 2 == 0 { ("/public", 200) } else { ("/private", 403) };
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let open = match connection.take().map_or_else(|| HttpConnection::open(from, to), Ok) {
                Ok(open) => connection.insert(open),
                Err(_) => {
                    tally.closed += 1;
                    thread::sleep(PAUSE);
                    continue;
                }
            };
            match open.fetch(path) {
                Ok(status) => {
                    if status != expected {
                        eprintln!("GET {path} is answered with {status} instead of {expected}");
                    }
                    return Ok(status == expected);
                }
                // A connection that waited for the killed proxy to accept it ends, too.
                Err(error) if is_end(&error) => tally.closed += 1,
                Err(error) => {
                    eprintln!("GET {path} is not answered: {error}");
                    break;
                }
            }
            connection = None;
        }
        connection = None;
        Ok(false)
    })
}

/// Whether the other side closed the connection.
fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe)
}

/// Opens connections that policy denies: how many were opened.
fn try_denied(from: &Workload, to: &Workload, is_over: &AtomicBool) -> u64 {
    let mut passed = 0;
    while !is_over.load(Ordering::Relaxed) {
        passed += u64::from(connect(from, to, ECHO, DENIED).is_ok());
    }
    passed
}
