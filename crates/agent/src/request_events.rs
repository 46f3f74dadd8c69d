//! Events that the proxy's process sends to the agent's: datagrams on a unix socket, each with many requests.
//!
//! The proxy never blocks. A message that the socket refuses is sent again later; meanwhile records wait in a bounded
//! buffer, and what finds no room there is counted (decision 017).

use crate::heartbeats::UnreportedCount;
use crate::occupancy::OccupancyReport;
use crate::proxy_group;
use crate::request_batch::{MESSAGE, RequestBatch, RequestMessage};
use crate::storage::{self, DeviceInode};
use proxy::RequestEvent;
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Maximum size of a datagram: a message has at most [`MESSAGE`] bytes of records, or one record.
const LARGEST: usize = 192 * 1024;
/// How long a record waits for others.
const DELAY: Duration = Duration::from_millis(10);
/// Maximum time between two attempts to send a message that the socket refuses.
const RETRY: Duration = Duration::from_millis(100);

/// How often the socket is checked if nothing is received. The proxy reports its occupancy more often.
const CHECK: Duration = Duration::from_secs(2);

/// The end of the socket that a thread of the proxy sends by.
#[derive(Debug)]
pub(crate) struct EventSender {
    socket: UnixDatagram,
    to: PathBuf,
    queue: Mutex<Queue>,
    /// Notified when the first record waits.
    waits: Notify,
    /// One moment of the clock of events, on both scales.
    clock: (Instant, u64),
}

#[derive(Debug)]
struct Queue {
    batch: RequestBatch,
    /// The number of waiting bytes at which the next message is sent without a delay.
    sends_at: usize,
    /// Where the agent finds how many requests wait; none for a sender of other messages.
    unreported: Option<UnreportedCount>,
}

/// What became of the waiting records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    All,
    Some,
    None,
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
pub(crate) enum ProxyMessage<'a> {
    /// The occupancy of its connections.
    Occupancy(OccupancyReport),
    /// Requests with their verdicts.
    Requests(RequestMessage<'a>),
}

