//! The local API: a unix socket, a thread for each connection, one line of JSON a request.

use crate::command::Request;
use crate::descriptors;
use crate::disconnects::Disconnects;
use crate::feed::Feed;
use crate::problems::Problems;
use crate::queue::Queue;
use crate::reader::Reader;
use crate::storage::{self, DeviceInode};
use crate::subscription::Subscription;
use crate::threads;
use anyhow::Context;
use api::request_reader::{self, Next};
use api::{Answer, ApiRequest, Cause, Failure};
use flow::Observed;
use serde_json::Value;
use std::fs;
use std::io::{self, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Delay after a connection could not be accepted, for instance for lack of descriptors; the connection stays in the
/// backlog.
const REST: Duration = Duration::from_millis(200);

/// What is missing when the thread ends.
const UNSERVED: &str = "the API accepts no further connections";

/// Advice for too many clients.
const ADVICE: &str = "stop some (`nexin observe --follow`?) and try again";

/// The refusal of a client that would take a descriptor which the agent needs itself.
const SCARCE: &str = "too many clients: the agent has reached its limit of open files; stop some (`nexin observe --follow`?) and \
                      try again, or start the agent with a higher limit of open files (LimitNOFILE, ulimit -n)";

/// The state that all connections share.
#[derive(Debug)]
struct ApiContext {
    queue: Queue,
    reader: Arc<Reader>,
    feed: Arc<Feed>,
    departures: Arc<Disconnects>,
    /// Number of connected clients, and its maximum.
    clients: AtomicUsize,
    max_clients: usize,
}

impl ApiContext {
    /// Answers a request: a query at once, a command when it has taken effect.
    fn answer(&self, request: ApiRequest) -> Result<Value, Failure> {
        match Request::parse(request)? {
            Request::Query(query) => self.reader.answer(&query),
            Request::Command(mut command) => {
                let pod = command.attached_pod().cloned();
                let completed = self.reader.complete(&mut command);
                let answer = completed.and_then(|()| self.queue.carry_out(command));
                if let (Some(pod), Err(failure)) = (pod, &answer) {
                    self.reader.report_failure(pod, failure);
                }
                answer
            }
        }
    }
}

/// One of the clients that are served at once. It is free again when this value is dropped, also by a panic.
struct ClientPlace(Arc<ApiContext>);

impl ClientPlace {
    /// A place, if one is free.
    fn take(context: &Arc<ApiContext>) -> Option<Self> {
        let place = Self(Arc::clone(context));
        let before = context.clients.fetch_add(1, Ordering::Relaxed);
        (before < context.max_clients).then_some(place)
    }
}

impl Drop for ClientPlace {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The API's socket and the thread that accepts its connections.
#[derive(Debug)]
pub(crate) struct ApiServer {
    path: PathBuf,
    /// The listener in use. Another takes its place after another program removed its socket.
    listener: Arc<Mutex<Arc<UnixListener>>>,
    identity: DeviceInode,
}

impl ApiServer {
    /// Listens at the path, for the owner and its group only, and serves at most this many clients at once.
    pub(crate) fn start(
        path: PathBuf,
        (queue, reader): (Queue, Arc<Reader>),
        feed: Arc<Feed>,
        max_clients: usize,
        problems: &Problems,
    ) -> anyhow::Result<Self> {
        let (listener, identity) = bind(&path)?;
        let departures = Disconnects::new(Arc::clone(&feed), problems)?;
        let clients = AtomicUsize::new(0);
        let context = Arc::new(ApiContext { queue, reader, feed, departures, clients, max_clients });
        let listener = Arc::new(Mutex::new(Arc::new(listener)));
        let accepting = Arc::clone(&listener);
        threads::start("api", problems.clone(), UNSERVED, move || {
            accept(&accepting, |stream| serve_in_thread(stream, &context));
        })?;
        Ok(Self { path, listener, identity })
    }

    /// Whether clients find the socket at its path.
    pub(crate) fn is_reachable(&self) -> bool {
        storage::identity(&self.path).is_ok_and(|found| found == self.identity)
    }

    /// Listens at the path with a new socket, in place of one that was removed.
    pub(crate) fn listen_again(&mut self) -> anyhow::Result<()> {
        let (listener, identity) = bind(&self.path)?;
        let before = std::mem::replace(&mut *lock(&self.listener), Arc::new(listener));
        self.identity = identity;
        // The thread that waits at it takes the new one.
        Ok(rustix::net::shutdown(&before, rustix::net::Shutdown::Both)?)
    }
}

/// Listens at the path; returns the listener and the identity of its socket.
fn bind(path: &Path) -> anyhow::Result<(UnixListener, DeviceInode)> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot replace the socket {}", path.display()));
        }
        _ => {}
    }
    let listener =
        UnixListener::bind(path).with_context(|| format!("cannot listen at {}", path.display()))?;
    storage::close_socket(path)?;
    Ok((listener, storage::identity(path)?))
}

