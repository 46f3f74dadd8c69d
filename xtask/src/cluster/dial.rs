//! Connections that a test opens, the servers behind them, and what each attempt came to.

use anyhow::Result;
use serde_json::{Value, json};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// The port of the servers.
pub(super) const PORT: u16 = 7007;

/// What an attempt came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A server sent this greeting.
    Greeted(String),
    /// The other side reset the connection.
    Reset,
    /// Nothing came in time.
    Silence,
    /// Another error.
    Failed(String),
}

impl Outcome {
    /// The outcome as JSON, for a file.
    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::Greeted(greeting) => json!({"greeting": greeting}),
            Self::Reset => json!("reset"),
            Self::Silence => json!("silence"),
            Self::Failed(error) => json!({"error": error}),
        }
    }

    /// Parses what `to_json` wrote.
    pub(super) fn parse(value: &Value) -> Self {
        match (value.as_str(), value["greeting"].as_str()) {
            (_, Some(greeting)) => Self::Greeted(greeting.to_owned()),
            (Some("reset"), _) => Self::Reset,
            (Some("silence"), _) => Self::Silence,
            _ => Self::Failed(value["error"].as_str().unwrap_or("unreadable").to_owned()),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Greeted(greeting) => write!(f, "greeted as `{greeting}`"),
            Self::Reset => f.write_str("reset"),
            Self::Silence => f.write_str("silence"),
            Self::Failed(error) => f.write_str(error),
        }
    }
}

/// Connects, and reads the server's greeting.
pub(super) fn dial(to: SocketAddr, patience: Duration) -> Outcome {
    let until = Instant::now() + patience;
    match TcpStream::connect_timeout(&to, patience).and_then(|stream| greeting(stream, until)) {
        Ok(greeting) => Outcome::Greeted(greeting),
        Err(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::UnexpectedEof => Outcome::Reset,
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Outcome::Silence,
            _ => Outcome::Failed(error.to_string()),
        },
    }
}

fn greeting(mut stream: TcpStream, until: Instant) -> io::Result<String> {
    let mut bytes = Vec::new();
    while bytes.last() != Some(&b'\n') {
        let left = until.saturating_duration_since(Instant::now());
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        bytes.extend(byte);
    }
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

/// Listens for both families in the network namespace of the calling thread, and greets each client on a thread of its own.
pub(super) fn serve(greeting: String) -> Result<()> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT)))?;
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // A client that has gone needs no greeting.
            let _ = stream.write_all(format!("{greeting}\n").as_bytes());
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_read_as_they_are_written() {
        for outcome in [
            Outcome::Greeted("a b".into()),
            Outcome::Reset,
            Outcome::Silence,
            Outcome::Failed("no route".into()),
        ] {
            assert_eq!(Outcome::parse(&outcome.to_json()), outcome);
        }
    }
}
