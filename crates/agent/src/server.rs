//! The local API: a unix socket, a thread for each connection, one line of JSON a request.

use crate::feed::Feed;
use anyhow::Context;
use api::{Answer, Cause, Envelope, Failure, Request};
use serde_json::Value;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
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

/// Longest request that is read, in bytes; a larger one is refused.
const LONGEST_REQUEST: u64 = 64 << 20;

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
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
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
        let mut line = String::new();
        if io::Read::take(&mut lines, LONGEST_REQUEST).read_line(&mut line)? == 0 {
            return Ok(());
        }
        match understand(&line) {
            Ok(Request::Observe { last, follow, filters }) => {
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

fn understand(line: &str) -> Result<Request, Failure> {
    let invalid = |message: String| Failure::new(Cause::Invalid, message);
    let value: Value = serde_json::from_str(line).map_err(|error| invalid(error.to_string()))?;
    match value.get("version").and_then(Value::as_u64) {
        Some(version) if version == u64::from(api::VERSION) => {}
        other => {
            return Err(invalid(format!(
                "this agent speaks version {} of its API, the request is of version {}; use one release of nexin",
                api::VERSION,
                other.map_or("none".to_string(), |version| version.to_string()),
            )));
        }
    }
    let envelope: Envelope = serde_json::from_value(value).map_err(|error| invalid(error.to_string()))?;
    Ok(envelope.request)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_another_version_or_shape_are_refused_with_a_reason() {
        let check = |line: &str, expected: &str| {
            let failure = understand(line).unwrap_err();
            assert_eq!(failure.cause, Cause::Invalid);
            assert!(failure.to_string().contains(expected), "{failure}");
        };
        check("{", "EOF");
        check(r#"{"ask":"status"}"#, "of version none");
        check(r#"{"version":9,"ask":"status"}"#, "of version 9");
        check(r#"{"version":1,"ask":"dance"}"#, "unknown variant `dance`");
        assert!(matches!(understand(r#"{"version":1,"ask":"status"}"#), Ok(Request::Status)));
    }
}