/// The listener in use. No panic can leave another value.
fn lock(listener: &Mutex<Arc<UnixListener>>) -> MutexGuard<'_, Arc<UnixListener>> {
    listener.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Accepts connections until the process ends. A failure is logged once, and the connection stays in the backlog.
fn accept(current: &Mutex<Arc<UnixListener>>, mut take: impl FnMut(UnixStream)) {
    let mut is_failing = false;
    loop {
        let listener = Arc::clone(&lock(current));
        match listener.accept() {
            Ok((stream, _)) => {
                if is_failing {
                    tracing::info!("connections to the API are accepted again");
                }
                is_failing = false;
                take(stream);
            }
            Err(error)
                if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted) => {}
            Err(_) if !Arc::ptr_eq(&listener, &lock(current)) => {}
            Err(error) => {
                if !is_failing {
                    tracing::warn!(%error, "connections to the API cannot be accepted");
                }
                is_failing = true;
                thread::sleep(REST);
            }
        }
    }
}

fn serve_in_thread(stream: UnixStream, context: &Arc<ApiContext>) {
    if descriptors::are_scarce(stream.as_fd()) {
        return refuse(&stream, SCARCE.into());
    }
    let Some(place) = ClientPlace::take(context) else {
        let most = context.max_clients;
        return refuse(&stream, format!("too many clients: the agent serves {most} at once; {ADVICE}"));
    };
    let serve = move || {
        if let Err(error) = serve_client(stream, &place.0) {
            tracing::debug!(%error, "a connection to the API ended early");
        }
    };
    if let Err(error) = thread::Builder::new().name("api-client".into()).spawn(serve) {
        tracing::warn!(%error, "a thread for a connection to the API could not be started");
    }
}

/// Sends a client the reason why it is not served.
fn refuse(stream: &UnixStream, why: String) {
    let failure = Failure::new(Cause::Internal, why);
    // A client that does not read gets no answer.
    let _ = stream.set_nonblocking(true).and_then(|()| send(stream, Err(failure)));
}

fn serve_client(stream: UnixStream, context: &ApiContext) -> io::Result<()> {
    let answers = &stream;
    let mut lines = BufReader::new(answers);
    loop {
        let line = match request_reader::next(&mut lines)? {
            Next::Line(line) => line,
            Next::Refused(failure) => return send(answers, Err(failure)),
            Next::End => return Ok(()),
        };
        let (request, share) = line.parse();
        match request {
            Ok(ApiRequest::Observe { last, follow, filters }) => {
                drop(share);
                match Subscription::new(&context.feed, last, follow, &filters) {
                    Ok(flows) => {
                        let _watch = context.departures.watch(&stream, flows.left())?;
                        for batch in flows {
                            send_batch(answers, &batch)?;
                        }
                        // Closing the connection ends the stream of flows.
                        return Ok(());
                    }
                    Err(message) => send(answers, Err(Failure::new(Cause::Invalid, message)))?,
                }
            }
            Ok(request) => send(answers, context.answer(request))?,
            Err(failure) => send(answers, Err(failure))?,
        }
    }
}

/// Sends flows and gaps, each as an answer of its own, together.
fn send_batch(mut stream: &UnixStream, batch: &[Observed]) -> io::Result<()> {
    let mut lines = Vec::new();
    for observed in batch {
        lines.extend_from_slice(br#"{"ok":"#);
        serde_json::to_writer(&mut lines, observed)?;
        lines.extend_from_slice(b"}\n");
    }
    stream.write_all(&lines)
}

fn send(mut stream: &UnixStream, answer: Result<Value, Failure>) -> io::Result<()> {
    let answer = match answer {
        Ok(value) => Answer::Ok(value),
        Err(failure) => Answer::Error(failure),
    };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    stream.write_all(&line)
}
