//! The thin shell around a session: two sockets, a clock and a timer.

use crate::judge::Judge;
use crate::network;
use crate::pipe::Pipe;
use crate::server::Shared;
use crate::session::{Ending, Now, Session};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Instant, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{self, Sleep};

/// For how many times the time-out of a single wait the client's rest is read after the last answer.
const LINGER_WAITS: u32 = 10;

/// Serves one connection until it ends.
pub(crate) async fn serve(shared: &Shared, client: TcpStream, peer: SocketAddr) -> io::Result<()> {
    let server = shared.network.destination(&client)?;
    client.set_nodelay(true)?;
    let judge = Judge::new(Arc::clone(&shared.policy), peer, server);
    let session = Session::new(shared.config, judge, now());
    Connection { shared, session, client, server: None, addresses: (peer, server), shut: Shut::default() }
        .run()
        .await;
    Ok(())
}

struct Connection<'a> {
    shared: &'a Shared,
    session: Session,
    client: TcpStream,
    server: Option<TcpStream>,
    /// Of client and server.
    addresses: (SocketAddr, SocketAddr),
    shut: Shut,
}

/// Towards whom the end of a tunnel was passed on.
#[derive(Default)]
struct Shut {
    client: bool,
    server: bool,
}

/// Why waiting stopped.
enum Woken {
    Moved,
    Late,
}

impl Connection<'_> {
    async fn run(mut self) {
        let mut timer = pin!(time::sleep_until(self.session.deadline().into()));
        loop {
            self.session.advance(now());
            for event in self.session.events.drain(..) {
                self.shared.events.report(event);
            }
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
                Woken::Moved => self.session.touch(now()),
                Woken::Late => self.session.time_out(now()),
            }
        }
        if let Some(server) = self.server.take() {
            network::reset_on_close(&server);
        }
        if self.session.ending() == Some(Ending::Drain) {
            self.linger().await;
        }
    }

    /// Connects to the server on the client's behalf.
    async fn connect(&mut self) {
        let (client, server) = self.addresses;
        let connecting = async { self.shared.network.socket(client, server)?.connect(server).await };
        match time::timeout(self.shared.config.connect_timeout, connecting).await {
            Ok(Ok(stream)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "small writes to the server may be delayed");
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

    /// Moves what can be moved; ready once something did, or when it is too late.
    fn poll(&mut self, mut timer: Pin<&mut Sleep>, context: &mut Context<'_>) -> Poll<Woken> {
        // Both, whatever the first says: each registers for its own wake-up.
        let moved = [self.poll_client(context), self.poll_server(context)];
        if moved.contains(&true) {
            return Poll::Ready(Woken::Moved);
        }
        let deadline = self.session.deadline();
        // A later deadline does not move the timer: most requests are over long before it fires.
        if timer.deadline().into_std() > deadline {
            timer.as_mut().reset(deadline.into());
        }
        while timer.as_mut().poll(context).is_ready() {
            if deadline <= Instant::now() {
                return Poll::Ready(Woken::Late);
            }
            timer.as_mut().reset(deadline.into());
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
            *sent |= pass_end(&mut self.client, &self.session.to_client, &mut self.shut.client, context);
        }
        match (sent, received) {
            (Ok(sent), Ok(received)) => sent || received,
            (Err(error), _) | (_, Err(error)) => {
                tracing::debug!(client = %self.addresses.0, %error, "the client broke the connection");
                self.session.client_broke(now());
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
                self.session.server_deaf();
                true
            }
        };
        if self.session.is_tunnel() && self.session.to_server.ended {
            moved |= pass_end(server, &self.session.to_server, &mut self.shut.server, context);
        }
        match receive(server, &mut self.session.to_client, context) {
            Ok(received) => moved || received,
            Err(_) => {
                self.session.server_broke();
                true
            }
        }
    }

    /// Says goodbye and reads on for a moment: a connection that is closed with bytes unread is reset, and the client
    /// would lose the answer.
    async fn linger(mut self) {
        if self.client.shutdown().await.is_err() || self.session.to_server.ended {
            return;
        }
        let patience = self.shared.config.linger_timeout;
        let reading = async {
            let mut rest = Vec::with_capacity(16 * 1024);
            while let Ok(Ok(1..)) = time::timeout(patience, self.client.read_buf(&mut rest)).await {
                rest.clear();
            }
        };
        // Late or not, the connection ends here.
        let _ = time::timeout(patience * LINGER_WAITS, reading).await;
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
    match pin!(stream.read_buf(pipe.room())).poll(context)? {
        Poll::Ready(count) => {
            pipe.ended = count == 0;
            Ok(true)
        }
        Poll::Pending => Ok(false),
    }
}

/// Passes the end of a tunnel's one side on to the other, once all before it has gone out.
fn pass_end(stream: &mut TcpStream, pipe: &Pipe, shut: &mut bool, context: &mut Context<'_>) -> bool {
    if *shut || pipe.is_pending() || !pipe.input().is_empty() {
        return false;
    }
    *shut = Pin::new(stream).poll_shutdown(context).is_ready();
    *shut
}

fn now() -> Now {
    Now { instant: Instant::now(), wall: SystemTime::now() }
}
