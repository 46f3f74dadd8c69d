//! Exchanges between pods that go on during a fault, and what they came to.
//!
//! An exchange is a message and its answer. It is lost if the right answer does not arrive within the flow's patience. Threads
//! of the test make the exchanges in the pods' network namespaces.

use super::pods::Pod;
use anyhow::{Context, Result, ensure};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The ports of the echoes, and of HTTP.
pub(super) const ECHO: u16 = 7;
pub(super) const HTTP: u16 = 80;
/// How long an exchange may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an attempt that policy denies is tried.
const DENIED: Duration = Duration::from_millis(500);
/// The time that flows have before and after what happens to them.
const QUIET: Duration = Duration::from_secs(3);
/// How many lost exchanges of a flow are printed.
const SHOWN: usize = 5;
/// Between two exchanges.
const PAUSE: Duration = Duration::from_millis(20);

/// A kind of exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Eight bytes each way on one TCP connection.
    Tcp,
    /// The same on a new TCP connection each.
    NewTcp,
    /// A datagram each way.
    Udp,
    /// Requests on one HTTP connection; every other one is denied by policy.
    Http,
    /// A request on a new HTTP connection each.
    NewHttp,
    /// A TCP connection that policy denies.
    Denied,
}

/// What the exchanges of a flow came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) exchanges: u64,
    /// Exchanges that took too long or failed while the network was cut.
    pub(super) excused: u64,
    pub(super) lost: Vec<String>,
    pub(super) slowest: Duration,
}

/// What all flows of a run share.
#[derive(Debug, Default)]
pub(super) struct Run {
    is_over: AtomicBool,
    /// While the network between the nodes is cut: exchanges between nodes that began since are excused.
    cut: Mutex<Cut>,
}

/// The latest cut of the network.
#[derive(Debug, Default)]
struct Cut {
    is_cut: bool,
    /// When the latest one ended.
    ended: Option<Instant>,
}

/// A flow: a client and a server.
#[derive(Clone)]
pub(super) struct Flow {
    pub(super) kind: Kind,
    pub(super) client: Pod,
    pub(super) server: Pod,
    /// Whether its packets pass between nodes that may be cut off.
    pub(super) may_be_cut: bool,
}

impl Kind {
    /// The kinds that policy allows.
    pub(super) const ALLOWED: [Self; 5] = [Self::Tcp, Self::NewTcp, Self::Udp, Self::Http, Self::NewHttp];
}

impl Run {
    /// The network between nodes is cut, or connected again.
    pub(super) fn set_cut(&self, is_cut: bool) {
        let mut cut = self.cut.lock().unwrap_or_else(PoisonError::into_inner);
        *cut = Cut { is_cut, ended: (!is_cut).then(Instant::now) };
    }

    /// Whether an exchange that began then met a cut.
    fn met_cut(&self, began: Instant) -> bool {
        let cut = self.cut.lock().unwrap_or_else(PoisonError::into_inner);
        cut.is_cut || cut.ended.is_some_and(|ended| began < ended)
    }

    /// Ends all flows.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }
}

/// Runs flows before, during and after what happens to them; an exchange that is lost or wrong is an error.
pub(super) fn exchange_during(
    flows: Vec<Flow>,
    run: &Arc<Run>,
    cause: &dyn Fn() -> Result<()>,
) -> Result<()> {
    let threads: Vec<_> = flows.into_iter().map(|flow| flow.start(run)).collect();
    thread::sleep(QUIET);
    let caused = cause();
    thread::sleep(QUIET);
    run.end();
    let mut wrong = Vec::new();
    let mut sum = Tally::default();
    for thread in threads {
        let (flow, tally) = thread.join().expect("a flow does not panic")?;
        let what = format!("{:?} from {} to {}", flow.kind, flow.client.name, flow.server.name);
        wrong.extend(tally.lost.iter().take(SHOWN).map(|lost| format!("  {what}: {lost}")));
        sum.exchanges += tally.exchanges;
        sum.excused += tally.excused;
        sum.lost.extend(tally.lost);
        if flow.kind != Kind::Denied {
            sum.slowest = sum.slowest.max(tally.slowest);
        }
    }
    println!(
        "cluster:   {} exchanges, {} lost or wrong, {} met a cut of the network; the slowest took {:.0} ms",
        sum.exchanges,
        sum.lost.len(),
        sum.excused,
        sum.slowest.as_secs_f64() * 1e3
    );
    caused?;
    ensure!(wrong.is_empty(), "{} exchanges lost or wrong\n{}", sum.lost.len(), wrong.join("\n"));
    Ok(())
}

impl Flow {
    /// Starts the exchanges.
    pub(super) fn start(self, run: &Arc<Run>) -> JoinHandle<Result<(Self, Tally)>> {
        let run = Arc::clone(run);
        let client = self.client.clone();
        client.start(move || {
            let tally = self.exchange(&run)?;
            Ok((self, tally))
        })
    }

    fn exchange(&self, run: &Run) -> Result<Tally> {
        let address = self.server.address(true)?;
        let at = |port| SocketAddr::new(address, port);
        match self.kind {
            Kind::Tcp => {
                let mut kept: Option<TcpStream> = None;
                self.repeat(run, |number| {
                    let mut stream = kept.take().map_or_else(|| connect(at(ECHO)), Ok)?;
                    echo(&mut stream, number)?;
                    kept = Some(stream);
                    Ok(())
                })
            }
            Kind::NewTcp => self.repeat(run, |number| echo(&mut connect(at(ECHO))?, number)),
            Kind::Udp => {
                let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
                socket.set_read_timeout(Some(PATIENCE))?;
                socket.connect(at(ECHO))?;
                self.repeat(run, |number| exchange_datagrams(&socket, number))
            }
            Kind::Http => {
                let mut kept = None;
                self.repeat(run, |number| {
                    let mut connection = kept.take().map_or_else(|| open(at(HTTP)), Ok)?;
                    request(&mut connection, number)?;
                    kept = Some(connection);
                    Ok(())
                })
            }
            Kind::NewHttp => self.repeat(run, |number| request(&mut open(at(HTTP))?, number)),
            Kind::Denied => self.repeat(run, |_| match TcpStream::connect_timeout(&at(ECHO), DENIED) {
                Ok(_) => Err(io::Error::other("a connection that policy denies was opened")),
                Err(_) => Ok(()),
            }),
        }
    }

