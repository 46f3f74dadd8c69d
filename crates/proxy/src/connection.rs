//! The thin shell around a session: two sockets, a clock and a timer.

use crate::handle::Command;
use crate::judge::Judge;
use crate::network;
use crate::pipe::Pipe;
use crate::resources::Resources;
use crate::session::{Ending, Now, Session};
use crate::slots::{ConnectionKey, Slot};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWrite, Interest};
use tokio::net::TcpStream;
use tokio::time::{self, Sleep};

/// For how many times the time-out of a single wait the client's rest is read after the last answer.
const LINGER_WAITS: u32 = 10;
/// How long to wait before a place, or a port, is tried again.
const RETRY_DELAY: Duration = Duration::from_millis(20);
/// How often to look whether a client is gone of which no more is read.
const CLIENT_CHECK: Duration = Duration::from_secs(1);

/// Serves one connection until it ends.
pub(crate) async fn serve(resources: &Resources, client: TcpStream, peer: SocketAddr) -> io::Result<()> {
    let server = resources.network.destination(&client)?;
    network::prepare(&client, resources.config.unacknowledged_timeout)?;
    let mut judge = Judge::new(Arc::clone(&resources.policy), peer, server);
    let identity = judge.client_identity().unwrap_or_default();
    let key =
        ConnectionKey { identity, client: peer.ip().to_canonical(), server: server.ip().to_canonical() };
    let Some(slot) = acquire_slot(resources, key).await else {
        network::reset_on_close(&client);
        return Ok(());
    };
    let session = Session::new(resources.config, judge, now());
    let (addresses, shut) = ((peer, server), EndsForwarded::default());
    let (server, reevaluates, next_client_check) = (None, false, None);
    Connection { resources, session, client, server, addresses, shut, slot, reevaluates, next_client_check }
        .run()
        .await;
    Ok(())
}

