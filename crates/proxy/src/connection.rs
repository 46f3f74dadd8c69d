//! The I/O of one session: two sockets, a clock and a timer.

use crate::event::Events;
use crate::handle::Command;
use crate::judge::Judge;
use crate::network;
use crate::pipe::Pipe;
use crate::resources::Resources;
use crate::session::{Ending, Session};
use crate::slots::{ConnectionKey, Slot};
use socket2::SockRef;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWrite, Interest};
use tokio::net::TcpStream;
use tokio::time::{self, Sleep};

/// How often the linger time-out may start anew while the client still sends after the last response.
const LINGER_WAITS: u32 = 10;
/// Pause between two attempts to get a slot or a port.
const RETRY_DELAY: Duration = Duration::from_millis(20);
/// Interval of the check for a closed client while the proxy does not read from it.
const CLIENT_CHECK: Duration = Duration::from_secs(1);

/// Serves one connection until it ends.
pub(crate) async fn serve(
    resources: &Resources,
    events: Arc<dyn Events>,
    client: TcpStream,
    peer: SocketAddr,
) -> io::Result<()> {
    let server = resources.network.destination(&client)?;
    let mut judge = Judge::new(Arc::clone(&resources.policy), peer, server);
    let identity = judge.client_identity().unwrap_or_default();
    let key =
        ConnectionKey { identity, client: peer.ip().to_canonical(), server: server.ip().to_canonical() };
    let Some(slot) = acquire_slot(resources, key).await else {
        network::reset_on_close(&client);
        return Ok(());
    };
    let session = Session::new(resources.config, judge, events, Instant::now());
    let (addresses, shut) = ((peer, server), EndsForwarded::default());
    let (server, reevaluates, next_client_check) = (None, false, None);
    Connection { resources, session, client, server, addresses, shut, slot, reevaluates, next_client_check }
        .run()
        .await;
    Ok(())
}

/// Takes a slot, and waits for one if necessary; none after the time-out.
async fn acquire_slot(resources: &Resources, key: ConnectionKey) -> Option<Slot> {
    let until = Instant::now() + resources.config.slot_timeout;
    let mut waiting = None;
    loop {
        let limit = match resources.slots.take(key, Instant::now()) {
            Ok(slot) => return Some(slot),
            Err(limit) => limit,
        };
        waiting = waiting.or_else(|| resources.slots.wait());
        if waiting.is_none() || Instant::now() >= until {
            resources.slots.refuse(limit);
            tracing::debug!(client = %key.client, server = %key.server, ?limit, "no slot for a connection");
            return None;
        }
        time::sleep(RETRY_DELAY).await;
    }
}

struct Connection<'a> {
    resources: &'a Resources,
    session: Session,
    client: TcpStream,
    server: Option<TcpStream>,
    /// The addresses of client and server.
    addresses: (SocketAddr, SocketAddr),
    shut: EndsForwarded,
    slot: Slot,
    /// True where policy changed and the open exchange was not judged again yet.
    reevaluates: bool,
    /// When to check for a closed client, while the proxy does not read from it.
    next_client_check: Option<Instant>,
}

/// The directions of a tunnel whose end was forwarded.
#[derive(Default)]
struct EndsForwarded {
    client: bool,
    server: bool,
}

/// Why the task woke up.
enum Wakeup {
    Progress,
    Timer,
    Command,
}

