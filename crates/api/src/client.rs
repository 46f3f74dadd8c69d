//! A blocking client of the agent's API.

use crate::{Answer, ApiRequest, Cause, Envelope, Failure, VERSION};
use serde::de::DeserializeOwned;
use std::io::{self, BufRead, BufReader, Write};
use std::marker::PhantomData;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A connection to an agent.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    /// How long an answer may take.
    limit: Option<Duration>,
    stream: BufReader<UnixStream>,
}

/// Why a call failed.
#[derive(Debug)]
pub enum CallError {
    /// The connection failed.
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The agent did not answer in time.
    Silent {
        /// The socket.
        socket: PathBuf,
        /// How long the caller waited.
        waited: Duration,
    },
    /// The agent refused the request.
    Refused(Failure),
    /// The answer could not be parsed.
    Garbled {
        /// The socket.
        socket: PathBuf,
        /// What is wrong with it.
        message: String,
    },
}

impl Client {
    /// Connects to the agent at this socket.
    pub fn connect(socket: &Path) -> Result<Self, CallError> {
        let stream = UnixStream::connect(socket)
            .map_err(|source| CallError::Unreachable { socket: socket.to_path_buf(), source })?;
        Ok(Self { socket: socket.to_path_buf(), limit: None, stream: BufReader::new(stream) })
    }

    /// Limits how long the client waits for the agent to read a request, and for each piece of its answer. The limit is not
    /// zero.
    pub fn with_limit(mut self, limit: Duration) -> Result<Self, CallError> {
        let stream = self.stream.get_ref();
        let limited =
            stream.set_read_timeout(Some(limit)).and_then(|()| stream.set_write_timeout(Some(limit)));
        limited.map_err(|source| self.unreachable(source))?;
        self.limit = Some(limit);
        Ok(self)
    }

    /// Sends a request and waits for the answer.
    pub fn call<T: DeserializeOwned>(&mut self, request: ApiRequest) -> Result<T, CallError> {
        self.send(request).map_err(|error| self.refusal_or(error))?;
        self.answer()?.ok_or_else(|| self.garbled("the agent closed the connection without an answer"))
    }

    /// Sends a request and returns its answers one after another, until the agent has no more.
    pub fn follow<T: DeserializeOwned>(mut self, request: ApiRequest) -> Result<Answers<T>, CallError> {
        self.send(request).map_err(|error| self.refusal_or(error))?;
        Ok(Answers { client: self, shape: PhantomData })
    }

    fn send(&mut self, request: ApiRequest) -> Result<(), CallError> {
        let envelope = Envelope { version: VERSION, request };
        let mut line = serde_json::to_vec(&envelope).expect("requests are plain data with string keys");
        line.push(b'\n');
        self.stream.get_mut().write_all(&line).map_err(|source| self.unreachable(source))
    }

    /// The refusal that the agent sent before it closed the connection without reading the request, if it sent one.
    fn refusal_or(&mut self, error: CallError) -> CallError {
        match &error {
            CallError::Unreachable { source, .. } if source.kind() == io::ErrorKind::BrokenPipe => {
                match self.answer::<serde::de::IgnoredAny>() {
                    Err(refusal @ CallError::Refused(_)) => refusal,
                    _ => error,
                }
            }
            _ => error,
        }
    }

    fn answer<T: DeserializeOwned>(&mut self) -> Result<Option<T>, CallError> {
        let mut line = String::new();
        let read = self.stream.read_line(&mut line).map_err(|source| self.unreachable(source))?;
        if read == 0 {
            return Ok(None);
        }
        match serde_json::from_str(&line).map_err(|error| self.garbled(&error.to_string()))? {
            Answer::Ok(answer) => Ok(Some(answer)),
            Answer::Error(failure) => Err(CallError::Refused(failure)),
        }
    }

    fn unreachable(&self, source: io::Error) -> CallError {
        let socket = self.socket.clone();
        match self.limit {
            // The kernel reports a timeout of a socket as an operation that would block.
            Some(waited) if source.kind() == io::ErrorKind::WouldBlock => {
                CallError::Silent { socket, waited }
            }
            _ => CallError::Unreachable { socket, source },
        }
    }

    fn garbled(&self, message: &str) -> CallError {
        CallError::Garbled { socket: self.socket.clone(), message: message.to_string() }
    }
}

/// The answers to a request that is answered by a stream.
#[derive(Debug)]
pub struct Answers<T> {
    client: Client,
    shape: PhantomData<T>,
}

impl<T: DeserializeOwned> Iterator for Answers<T> {
    type Item = Result<T, CallError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.client.answer().transpose()
    }
}

impl CallError {
    /// Whether the agent refused the request as invalid.
    pub fn is_invalid(&self) -> bool {
        matches!(self, Self::Refused(Failure { cause: Cause::Invalid, .. }))
    }
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable { socket, source } => write!(
                f,
                "no agent answers at {}: {source}; start one with `nexin agent`, or name its socket with --socket",
                socket.display()
            ),
            Self::Silent { socket, waited } => write!(
                f,
                "the agent at {} has not answered for {:.1} s; its log may say why; traffic stays under policy while it is restarted",
                socket.display(),
                waited.as_secs_f64()
            ),
            Self::Refused(failure) => failure.fmt(f),
            Self::Garbled { socket, message } => {
                write!(
                    f,
                    "the agent at {} sent an answer that this program cannot parse: {message}",
                    socket.display()
                )
            }
        }
    }
}

impl std::error::Error for CallError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreachable { source, .. } => Some(source),
            Self::Silent { .. } | Self::Refused(_) | Self::Garbled { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_that_precedes_the_request_is_returned_to_the_caller() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        writeln!(&theirs, r#"{{"error":{{"cause":"internal","messages":["too many clients"]}}}}"#).unwrap();
        drop(theirs);
        let mut client = Client { socket: "/s".into(), limit: None, stream: BufReader::new(ours) };
        let error = client.call::<()>(ApiRequest::Status).unwrap_err();
        assert_eq!(error.to_string(), "too many clients");
        let error = client.call::<()>(ApiRequest::Status).unwrap_err();
        assert!(matches!(error, CallError::Unreachable { .. }), "{error}");
    }

    #[test]
    fn a_client_with_a_limit_does_not_wait_for_ever() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let client = Client { socket: "/s".into(), limit: None, stream: BufReader::new(ours) };
        let mut client = client.with_limit(Duration::from_millis(5)).unwrap();
        let error = client.call::<()>(ApiRequest::Status).unwrap_err();
        assert!(error.to_string().starts_with("the agent at /s has not answered for"), "{error}");
    }
}