    /// Repeats an exchange until the run is over.
    fn repeat(&self, run: &Run, mut exchange: impl FnMut(u64) -> io::Result<()>) -> Result<Tally> {
        let mut tally = Tally::default();
        let start = Instant::now();
        while !run.is_over.load(Ordering::SeqCst) {
            let began = Instant::now();
            let done = exchange(tally.exchanges);
            tally.exchanges += 1;
            // A denied attempt that succeeds is wrong whatever the network does.
            let is_excused = self.may_be_cut && self.kind != Kind::Denied && run.met_cut(began);
            match done {
                _ if is_excused => tally.excused += 1,
                Ok(()) => tally.slowest = tally.slowest.max(began.elapsed()),
                Err(error) => tally.lost.push(format!(
                    "exchange {} after {:.1} s: {error} (after {:?})",
                    tally.exchanges,
                    start.elapsed().as_secs_f32(),
                    began.elapsed()
                )),
            }
            thread::sleep(PAUSE);
        }
        Ok(tally)
    }
}

fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends eight bytes and receives them again.
fn echo(stream: &mut TcpStream, number: u64) -> io::Result<()> {
    let (sent, mut received) = (number.to_be_bytes(), [0; 8]);
    stream.write_all(&sent)?;
    stream.read_exact(&mut received)?;
    expect(&sent, &received)
}

fn exchange_datagrams(socket: &UdpSocket, number: u64) -> io::Result<()> {
    let (sent, mut received) = (number.to_be_bytes(), [0; 8]);
    socket.send(&sent)?;
    // The answer of an exchange that was given up may come late.
    while socket.recv(&mut received)? == 8 && u64::from_be_bytes(received) < number {}
    expect(&sent, &received)
}

fn expect(sent: &[u8], received: &[u8]) -> io::Result<()> {
    if sent == received { Ok(()) } else { Err(io::Error::other("another message came back")) }
}

fn open(to: SocketAddr) -> io::Result<BufReader<TcpStream>> {
    connect(to).map(BufReader::new)
}

/// Sends a request, in turn one that policy allows and one that it denies, and checks the status of the response.
fn request(connection: &mut BufReader<TcpStream>, number: u64) -> io::Result<()> {
    let (path, expected) = if number.is_multiple_of(2) { ("/public", "200") } else { ("/private", "403") };
    connection.get_mut().write_all(format!("GET {path} HTTP/1.1\r\nHost: server\r\n\r\n").as_bytes())?;
    let (mut status, mut length, mut line) = (None, 0, String::new());
    loop {
        line.clear();
        if connection.read_line(&mut line)? == 0 {
            return Err(io::Error::other(format!("the connection ended before the response to GET {path}")));
        }
        let text = line.trim_end().to_ascii_lowercase();
        match text.split_once(": ") {
            Some(("content-length", value)) => length = value.parse().map_err(io::Error::other)?,
            _ if text.is_empty() => break,
            _ if status.is_none() => status = text.split(' ').nth(1).map(str::to_owned),
            _ => {}
        }
    }
    connection.read_exact(&mut vec![0; length])?;
    match status {
        Some(status) if status == expected => Ok(()),
        status => Err(io::Error::other(format!("GET {path}: status {}", status.unwrap_or_default()))),
    }
}

/// Starts the servers of a pod: echoes over TCP and UDP, and HTTP. Those that run there already, for an earlier run, stay.
pub(super) fn serve(pod: &Pod) -> Result<()> {
    let started = pod.start(|| {
        let any = IpAddr::from(Ipv6Addr::UNSPECIFIED);
        let echoes = match TcpListener::bind((any, ECHO)) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Ok(()),
            bound => bound?,
        };
        let http = TcpListener::bind((any, HTTP))?;
        let datagrams = UdpSocket::bind((any, ECHO))?;
        thread::spawn(move || serve_each(&echoes, |stream| io::copy(&mut &stream, &mut &stream).map(drop)));
        thread::spawn(move || serve_each(&http, serve_http));
        thread::spawn(move || {
            let mut bytes = [0; 2048];
            while let Ok((read, peer)) = datagrams.recv_from(&mut bytes) {
                // A client that has gone needs no answer.
                let _ = datagrams.send_to(&bytes[..read], peer);
            }
        });
        Ok(())
    });
    started.join().expect("a server does not panic").with_context(|| format!("the servers of {}", pod.name))
}

fn serve_each(listener: &TcpListener, serve: fn(TcpStream) -> io::Result<()>) {
    for stream in listener.incoming().flatten() {
        thread::spawn(move || stream.set_nodelay(true).and_then(|()| serve(stream)));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_that_began_before_the_end_of_a_cut_met_it() {
        let run = Run::default();
        let before = Instant::now();
        assert!(!run.met_cut(before));
        run.set_cut(true);
        assert!(run.met_cut(before) && run.met_cut(Instant::now()));
        run.set_cut(false);
        assert!(run.met_cut(before));
        assert!(!run.met_cut(Instant::now() + Duration::from_millis(1)));
    }
}
