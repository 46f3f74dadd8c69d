//! TCP between the two workloads of a set-up: round trips, bytes and connections per second.

use crate::machine::{Places, stay_on};
use crate::setup::{ALLOWED_PORT, SERVER, Setup};
use anyhow::{Context, Result};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::time::{ClockId, clock_gettime};
use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Nothing here takes this long unless it is lost.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes that are written and read at once.
const CHUNK: usize = 128 * 1024;
/// Events that are kept, as many as the agent keeps.
const KEPT: usize = 9000;

/// What client and server do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TrafficPattern {
    /// One byte there and one back, on one connection.
    RoundTrips,
    /// As many bytes as possible one way, on one connection.
    Bytes,
    /// Connections that the server closes at once, one after another.
    Connections,
}

/// What the server counted, and when it was done.
struct Served {
    count: u64,
    until: Instant,
}

impl TrafficPattern {
    /// The pattern with this name on the command line.
    pub(crate) fn from_option(name: &str) -> Option<Self> {
        match name {
            "round-trips" => Some(Self::RoundTrips),
            "bytes" => Some(Self::Bytes),
            "connections" => Some(Self::Connections),
            _ => None,
        }
    }

    /// What is counted, for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::RoundTrips => "Round trips of one byte",
            Self::Bytes => "Bytes one way",
            Self::Connections => "Connections, made and closed",
        }
    }

    /// The unit of the figure, and the factor from the count to it.
    pub(crate) fn unit(self) -> (&'static str, f64) {
        match self {
            Self::RoundTrips | Self::Connections => ("per second", 1.0),
            Self::Bytes => ("Mbit per second", 8e-6),
        }
    }
}

/// What a set-up carried, and what that cost.
#[derive(Clone, Copy)]
pub(crate) struct Carried {
    /// What arrived per second.
    pub(crate) rate: f64,
    /// Seconds of CPU time for each unit that arrived, of client, server and the reader of events together.
    pub(crate) cost: f64,
}

/// Runs a pattern of traffic for a while.
pub(crate) fn measure(
    setup: &Setup,
    pattern: TrafficPattern,
    places: Places,
    time: Duration,
) -> Result<Carried> {
    let before = cpu_time();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| read_events(setup, &over));
        let server = scope.spawn(|| {
            stay_on(places.server)?;
            serve(pattern, &setup.listener, &over)
        });
        let call = || {
            stay_on(places.client)?;
            call(pattern, time, &over)
        };
        let began = setup.client.namespace.enter(call);
        // The client has ended, with or without an error: stop the server and the reader.
        over.store(true, Ordering::Relaxed);
        let served = server.join().expect("the server does not panic");
        reader.join().expect("the reader does not panic").context("reading events")?;
        let (began, served) = (began?.context("the client")?, served.context("the server")?);
        let rate = served.count as f64 / served.until.duration_since(began).as_secs_f64();
        Ok(Carried { rate, cost: (cpu_time() - before) / served.count as f64 })
    })
}

/// Seconds of CPU time that this process has taken.
fn cpu_time() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// Does the client's part; gives the time of its first act.
fn call(pattern: TrafficPattern, time: Duration, over: &AtomicBool) -> io::Result<Instant> {
    let address = SocketAddr::new(SERVER[0], ALLOWED_PORT);
    if pattern == TrafficPattern::Connections {
        let began = Instant::now();
        while began.elapsed() < time {
            await_end(TcpStream::connect(address)?)?;
        }
        over.store(true, Ordering::Relaxed);
        await_end(TcpStream::connect(address)?)?;
        return Ok(began);
    }
    let mut stream = patient(TcpStream::connect(address)?)?;
    let began = Instant::now();
    let chunk = vec![0; if pattern == TrafficPattern::Bytes { CHUNK } else { 1 }];
    while began.elapsed() < time {
        stream.write_all(&chunk)?;
        if pattern == TrafficPattern::RoundTrips {
            stream.read_exact(&mut [0])?;
        }
    }
    stream.shutdown(Shutdown::Write)?;
    await_end(stream)?;
    Ok(began)
}

/// Does the server's part, until the client is done.
fn serve(pattern: TrafficPattern, listener: &TcpListener, over: &AtomicBool) -> io::Result<Served> {
    set_socket_timeout(listener, Timeout::Recv, Some(PATIENCE))?;
    let mut count = 0;
    if pattern == TrafficPattern::Connections {
        // The server closes first, so that the port that lingers is the server's and the client has enough of them.
        loop {
            let (stream, _) = listener.accept()?;
            // Asked before the connection is closed, on which the client waits: the last one is never missed.
            let is_last = over.load(Ordering::Relaxed);
            drop(stream);
            if is_last {
                return Ok(Served { count, until: Instant::now() });
            }
            count += 1;
        }
    }
    let mut stream = patient(listener.accept()?.0)?;
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = stream.read(&mut chunk)?;
        if read == 0 {
            return Ok(Served { count, until: Instant::now() });
        }
        if pattern == TrafficPattern::RoundTrips {
            stream.write_all(&chunk[..read])?;
        }
        count += read as u64;
    }
}

/// A connection that sends at once, and that fails rather than wait for ever.
fn patient(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Waits until the other side has closed the connection, then closes it too.
fn await_end(mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    if stream.read(&mut [0])? == 0 { Ok(()) } else { Err(io::Error::other("unexpected bytes at the end")) }
}

/// Reads and keeps what the programs report, as the agent does on a node.
fn read_events(setup: &Setup, over: &AtomicBool) -> io::Result<()> {
    let Some(loaded) = &setup.loaded else { return Ok(()) };
    let mut events = loaded.events()?;
    let signal = events.signal()?;
    let mut kept = VecDeque::with_capacity(KEPT);
    while !over.load(Ordering::Relaxed) {
        signal.wait(Some(Duration::from_millis(20)))?;
        for event in events.batch() {
            kept.truncate(KEPT - 1);
            kept.push_front(event);
        }
    }
    Ok(())
}