impl Connection<'_> {
    async fn run(mut self) {
        let mut timer = pin!(time::sleep_until(self.session.deadline().into()));
        let waker = poll_fn(|context| Poll::Ready(context.waker().clone())).await;
        self.slot.handle.set_waker(&waker);
        let mut lingers = true;
        let mut now = Instant::now();
        loop {
            lingers &= !self.run_commands(now);
            self.session.advance(now);
            self.wake_when_rules_load(&waker, now);
            self.slot.handle.set_activity(self.session.activity(), now);
            if self.session.wants_server() {
                self.connect().await;
                now = Instant::now();
                continue;
            }
            match self.session.ending() {
                Some(Ending::Abort) => {
                    network::reset_on_close(&self.client);
                    break;
                }
                Some(Ending::Drain) if !self.session.to_client.is_pending() => break,
                _ => {}
            }
            let mut waited = false;
            let wakeup = poll_fn(|context| {
                let polled = self.poll(timer.as_mut(), context);
                waited |= polled.is_pending();
                polled
            });
            let wakeup = wakeup.await;
            // One reading of the clock for all that happens before the task waits again; the timer has read a later one.
            if waited || matches!(wakeup, Wakeup::Timer) {
                now = Instant::now();
            }
            match wakeup {
                Wakeup::Progress => self.session.note_progress(now),
                Wakeup::Command => {}
                Wakeup::Timer => self.timer_fired(now),
            }
        }
        if !self.session.is_complete()
            && let Some(server) = self.server.take()
        {
            network::reset_on_close(&server);
        }
        if self.session.ending() == Some(Ending::Drain) && lingers {
            self.linger().await;
        }
    }

    /// Runs the commands of the handle; returns true where the connection must close.
    fn run_commands(&mut self, now: Instant) -> bool {
        self.reevaluates |= self.slot.handle.take(Command::Reevaluate);
        self.reevaluates = self.reevaluates && !self.session.reevaluate(now);
        let closes = self.slot.handle.take(Command::Close);
        if closes {
            self.session.close_for_another(now);
        }
        closes
    }

    /// Registers for a wake-up where the session waits for rules.
    fn wake_when_rules_load(&mut self, waker: &Waker, now: Instant) {
        if self.reevaluates || self.session.waits_for_rules() {
            self.resources.policy.wake_when_rules_load(waker);
            // The rules may have loaded before the registration.
            self.reevaluates = self.reevaluates && !self.session.reevaluate(now);
            self.session.advance(now);
        }
    }

    /// True where the session waited for rules that are loaded now.
    fn rules_have_come(&mut self) -> bool {
        (self.reevaluates || self.session.waits_for_rules()) && self.session.rules_are_there()
    }

    /// Connects to the server with the client's address.
    async fn connect(&mut self) {
        let (client, server) = self.addresses;
        match time::timeout(self.resources.config.connect_timeout, self.connect_upstream(client, server))
            .await
        {
            Ok(Ok(stream)) => {
                let prepared =
                    network::prepare(SockRef::from(&stream), self.resources.config.unacknowledged_timeout);
                if let Err(error) = prepared {
                    tracing::debug!(%error, "keepalive is off, so a server that vanishes may not be noticed");
                }
                self.server = Some(stream);
                self.session.connected();
            }
            Ok(Err(error)) => {
                tracing::debug!(%client, %server, %error, "the server cannot be reached");
                self.session.unreachable("the server cannot be reached", Instant::now());
            }
            Err(_) => self.session.unreachable("the server does not answer", Instant::now()),
        }
    }

    /// Opens a connection to the server. The client may reuse its port while the last connection from that port still closes
    /// on the server's side; then the attempt is repeated for some milliseconds.
    async fn connect_upstream(&self, client: SocketAddr, server: SocketAddr) -> io::Result<TcpStream> {
        let until = Instant::now() + self.resources.config.connect_timeout / 2;
        let mut pause = Duration::from_millis(1);
        loop {
            match self.resources.network.socket(client, server)?.connect(server).await {
                Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable && Instant::now() < until => {}
                result => return result,
            }
            time::sleep(pause).await;
            pause = (2 * pause).min(RETRY_DELAY);
        }
    }

    /// Handles the timer: a deadline of the session, or the check for a closed client.
    fn timer_fired(&mut self, now: Instant) {
        if self.session.deadline() <= now {
            return self.session.time_out(now);
        }
        self.next_client_check = None;
        // The proxy does not read while its buffer is full, and so does not read the end; the kernel reports it.
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(Ok(ready)) = pin!(self.client.ready(Interest::READABLE)).poll(&mut context)
            && ready.is_read_closed()
        {
            self.session.client_gone(now);
        }
    }

    /// When the timer must fire.
    fn timer_due(&mut self) -> Instant {
        let deadline = self.session.deadline();
        let pipe = &self.session.to_server;
        if self.session.ending().is_some() || pipe.wants_input() || pipe.ended {
            self.next_client_check = None;
            return deadline;
        }
        deadline.min(*self.next_client_check.get_or_insert_with(|| Instant::now() + CLIENT_CHECK))
    }

    /// Moves bytes in both directions; ready after progress, a command or the timer.
    fn poll(&mut self, mut timer: Pin<&mut Sleep>, context: &mut Context<'_>) -> Poll<Wakeup> {
        if self.slot.handle.has_commands() || self.rules_have_come() {
            return Poll::Ready(Wakeup::Command);
        }
        // Both sides are polled in any case, because each registers for its own wake-up.
        let sent = [self.send_to_client(context), self.send_to_server(context)];
        if sent.contains(&true) {
            return Poll::Ready(Wakeup::Progress);
        }
        let received = [self.receive_from_client(context), self.receive_from_server(context)];
        if received.contains(&true) {
            return Poll::Ready(Wakeup::Progress);
        }
        let due = self.timer_due();
        // The timer is not moved to a later time: most requests end long before it fires, and moving it costs time.
        if timer.deadline().into_std() > due {
            timer.as_mut().reset(due.into());
        }
        while timer.as_mut().poll(context).is_ready() {
            if due <= Instant::now() {
                return Poll::Ready(Wakeup::Timer);
            }
            timer.as_mut().reset(due.into());
        }
        Poll::Pending
    }

    /// Sends bytes to the client; returns true after progress.
    fn send_to_client(&mut self, context: &mut Context<'_>) -> bool {
        let sent = send(&mut self.client, &mut self.session.to_client, context);
        let mut sent = self.unless_client_failed(sent);
        if self.session.is_tunnel() && self.session.to_client.ended {
            sent |= forward_end(&mut self.client, &self.session.to_client, &mut self.shut.client, context);
        }
        sent
    }

    /// Receives bytes from the client; returns true after progress.
    fn receive_from_client(&mut self, context: &mut Context<'_>) -> bool {
        if self.session.ending() == Some(Ending::Abort) {
            return false;
        }
        let received = receive(&mut self.client, &mut self.session.to_server, context);
        self.unless_client_failed(received)
    }

    /// The result, or progress where the connection to the client failed.
    fn unless_client_failed(&mut self, result: io::Result<bool>) -> bool {
        result.unwrap_or_else(|error| {
            tracing::debug!(client = %self.addresses.0, %error, "the connection to the client failed");
            self.session.client_failed(Instant::now());
            true
        })
    }

    /// Sends bytes to the server; returns true after progress.
    fn send_to_server(&mut self, context: &mut Context<'_>) -> bool {
        let Some(server) = self.server.as_mut().filter(|_| self.session.ending().is_none()) else {
            return false;
        };
        let mut sent = send(server, &mut self.session.to_server, context).unwrap_or_else(|_| {
            self.session.server_stopped_reading();
            true
        });
        if self.session.is_tunnel() && self.session.to_server.ended {
            sent |= forward_end(server, &self.session.to_server, &mut self.shut.server, context);
        }
        sent
    }

    /// Receives bytes from the server; returns true after progress.
    fn receive_from_server(&mut self, context: &mut Context<'_>) -> bool {
        let Some(server) = self.server.as_mut().filter(|_| self.session.ending().is_none()) else {
            return false;
        };
        receive(server, &mut self.session.to_client, context).unwrap_or_else(|_| {
            self.session.server_failed();
            true
        })
    }

    /// Closes the sending side and discards what the client still sends: closing a socket with unread bytes resets the
    /// connection, and the client could lose the response. The server gets the same time to close first, so that TIME_WAIT
    /// is on its side, as it is without a proxy.
    async fn linger(&mut self) {
        let mut shut = false;
        let mut client = Leftover { ended: self.session.to_server.ended, ..Leftover::default() };
        let mut server = Leftover { ended: self.session.to_client.ended, ..Leftover::default() };
        // The client can prolong this only LINGER_WAITS times.
        for _ in 0..LINGER_WAITS {
            let before = client.total;
            let talking = poll_fn(|context| {
                if !shut {
                    match Pin::new(&mut self.client).poll_shutdown(context) {
                        Poll::Ready(Ok(())) => shut = true,
                        Poll::Ready(Err(_)) => return Poll::Ready(()),
                        Poll::Pending => return Poll::Pending,
                    }
                }
                client.read(&mut self.client, context);
                if let Some(stream) = &mut self.server {
                    server.read(stream, context);
                }
                // A client that closed may reuse its port at once, so the connection to the server must end now, too.
                if client.ended { Poll::Ready(()) } else { Poll::Pending }
            });
            let ended = time::timeout(self.resources.config.linger_timeout, talking).await.is_ok();
            if ended || client.total == before {
                break;
            }
        }
    }
}

