//! A session without sockets, for tests that choose every byte and its moment.

use crate::config::ProxyConfig;
use crate::event::{Events, RequestEvent};
use crate::judge::Judge;
use crate::pipe::Pipe;
use crate::policy::RequestPolicy;
use crate::session::{Ending, Session};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// One end of a proxied connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxiedEnd {
    /// The client.
    Client,
    /// The server.
    Server,
}

/// A proxied connection whose ends take every byte at once.
pub struct ProxiedConnection {
    session: Session,
    now: Instant,
    reported: Arc<Reported>,
    /// Bytes that were sent to the client.
    pub to_client: Vec<u8>,
    /// Bytes that were sent to the server.
    pub to_server: Vec<u8>,
    /// Events in order.
    pub events: Vec<RequestEvent<'static>>,
}

/// Events that were reported.
#[derive(Default)]
struct Reported(Mutex<Vec<RequestEvent<'static>>>);

impl Events for Reported {
    fn report(&self, event: &RequestEvent<'_>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(event.clone().into_owned());
    }
}

impl ProxiedConnection {
    /// A connection from a client to a server, judged by this policy.
    pub fn new(config: ProxyConfig, policy: Arc<dyn RequestPolicy>) -> Self {
        let [client, server] =
            [(1, 40000), (2, 80)].map(|(last, port)| SocketAddr::from((Ipv4Addr::new(10, 0, 0, last), port)));
        let (now, reported) = (Instant::now(), Arc::<Reported>::default());
        let events = Arc::clone(&reported) as Arc<dyn Events>;
        let session = Session::new(config, Judge::new(policy, client, server), events, now);
        Self { session, now, reported, to_client: Vec::new(), to_server: Vec::new(), events: Vec::new() }
    }

    /// Receives bytes from one end, as far as the buffer has room; returns how many.
    pub fn receive(&mut self, from: ProxiedEnd, bytes: &[u8]) -> usize {
        let pipe = self.pipe(from);
        if !pipe.wants_input() || bytes.is_empty() {
            return 0;
        }
        let buffer = pipe.read_buffer();
        let count = bytes.len().min(buffer.capacity() - buffer.len());
        buffer.extend_from_slice(&bytes[..count]);
        self.session.note_progress(self.now);
        self.run();
        count
    }

    /// One end closes its side.
    pub fn close(&mut self, end: ProxiedEnd) {
        self.pipe(end).ended = true;
        self.run();
    }

    /// Policy changed: the open exchange is judged again.
    pub fn reevaluate(&mut self) {
        self.session.reevaluate(self.now);
        self.run();
    }

    /// True where the connection is over.
    pub fn is_over(&self) -> bool {
        self.session.ending().is_some()
    }

    /// The pipe whose bytes come from an end.
    fn pipe(&mut self, from: ProxiedEnd) -> &mut Pipe {
        match from {
            ProxiedEnd::Client => &mut self.session.to_server,
            ProxiedEnd::Server => &mut self.session.to_client,
        }
    }

    /// Handles what can be handled and sends what can be sent, until nothing changes.
    fn run(&mut self) {
        loop {
            self.session.advance(self.now);
            let mut reported = self.reported.0.lock().unwrap_or_else(PoisonError::into_inner);
            self.events.append(&mut reported);
            drop(reported);
            if self.session.wants_server() {
                self.session.connected();
                continue;
            }
            let is_aborted = self.session.ending() == Some(Ending::Abort);
            let sent = !is_aborted && send(&mut self.session.to_client, &mut self.to_client);
            let is_ending = self.session.ending().is_some();
            if !(sent | (!is_ending && send(&mut self.session.to_server, &mut self.to_server))) {
                return;
            }
        }
    }
}

/// Sends all bytes that wait; returns true where there were any.
fn send(pipe: &mut Pipe, out: &mut Vec<u8>) -> bool {
    let before = out.len();
    pipe.outgoing().iter().for_each(|part| out.extend_from_slice(part));
    pipe.sent(out.len() - before);
    out.len() > before
}
