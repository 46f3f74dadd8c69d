//! The local API: a unix socket, a thread for each connection, one line of JSON a request.

use crate::descriptors;
use crate::disconnects::Disconnects;
use crate::event::{Event, PendingRequest};
use crate::feed::Feed;
use crate::request_reader::{self, Next};
use crate::storage::{self, Identity};
use anyhow::Context;
use api::{Answer, Cause, Failure, Request};
use serde_json::Value;
use std::fs;
use std::io::{self, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, sync_channel};
use std::thread;
use std::time::Duration;

/// How long to wait where a connection cannot be taken, as for lack of descriptors: it stays in the queue.
const REST: Duration = Duration::from_millis(200);

/// What helps where there are too many clients.
const ADVICE: &str = "end some (`nexin observe --follow`?) and try again";

/// Why a client is not served that would take a descriptor which the agent needs itself.
const SCARCE: &str = "too many clients: the agent may open hardly any more files; end some (`nexin observe --follow`?) and \
                      try again, or start the agent with a higher limit of open files (LimitNOFILE, ulimit -n)";

/// What every conversation has.
#[derive(Debug)]
struct ApiContext {
    queue: Sender<Event>,
    feed: Arc<Feed>,
    departures: Arc<Disconnects>,
    /// How many clients are connected, and how many may be.
    clients: AtomicUsize,
    most: usize,
}

/// Listens at the path, for owner and group only, and answers from then on, to so many clients at once at most; tells
/// which socket it is.
pub(crate) fn serve(
    path: &Path,
    queue: Sender<Event>,
    feed: Arc<Feed>,
    most: usize,
) -> anyhow::Result<Identity> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot replace the socket {}", path.display()));
        }
        _ => {}
    }
    let listener =
        UnixListener::bind(path).with_context(|| format!("cannot listen at {}", path.display()))?;
    storage::close_socket(path)?;
    let identity = storage::identity(path)?;
    let departures = Disconnects::new(Arc::clone(&feed))?;
    let context = Arc::new(ApiContext { queue, feed, departures, clients: AtomicUsize::new(0), most });
    thread::Builder::new()
        .name("api".into())
        .spawn(move || accept(&listener, |stream| converse_apart(stream, &context)))?;
    Ok(identity)
}

/// Takes connections for ever. Where none can be taken, one waits, and it is logged once.
fn accept(listener: &UnixListener, mut take: impl FnMut(UnixStream)) {
    let mut is_failing = false;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                if is_failing {
                    tracing::info!("connections to the API are taken again");
                }
                is_failing = false;
                take(stream);
            }
            Err(error)
                if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted) => {}
            Err(error) => {
                if !is_failing {
                    tracing::warn!(%error, "connections to the API have to wait");
                }
                is_failing = true;
                thread::sleep(REST);
            }
        }
    }
}

fn converse_apart(stream: UnixStream, context: &Arc<ApiContext>) {
    if descriptors::are_scarce(stream.as_fd()) {
        return refuse(&stream, SCARCE.into());
    }
    if context.clients.fetch_add(1, Ordering::Relaxed) >= context.most {
        context.clients.fetch_sub(1, Ordering::Relaxed);
        let most = context.most;
        return refuse(&stream, format!("too many clients: the agent serves {most} at once; {ADVICE}"));
    }
    let theirs = Arc::clone(context);
    let conversation = move || {
        if let Err(error) = converse(stream, &theirs) {
            tracing::debug!(%error, "a conversation with the API ended early");
        }
        theirs.clients.fetch_sub(1, Ordering::Relaxed);
    };
    if let Err(error) = thread::Builder::new().name("api-conversation".into()).spawn(conversation) {
        context.clients.fetch_sub(1, Ordering::Relaxed);
        tracing::warn!(%error, "a conversation with the API could not begin");
    }
}

/// Tells a client why it is not served.
fn refuse(stream: &UnixStream, why: String) {
    let failure = Failure::new(Cause::Internal, why);
    // One that does not take the answer gets none.
    let _ = stream.set_nonblocking(true).and_then(|()| send(stream, Err(failure)));
}

fn converse(stream: UnixStream, context: &ApiContext) -> io::Result<()> {
    let answers = &stream;
    let mut lines = BufReader::new(answers);
    loop {
        let line = match request_reader::next(&mut lines)? {
            Next::Line(line) => line,
            Next::Refused(failure) => return send(answers, Err(failure)),
            Next::End => return Ok(()),
        };
        let (request, share) = line.understand();
        match request {
            Ok(Request::Observe { last, follow, filters }) => {
                drop(share);
                match context.feed.subscribe(last, follow, &filters) {
                    Ok(flows) => {
                        let _watch = context.departures.watch(&stream, flows.left())?;
                        for flow in flows {
                            send(answers, Ok(flow))?;
                        }
                        // The end of the connection tells that there is no more.
                        return Ok(());
                    }
                    Err(message) => send(answers, Err(Failure::new(Cause::Invalid, message)))?,
                }
            }
            Ok(request) => send(answers, ask(request, &context.queue))?,
            Err(failure) => send(answers, Err(failure))?,
        }
    }
}

fn ask(request: Request, queue: &Sender<Event>) -> Result<Value, Failure> {
    let (reply, answer) = sync_channel(1);
    let ended = || Failure::new(Cause::Internal, "the agent is ending");
    queue.send(Event::Request(PendingRequest { request, reply })).map_err(|_| ended())?;
    answer.recv().map_err(|_| ended())?
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
