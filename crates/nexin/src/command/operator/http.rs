//! The server's side of HTTP exchanges on a stream, with the parser of the proxy.

use l7::head::FieldStorage;
use l7::{Body, Refusal, Request, Scanner};
use std::io::{self, Read, Write};

/// The longest body: the API server accepts objects of 3 MiB at most, and a review has two of them.
const MAX_BODY: usize = 8 << 20;

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    status: &'static str,
    content: &'static str,
    body: String,
}

impl Answer {
    /// Plain text.
    pub(super) fn text(body: String) -> Self {
        Self { status: "200 OK", content: "text/plain; version=0.0.4", body }
    }

    /// JSON.
    pub(super) fn json(body: String) -> Self {
        Self { status: "200 OK", content: "application/json", body }
    }

    /// The request has no answer.
    pub(super) fn bad(body: String) -> Self {
        Self { status: "400 Bad Request", content: "text/plain", body }
    }

    /// There is nothing at this path.
    pub(super) fn absent() -> Self {
        Self { status: "404 Not Found", content: "text/plain", body: "not found\n".into() }
    }
}

/// Serves one exchange; `answer` gets path and body. Returns whether another exchange may follow.
pub(super) fn serve_one(
    stream: &mut (impl Read + Write),
    answer: &dyn Fn(&str, &[u8]) -> Answer,
) -> io::Result<bool> {
    let mut input = Vec::new();
    let mut scanner = Scanner::default();
    let head = loop {
        match scanner.scan(&input) {
            Ok(Some(head)) => break head,
            Ok(None) if read_more(stream, &mut input)? => {}
            Ok(None) => return Ok(false),
            Err(refusal) => return refuse(stream, &refusal),
        }
    };
    let rest = input.split_off(head.end);
    let mut storage = FieldStorage::of(&input);
    let (path, framing, close, expects) = match Request::parse(&mut input[head], storage.slots()) {
        Ok(request) => {
            let expects = request.fields.iter().any(|field| field.name.eq_ignore_ascii_case("expect"));
            (request.path.to_owned(), request.framing, request.close, expects)
        }
        Err(refusal) => return refuse(stream, &refusal),
    };
    if expects {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let body = match body(stream, Body::new(framing), rest)? {
        Ok(body) => body,
        Err(refusal) => return refuse(stream, &refusal),
    };
    let path = path.split('?').next().unwrap_or_default();
    write(stream, &answer(path, &body), close)?;
    Ok(!close)
}

/// Reads a body. Bytes of a next request are not expected: the clients wait for an answer.
fn body(stream: &mut impl Read, mut frame: Body, mut input: Vec<u8>) -> io::Result<Result<Vec<u8>, Refusal>> {
    let mut content = Vec::new();
    loop {
        let is_chunked = frame.is_framed_anew();
        match frame.advance(&input) {
            Ok(taken) if is_chunked => {
                // Chunks are not put together: the API server sends bodies of a known length.
                input.drain(..taken);
            }
            Ok(taken) => content.extend(input.drain(..taken)),
            Err(refusal) => return Ok(Err(refusal)),
        }
        if frame.is_done() {
            return Ok(Ok(content));
        }
        if content.len() > MAX_BODY || !read_more(stream, &mut input)? {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

fn read_more(stream: &mut impl Read, input: &mut Vec<u8>) -> io::Result<bool> {
    let mut piece = [0; 16 << 10];
    let length = stream.read(&mut piece)?;
    input.extend_from_slice(&piece[..length]);
    Ok(length > 0)
}

fn refuse(stream: &mut impl Write, refusal: &Refusal) -> io::Result<bool> {
    write(stream, &Answer::bad(format!("{refusal:?}\n")), true)?;
    Ok(false)
}

fn write(stream: &mut impl Write, answer: &Answer, close: bool) -> io::Result<()> {
    let Answer { status, content, body } = answer;
    let close = if close { "Connection: close\r\n" } else { "" };
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Type: {content}\r\nContent-Length: {length}\r\n{close}\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    stream.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream that yields one byte at a time.
    struct Stream {
        input: Vec<u8>,
        at: usize,
        output: Vec<u8>,
    }

    impl Read for Stream {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let Some(byte) = self.input.get(self.at) else { return Ok(0) };
            into[0] = *byte;
            self.at += 1;
            Ok(1)
        }
    }

    impl Write for Stream {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.output.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn check(input: &str, expected: &str, follows: bool) {
        let mut stream = Stream { input: input.into(), at: 0, output: Vec::new() };
        let echo =
            |path: &str, body: &[u8]| Answer::json(format!("{path} {}", String::from_utf8_lossy(body)));
        assert_eq!(serve_one(&mut stream, &echo).unwrap(), follows, "{input:?}");
        let output = String::from_utf8(stream.output).unwrap();
        assert!(output.starts_with("HTTP/1.1 ") && output.ends_with(expected), "{output:?}");
    }

    #[test]
    fn a_request_gets_an_answer() {
        let post = "POST /review?timeout=2s HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
        check(post, "\r\n\r\n/review abc", true);
        check("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "\r\n\r\n/ ", false);
        check("GET / HTTP/1.1\nHost: a\n\n", "\n", false);
    }

    #[test]
    fn a_client_that_ends_early_gets_no_answer() {
        let mut stream = Stream { input: b"GET / HT".to_vec(), at: 0, output: Vec::new() };
        assert!(!serve_one(&mut stream, &|_, _| Answer::absent()).unwrap());
        let half = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na".to_vec();
        let mut stream = Stream { input: half, at: 0, output: Vec::new() };
        assert!(serve_one(&mut stream, &|_, _| Answer::absent()).is_err());
    }
}