impl EventSender {
    /// Sends to the socket at this path, whenever it is bound.
    pub(crate) fn new(to: &Path, unreported: Option<UnreportedCount>) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        let queue = Mutex::new(Queue { batch: RequestBatch::default(), sends_at: MESSAGE, unreported });
        let now = clock_gettime(ClockId::Monotonic);
        let clock = (Instant::now(), now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64);
        Ok(Self { socket, to: to.to_path_buf(), queue, waits: Notify::new(), clock })
    }

    /// Sends the occupancy; a failure is ignored, since another report follows.
    pub(crate) fn send_occupancy(&self, report: OccupancyReport) {
        let sent = serde_json::to_vec(&report)
            .map_err(io::Error::other)
            .and_then(|bytes| self.socket.send_to(&bytes, &self.to));
        if let Err(error) = sent {
            tracing::debug!(%error, "the occupancy could not be sent to the agent");
        }
    }

    /// Sends records that waited for [`DELAY`], for ever. No timer runs while none wait.
    pub(crate) async fn send_in_time(&self) {
        loop {
            self.waits.notified().await;
            let mut delay = DELAY;
            loop {
                tokio::time::sleep(delay).await;
                let sent = self.queue().send(&self.socket, &self.to);
                match sent {
                    Sent::All => break,
                    Sent::Some => delay = DELAY,
                    Sent::None => delay = (2 * delay).min(RETRY),
                }
            }
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // A batch consists of whole records between any two calls.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl proxy::Events for EventSender {
    fn report(&self, event: &RequestEvent<'_>) {
        let (moment, nanoseconds) = self.clock;
        let since = event.time.saturating_duration_since(moment).as_nanos() as u64;
        let mut queue = self.queue();
        let is_first = queue.batch.is_empty();
        queue.push(event, nanoseconds + since);
        if queue.batch.len() >= queue.sends_at {
            queue.send(&self.socket, &self.to);
        }
        if is_first && !queue.batch.is_empty() {
            self.waits.notify_one();
        }
    }
}

impl Queue {
    fn push(&mut self, event: &RequestEvent<'_>, time: u64) {
        self.batch.push(event, time);
        self.count(self.batch.unreported());
    }

    /// Writes how many requests wait, for an agent that finds this process ended.
    fn count(&self, requests: u64) {
        if let Some(unreported) = &self.unreported {
            unreported.set(requests);
        }
    }

    /// Sends what waits, as far as the socket takes it.
    ///
    /// A message is counted as sent before it is: the agent that it wakes may take the CPU before the system call returns, and
    /// a process that is killed then has sent it. Only a few instructions lie between the count and the call.
    fn send(&mut self, socket: &UnixDatagram, to: &Path) -> Sent {
        let mut outcome = Sent::None;
        while self.batch.message().is_some() {
            self.count(self.batch.unreported_then());
            let sent = socket.send_to(self.batch.prepared(), to);
            if sent.is_err() {
                self.count(self.batch.unreported());
            }
            match sent {
                Ok(_) => self.batch.sent(),
                Err(error) if error.raw_os_error() == Some(Errno::MSGSIZE.raw_os_error()) => {
                    self.batch.lose()
                }
                // The agent does not run, or reads too slowly.
                Err(_) => {
                    self.sends_at = self.batch.len() + MESSAGE;
                    return outcome;
                }
            }
            outcome = Sent::Some;
        }
        self.sends_at = MESSAGE;
        Sent::All
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

    /// Waits for the next datagram.
    pub(crate) fn receive(&mut self) -> io::Result<&[u8]> {
        loop {
            match self.socket.recv(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.bind_again(),
                // A receive call with a timeout ends when a stopped process continues.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(length) => return Ok(&self.buffer[..length]),
            }
        }
    }
}

impl<'a> ProxyMessage<'a> {
    /// Reads a datagram.
    pub(crate) fn parse(bytes: &'a [u8]) -> serde_json::Result<Self> {
        match RequestMessage::parse(bytes) {
            Some(message) => Ok(Self::Requests(message)),
            None => serde_json::from_slice(bytes).map(Self::Occupancy),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request_record::is_forwarded;
    use crate::request_record::tests::event;
    use proxy::{Events, RequestVerdict};
    use std::sync::Arc;
    use std::thread;

    /// A path for a socket in a directory of its own.
    fn path(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("nexin-requests-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        directory.join("requests.sock")
    }

    /// A sender whose records are sent in time.
    fn sender(to: &Path) -> Arc<EventSender> {
        let sender = Arc::new(EventSender::new(to, None).unwrap());
        let own = Arc::clone(&sender);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(own.send_in_time());
        });
        sender
    }

    /// Receives until so many requests are received or said to be lost: forwards, denials, and lost requests.
    fn receive(receiver: &mut EventReceiver, count: u64) -> [u64; 3] {
        let mut seen = [0; 3];
        while seen.iter().sum::<u64>() < count {
            let ProxyMessage::Requests(message) = ProxyMessage::parse(receiver.receive().unwrap()).unwrap()
            else {
                panic!("the test sends requests only");
            };
            seen[2] += message.lost;
            message.records().for_each(|record| seen[usize::from(!is_forwarded(record))] += 1);
        }
        seen
    }

    #[test]
    fn requests_that_are_made_while_the_agent_reads_nothing_are_seen_or_counted() {
        const MADE: u64 = 100_000;
        let path = path("stopped");
        let mut receiver = EventReceiver::bind(&path).unwrap();
        let sender = sender(&path);
        for number in 0..MADE {
            let verdict = if number % 100 == 0 { RequestVerdict::Deny } else { RequestVerdict::Forward };
            sender.report(&event(verdict, "/path"));
        }
        let [forwards, denials, lost] = receive(&mut receiver, MADE);
        assert_eq!(forwards + denials + lost, MADE);
        assert_eq!(denials, MADE / 100, "denials have a place that forwards do not take");
        assert!(lost > 0 && forwards > 5000, "{forwards} forwards, {lost} lost");
        // The next message counts from zero.
        sender.report(&event(RequestVerdict::Forward, "/path"));
        assert_eq!(receive(&mut receiver, 1), [1, 0, 0]);
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn requests_that_are_made_while_there_is_no_agent_are_sent_to_the_next() {
        let path = path("absent");
        let sender = sender(&path);
        (0..10).for_each(|_| sender.report(&event(RequestVerdict::Forward, "/path")));
        thread::sleep(Duration::from_millis(50));
        let mut receiver = EventReceiver::bind(&path).unwrap();
        assert_eq!(receive(&mut receiver, 10), [10, 0, 0]);
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_thousand_requests_at_once_are_few_messages() {
        let path = path("few");
        let mut receiver = EventReceiver::bind(&path).unwrap();
        let sender = sender(&path);
        (0..1000).for_each(|_| sender.report(&event(RequestVerdict::Forward, "/path")));
        let (mut messages, mut seen) = (0, 0);
        while seen < 1000 {
            let Ok(ProxyMessage::Requests(message)) = ProxyMessage::parse(receiver.receive().unwrap()) else {
                panic!("the test sends requests only");
            };
            (messages, seen) = (messages + 1, seen + message.records().count());
        }
        assert!(messages <= 10, "{messages} messages");
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }
}