/// Bytes of one side that are discarded after the last response.
#[derive(Default)]
struct Leftover {
    buffer: Vec<u8>,
    total: usize,
    ended: bool,
}

impl Leftover {
    /// Discards everything that can be read without waiting.
    fn read(&mut self, stream: &mut TcpStream, context: &mut Context<'_>) {
        while !self.ended {
            self.buffer.clear();
            self.buffer.reserve(16 * 1024);
            match pin!(stream.read_buf(&mut self.buffer)).poll(context) {
                Poll::Ready(Ok(0) | Err(_)) => self.ended = true,
                Poll::Ready(Ok(count)) => self.total += count,
                Poll::Pending => return,
            }
        }
    }
}

/// Sends until the socket blocks; returns true after progress.
fn send(stream: &mut TcpStream, pipe: &mut Pipe, context: &mut Context<'_>) -> io::Result<bool> {
    let mut moved = false;
    while pipe.is_pending() {
        let (parts, stream) = (pipe.outgoing(), Pin::new(&mut *stream));
        // One part is cheaper to send than a list of parts.
        let sent = match &parts {
            [part, rest] | [rest, part] if rest.is_empty() => stream.poll_write(context, part),
            both => stream.poll_write_vectored(context, both),
        };
        match sent? {
            Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(count) => pipe.sent(count),
            Poll::Pending => break,
        }
        moved = true;
    }
    Ok(moved)
}

/// Receives once, where the buffer has room; returns true after progress, of which the end is one.
fn receive(stream: &mut TcpStream, pipe: &mut Pipe, context: &mut Context<'_>) -> io::Result<bool> {
    // A socket that is not ready takes no buffer.
    if !pipe.wants_input() || stream.poll_read_ready(context)?.is_pending() {
        return Ok(false);
    }
    let received = pin!(stream.read_buf(pipe.read_buffer())).poll(context);
    if !matches!(received, Poll::Ready(Ok(1..))) {
        pipe.release();
    }
    match received? {
        Poll::Ready(count) => {
            pipe.ended = count == 0;
            Ok(true)
        }
        Poll::Pending => Ok(false),
    }
}

/// Forwards the end of one side of a tunnel, after all bytes before it were sent.
fn forward_end(stream: &mut TcpStream, pipe: &Pipe, shut: &mut bool, context: &mut Context<'_>) -> bool {
    if *shut || pipe.is_pending() || !pipe.input().is_empty() {
        return false;
    }
    *shut = Pin::new(stream).poll_shutdown(context).is_ready();
    *shut
}
