//! The local API: a unix socket, a thread for each connection, one line of JSON a request.

use crate::feed::Feed;
use crate::intake::{self, Next};
use crate::storage;
use anyhow::Context;
use api::{Answer, Cause, Failure, Request};
use serde_json::Value;
use std::fs;
use std::io::{self, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Sender, SyncSender, sync_channel};
use std::thread;

/// A request that the agent's own thread answers.
#[derive(Debug)]
pub(crate) struct Question {
    /// What is asked.
    pub request: Request,
    /// Where the answer goes.
    pub reply: SyncSender<Result<Value, Failure>>,
}

/// Listens at the path, for owner and group only, and answers from then on.
pub(crate) fn serve<T>(path: &Path, questions: Sender<T>, feed: Arc<Feed>) -> anyhow::Result<()>
where
    T: From<Question> + Send + 'static,
{
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot replace the socket {}", path.display()));
        }
        _ => {}
    }
    let listener =
        UnixListener::bind(path).with_context(|| format!("cannot listen at {}", path.display()))?;
    storage::close_socket(path)?;
    thread::Builder::new().name("api".into()).spawn(move || {
        for stream in listener.incoming() {
            match stream {
                Ok(stream) => converse_apart(stream, questions.clone(), Arc::clone(&feed)),
                Err(error) => tracing::warn!(%error, "a connection to the API failed"),
            }
        }
    })?;
    Ok(())
}

fn converse_apart<T>(stream: UnixStream, questions: Sender<T>, feed: Arc<Feed>)
where
    T: From<Question> + Send + 'static,
{
    let conversation = move || {
        if let Err(error) = converse(stream, &questions, &feed) {
            tracing::debug!(%error, "a conversation with the API ended early");
        }
    };
    if let Err(error) = thread::Builder::new().name("api-conversation".into()).spawn(conversation) {
        tracing::warn!(%error, "a conversation with the API could not begin");
    }
}

fn converse<T: From<Question>>(
    stream: UnixStream,
    questions: &Sender<T>,
    feed: &Arc<Feed>,
) -> io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?);
    let mut answers = stream;
    loop {
        let line = match intake::next(&mut lines)? {
            Next::Line(line) => line,
            Next::Refused(failure) => return send(&mut answers, Err(failure)),
            Next::End => return Ok(()),
        };
        let (request, share) = line.understand();
        match request {
            Ok(Request::Observe { last, follow, filters }) => {
                drop(share);
                match feed.subscribe(last, follow, &filters) {
                    Ok(flows) => {
                        for flow in flows {
                            send(&mut answers, Ok(flow))?;
                        }
                        // The end of the connection tells that there is no more.
                        return Ok(());
                    }
                    Err(message) => send(&mut answers, Err(Failure::new(Cause::Invalid, message)))?,
                }
            }
            Ok(request) => send(&mut answers, ask(request, questions))?,
            Err(failure) => send(&mut answers, Err(failure))?,
        }
    }
}

fn ask<T: From<Question>>(request: Request, questions: &Sender<T>) -> Result<Value, Failure> {
    let (reply, answer) = sync_channel(1);
    let ended = || Failure::new(Cause::Internal, "the agent is ending");
    questions.send(Question { request, reply }.into()).map_err(|_| ended())?;
    answer.recv().map_err(|_| ended())?
}

fn send(stream: &mut UnixStream, answer: Result<Value, Failure>) -> io::Result<()> {
    let answer = match answer {
        Ok(value) => Answer::Ok(value),
        Err(failure) => Answer::Error(failure),
    };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    stream.write_all(&line)
}
