//! A small blocking HTTP client, for hosts without curl; its exit codes are curl's.

use crate::outcome::{BadInput, Outcome};
use crate::session::Session;
use clap::Args;
use serde::{Deserialize, Serialize};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// Send an HTTP request, and print the response
#[derive(Debug, Args)]
pub(crate) struct DemoClient {
    /// Timeout in seconds
    #[arg(long, short = 'm', value_name = "SECONDS", default_value = "5")]
    patience: f64,
    /// URL: http://host[:port]/path
    url: String,
}

/// The result of a request; printed with `-o json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Fetched {
    /// A response.
    Answer {
        /// Its status.
        status: u16,
        /// Its body.
        body: String,
    },
    /// The name could not be resolved.
    NoAddress,
    /// The connection was refused.
    Refused,
    /// The request timed out.
    Silence,
    /// The connection was closed without a response.
    CutShort,
}

impl DemoClient {
    pub(crate) fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        let patience = Duration::try_from_secs_f64(self.patience)
            .map_err(|error| BadInput(format!("--patience {}: {error}", self.patience)))?;
        let fetched = fetch(&self.url, Instant::now() + patience)?;
        if session.is_json() {
            session.print_json(&fetched)?;
            return Ok(Outcome::Holds);
        }
        match &fetched {
            Fetched::Answer { body, .. } => io::stdout().write_all(body.as_bytes())?,
            _ => session.print_error(&fetched.describe()),
        }
        Ok(Outcome::Passes(fetched.exit_code()))
    }
}

impl Fetched {
    /// The result in one line.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Answer { body, .. } => body.trim_end().to_string(),
            Self::NoAddress => "the name could not be resolved".into(),
            Self::Refused => "the connection was refused".into(),
            Self::Silence => "no answer: timed out".into(),
            Self::CutShort => "the connection was closed without a response".into(),
        }
    }

    fn exit_code(&self) -> u8 {
        match self {
            Self::Answer { .. } => 0,
            Self::NoAddress => 6,
            Self::Refused => 7,
            Self::Silence => 28,
            Self::CutShort => 52,
        }
    }
}

/// Sends the request and reads the response until the deadline.
fn fetch(url: &str, deadline: Instant) -> Result<Fetched, BadInput> {
    let invalid = || BadInput(format!("{url:?} is not a URL of the form http://host[:port]/path"));
    let rest = url.strip_prefix("http://").ok_or_else(invalid)?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let target = if has_port { authority.to_string() } else { format!("{authority}:80") };
    let Ok(addresses) = target.to_socket_addrs() else { return Ok(Fetched::NoAddress) };
    let head = format!(
        "GET /{path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: nexin\r\nConnection: close\r\n\r\n"
    );
    let mut fetched = Fetched::NoAddress;
    for address in addresses {
        fetched = exchange(address, &head, deadline).unwrap_or_else(|error| failure(&error));
        if matches!(fetched, Fetched::Answer { .. }) {
            break;
        }
    }
    Ok(fetched)
}

fn exchange(address: SocketAddr, head: &str, deadline: Instant) -> io::Result<Fetched> {
    let left = || {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::Error::from(ErrorKind::TimedOut)) } else { Ok(left) }
    };
    let mut stream = TcpStream::connect_timeout(&address, left()?)?;
    stream.write_all(head.as_bytes())?;
    let mut answer = Vec::new();
    loop {
        stream.set_read_timeout(Some(left()?))?;
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk)? {
            0 => break,
            read => answer.extend_from_slice(&chunk[..read]),
        }
    }
    parse(&answer).ok_or_else(|| ErrorKind::UnexpectedEof.into())
}

/// Parses a response that ends with the connection.
fn parse(answer: &[u8]) -> Option<Fetched> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some(Fetched::Answer { status, body: body.to_string() })
}

fn failure(error: &io::Error) -> Fetched {
    match error.kind() {
        ErrorKind::ConnectionRefused => Fetched::Refused,
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Fetched::Silence,
        _ => Fetched::CutShort,
    }
}

#[cfg(test)]
mod tests {
    use super::super::server;
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(200)
    }

    #[test]
    fn the_client_reads_the_servers_responses() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || server::serve(&listener));
        let check = |path: &str, status: u16, body: &str| {
            let fetched = fetch(&format!("http://{address}{path}"), Instant::now() + Duration::from_secs(5));
            assert_eq!(fetched.unwrap(), Fetched::Answer { status, body: body.into() }, "{path}");
        };
        check("/public", 200, "{ 'val': 'this is public' }");
        check("/private", 200, "{ 'val': 'this is private' }");
        check("/public?x=1", 404, "not found");
        check("", 404, "not found");
    }

    #[test]
    fn a_timeout_is_distinguished_from_a_refused_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        assert_eq!(fetch(&url, soon()).unwrap(), Fetched::Silence);
        drop(listener);
        assert_eq!(fetch(&url, soon()).unwrap(), Fetched::Refused);
    }

    #[test]
    fn an_invalid_url_is_bad_input() {
        assert!(fetch("app1-service/public", soon()).is_err());
    }
}
