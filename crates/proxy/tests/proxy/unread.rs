//! Output that the receiver does not read: in every state, the proxy buffers a bounded part of it.

use crate::harness::{ScriptStep, TestProxy, connected, receive, say};
use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// More than the socket buffers on the way, and less than an unbounded buffer would take.
const BOUND: usize = 24 << 20;

/// Writes the same bytes repeatedly, until the socket blocks for a moment or `most` bytes were written; returns how many.
fn flood(stream: &mut TcpStream, bytes: &[u8], most: usize) -> usize {
    stream.set_write_timeout(Some(Duration::from_millis(700))).expect("not zero");
    let bytes = bytes.repeat(1 + (1 << 16) / bytes.len());
    let mut taken = 0;
    while taken < most {
        match stream.write(&bytes) {
            Ok(count) => taken += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    taken
}

/// A server that reads a head, sends the first text, and then the second text for ever.
fn flooding(first: &'static str, then: &'static str) -> (SocketAddr, JoinHandle<usize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
    let address = listener.local_addr().expect("it is bound");
    let serving = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
        stream.write_all(first.as_bytes()).expect("the proxy reads");
        flood(&mut stream, then.as_bytes(), 4 * BOUND)
    });
    (address, serving)
}

#[test]
fn buffered_bytes_for_a_client_that_does_not_read_are_bounded() {
    for (first, then) in [
        ("", "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"),
        ("", "HTTP/1.1 100 Continue\r\n\r\n"),
        ("HTTP/1.1 200 OK\r\n\r\n", "everything there is"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1;extension=long\r\nx\r\n"),
        ("HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", "frames"),
    ] {
        let (address, serving) = flooding(first, then);
        let proxy = TestProxy::new(address);
        let mut client = proxy.connect();
        client.send("GET /public HTTP/1.1\r\nHost: svc\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n");
        let taken = serving.join().expect("no panic");
        assert!(taken < BOUND, "{taken} bytes of {then:?} were taken");
    }
}

#[test]
fn buffered_bytes_for_a_server_that_does_not_read_are_bounded() {
    let chunked = "POST /public HTTP/1.1\r\nHost: svc\r\nTransfer-Encoding: chunked\r\n\r\n";
    let long = "POST /public HTTP/1.1\r\nHost: svc\r\nContent-Length: 100000000000\r\n\r\n";
    for (head, body) in [(long, "x"), (chunked, "1\r\nx\r\n"), (chunked, "1;extension=long\r\nx\r\n")] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
        let proxy = TestProxy::new(listener.local_addr().expect("it is bound"));
        let mut client = proxy.connect();
        client.send(head);
        let taken = flood(&mut client.stream, body.as_bytes(), 4 * BOUND);
        assert!(taken < BOUND, "{taken} bytes were taken");
    }
}

#[test]
fn responses_of_the_proxy_to_a_client_that_does_not_read_are_bounded() {
    for request in [
        "GET /private HTTP/1.1\r\nHost: svc\r\n\r\n",
        "POST /private HTTP/1.1\r\nHost: svc\r\nContent-Length: 1\r\n\r\nx",
        "POST /private HTTP/1.1\r\nHost: svc\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    ] {
        let (_server, _proxy, mut client) = connected(vec![]);
        let taken = flood(&mut client.stream, request.as_bytes(), 4 * BOUND);
        assert!(taken < BOUND, "{taken} bytes were taken");
    }
}

#[test]
fn interim_responses_are_bounded_in_number_and_size() {
    let hint = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n";
    let large = format!("HTTP/1.1 103 Early Hints\r\nLink: {}\r\n\r\n", "a".repeat(20_000));
    for hint in [hint, &large] {
        let (server, proxy, mut client) =
            connected(vec![vec![receive("\r\n\r\n"), say(hint.repeat(5000)), ScriptStep::End]]);
        client.send("GET /public HTTP/1.1\r\nHost: svc\r\n\r\n");
        let answers = client.rest();
        let answers = String::from_utf8_lossy(&answers);
        assert!(answers.contains("HTTP/1.1 502 Bad Gateway\r\n"), "it ends with an answer");
        assert!(answers.len() < 300_000, "{} bytes of interim responses", answers.len());
        let event = proxy.event();
        assert_eq!((event.status, event.reason), (Some(502), "too many interim responses"));
        server.received();
    }
}

#[test]
fn interim_responses_of_an_ordinary_number_pass() {
    let interim = "HTTP/1.1 102 Processing\r\n\r\n".repeat(50);
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let (_server, _proxy, mut client) =
        connected(vec![vec![receive("\r\n\r\n"), say([&interim, ok].concat()), ScriptStep::End]]);
    client.send("GET /public HTTP/1.1\r\nHost: svc\r\n\r\n");
    client.expect([&interim, ok].concat());
}
