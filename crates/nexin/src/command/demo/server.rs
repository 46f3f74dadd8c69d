//! app1 of the tutorial: a small HTTP server with a public and a private path.

use super::script::{PRIVATE, PUBLIC};
use crate::outcome::Outcome;
use anyhow::Context;
use clap::Args;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// Serve /public and /private, as app1 of the tutorial
#[derive(Debug, Args)]
pub(crate) struct DemoServer {
    /// Port to listen on
    #[arg(long, default_value_t = 80)]
    port: u16,
}

/// Maximum size of a request's head, in bytes.
const MAX_HEAD: u64 = 64 * 1024;

impl DemoServer {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        // The IPv6 wildcard address accepts both families.
        let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, self.port))
            .or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, self.port)))
            .with_context(|| format!("cannot listen on port {}", self.port))?;
        serve(&listener);
        Ok(Outcome::Holds)
    }
}

/// Serves each connection in a thread of its own.
pub(super) fn serve(listener: &TcpListener) {
    for stream in listener.incoming().flatten() {
        // An error of one client does not affect others.
        thread::spawn(move || answer(stream));
    }
}

/// Answers one request and closes the connection.
fn answer(stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut request = BufReader::new((&stream).take(MAX_HEAD));
    let mut line = String::new();
    request.read_line(&mut line)?;
    let mut field = String::new();
    while request.read_line(&mut field)? > 2 {
        field.clear();
    }
    let (status, body) = response(&line);
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n");
    (&stream).write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes())
}

fn response(request_line: &str) -> (&'static str, &'static str) {
    let mut words = request_line.split(' ');
    match (words.next(), words.next()) {
        (Some("GET"), Some("/public")) => ("200 OK", PUBLIC),
        (Some("GET"), Some("/private")) => ("200 OK", PRIVATE),
        _ => ("404 Not Found", "not found"),
    }
}