/// A place, after a wait if need be; none where none was left in time.
async fn acquire_slot(resources: &Resources, key: ConnectionKey) -> Option<Slot> {
    let until = Instant::now() + resources.config.slot_timeout;
    let mut waiting = None;
    loop {
        let full = match resources.slots.take(key, Instant::now()) {
            Ok(slot) => return Some(slot),
            Err(full) => full,
        };
        waiting = waiting.or_else(|| resources.slots.wait());
        if waiting.is_none() || Instant::now() >= until {
            resources.slots.refuse(full);
            tracing::debug!(client = %key.client, server = %key.server, ?full, "a connection got no place");
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
    /// Of client and server.
    addresses: (SocketAddr, SocketAddr),
    shut: EndsForwarded,
    slot: Slot,
    /// Whether policy has changed since it was asked about what goes on.
    reevaluates: bool,
    /// When to look whether the client is gone, while no more of it is read.
    next_client_check: Option<Instant>,
}

/// Towards whom the end of a tunnel was passed on.
#[derive(Default)]
struct EndsForwarded {
    client: bool,
    server: bool,
}

/// Why waiting stopped.
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
        loop {
            let now = now();
            lingers &= !self.run_commands(now);
            self.session.advance(now);
            self.wake_when_rules_load(&waker, now);
            for event in self.session.events.drain(..) {
                self.resources.events.report(event);
            }
            self.slot.handle.set_activity(self.session.activity(), now.instant);
            if self.session.wants_server() {
                self.connect().await;
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
            match poll_fn(|context| self.poll(timer.as_mut(), context)).await {
                Wakeup::Progress => self.session.touch(self::now()),
                Wakeup::Command => {}
                Wakeup::Timer => self.timer_fired(self::now()),
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

    /// Does what others have asked for; tells whether that ends the connection.
    fn run_commands(&mut self, now: Now) -> bool {
        self.reevaluates |= self.slot.handle.take(Command::Reevaluate);
        self.reevaluates = self.reevaluates && !self.session.reevaluate(now);
        let leave = self.slot.handle.take(Command::Close);
        if leave {
            self.session.leave(now);
        }
        leave
    }

    /// Has the task woken with the rules that something waits for.
    fn wake_when_rules_load(&mut self, waker: &Waker, now: Now) {
        if self.reevaluates || self.session.waits_for_rules() {
            self.resources.policy.wake_when_rules_load(waker);
            // They may have come just before.
            self.reevaluates = self.reevaluates && !self.session.reevaluate(now);
            self.session.advance(now);
        }
    }

    /// Whether something waited for rules that are there now.
    fn rules_have_come(&mut self) -> bool {
        (self.reevaluates || self.session.waits_for_rules()) && self.session.rules_are_there()
    }

    /// Connects to the server on the client's behalf.
    async fn connect(&mut self) {
        let (client, server) = self.addresses;
        match time::timeout(self.resources.config.connect_timeout, self.connect_upstream(client, server))
            .await
        {
            Ok(Ok(stream)) => {
                if let Err(error) = network::prepare(&stream, self.resources.config.unacknowledged_timeout) {
                    tracing::debug!(%error, "a server that is gone may not be noticed");
                }
                self.server = Some(stream);
                self.session.connected();
            }
            Ok(Err(error)) => {
                tracing::debug!(%client, %server, %error, "the server cannot be reached");
                self.session.unreachable("the server cannot be reached", now());
            }
            Err(_) => self.session.unreachable("the server does not answer", now()),
        }
    }

    /// A connection to the server. The client may use its port again while the last connection from it has not quite
    /// ended on the server's side; that is a matter of milliseconds.
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

    /// The timer has fired: it is too late, or time to see whether the client is still there.
    fn timer_fired(&mut self, now: Now) {
        if self.session.deadline() <= now.instant {
            return self.session.time_out(now);
        }
        self.next_client_check = None;
        // With bytes of the client's unread, its end is not read either, but the kernel tells of it.
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(Ok(ready)) = pin!(self.client.ready(Interest::READABLE)).poll(&mut context)
            && ready.is_read_closed()
        {
            self.session.client_gone(now);
        }
    }

    /// When the timer is to fire.
    fn timer_due(&mut self) -> Instant {
        let deadline = self.session.deadline();
        let pipe = &self.session.to_server;
        if self.session.ending().is_some() || pipe.wants_input() || pipe.ended {
            self.next_client_check = None;
            return deadline;
        }
        deadline.min(*self.next_client_check.get_or_insert_with(|| Instant::now() + CLIENT_CHECK))
    }

    /// Moves what can be moved; ready once something did, or when it is too late.
    fn poll(&mut self, mut timer: Pin<&mut Sleep>, context: &mut Context<'_>) -> Poll<Wakeup> {
        if self.slot.handle.has_commands() || self.rules_have_come() {
            return Poll::Ready(Wakeup::Command);
        }
        // Both, whatever the first says: each registers for its own wake-up.
        let moved = [self.poll_client(context), self.poll_server(context)];
        if moved.contains(&true) {
            return Poll::Ready(Wakeup::Progress);
        }
        let due = self.timer_due();
        // A later time does not move the timer: most requests are over long before it fires.
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

    /// Moves bytes to and from the client; tells whether any moved.
    fn poll_client(&mut self, context: &mut Context<'_>) -> bool {
        let mut sent = send(&mut self.client, &mut self.session.to_client, context);
        let mut received = Ok(false);
        if self.session.ending() != Some(Ending::Abort) {
            received = receive(&mut self.client, &mut self.session.to_server, context);
        }
        if let Ok(sent) = &mut sent
            && self.session.is_tunnel()
            && self.session.to_client.ended
        {
            *sent |= forward_end(&mut self.client, &self.session.to_client, &mut self.shut.client, context);
        }
        match (sent, received) {
            (Ok(sent), Ok(received)) => sent || received,
            (Err(error), _) | (_, Err(error)) => {
                tracing::debug!(client = %self.addresses.0, %error, "the client broke the connection");
                self.session.client_failed(now());
                true
            }
        }
    }

    /// Moves bytes to and from the server; tells whether any moved.
    fn poll_server(&mut self, context: &mut Context<'_>) -> bool {
        let Some(server) = self.server.as_mut().filter(|_| self.session.ending().is_none()) else {
            return false;
        };
        let mut moved = match send(server, &mut self.session.to_server, context) {
            Ok(sent) => sent,
            Err(_) => {
                self.session.server_stopped_reading();
                true
            }
        };
        if self.session.is_tunnel() && self.session.to_server.ended {
            moved |= forward_end(server, &self.session.to_server, &mut self.shut.server, context);
        }
        match receive(server, &mut self.session.to_client, context) {
            Ok(received) => moved || received,
            Err(_) => {
                self.session.server_failed();
                true
            }
        }
    }

    /// Says goodbye and reads on for a moment: a connection that is closed with bytes unread is reset, and the client
    /// would lose the answer. The server is left the same moment to close first, so that what remains of the connection
    /// is on its side, as without a proxy.
    async fn linger(&mut self) {
        let mut shut = false;
        let mut client = Leftover { ended: self.session.to_server.ended, ..Leftover::default() };
        let mut server = Leftover { ended: self.session.to_client.ended, ..Leftover::default() };
        // As long as something comes, and not for ever.
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
                // Once the client is through, its port may come again, and the server's connection must not be in its
                // way.
                if client.ended { Poll::Ready(()) } else { Poll::Pending }
            });
            let ended = time::timeout(self.resources.config.linger_timeout, talking).await.is_ok();
            if ended || client.total == before {
                break;
            }
        }
    }
}

/// What still comes from one side after all has been said.
#[derive(Default)]
struct Leftover {
    buffer: Vec<u8>,
    total: usize,
    ended: bool,
}

impl Leftover {
    /// Reads and throws away until nothing comes at the moment.
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

/// Sends as much as goes; tells whether any did.
fn send(stream: &mut TcpStream, pipe: &mut Pipe, context: &mut Context<'_>) -> io::Result<bool> {
    let mut moved = false;
    while pipe.is_pending() {
        match Pin::new(&mut *stream).poll_write_vectored(context, &pipe.outgoing())? {
            Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(count) => pipe.sent(count),
            Poll::Pending => break,
        }
        moved = true;
    }
    Ok(moved)
}

/// Receives once, where there is room; tells whether anything came, the end included.
fn receive(stream: &mut TcpStream, pipe: &mut Pipe, context: &mut Context<'_>) -> io::Result<bool> {
    if !pipe.wants_input() {
        return Ok(false);
    }
    match pin!(stream.read_buf(pipe.read_buffer())).poll(context)? {
        Poll::Ready(count) => {
            pipe.ended = count == 0;
            Ok(true)
        }
        Poll::Pending => Ok(false),
    }
}

/// Passes the end of a tunnel's one side on to the other, once all before it has gone out.
fn forward_end(stream: &mut TcpStream, pipe: &Pipe, shut: &mut bool, context: &mut Context<'_>) -> bool {
    if *shut || pipe.is_pending() || !pipe.input().is_empty() {
        return false;
    }
    *shut = Pin::new(stream).poll_shutdown(context).is_ready();
    *shut
}

fn now() -> Now {
    Now { instant: Instant::now(), wall: SystemTime::now() }
}
