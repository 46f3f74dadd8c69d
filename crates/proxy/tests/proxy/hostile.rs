//! Malformed and ambiguous requests: none of their bytes reach the server.

use crate::harness::{Server, TestProxy, connected, receive, say};
use proxy::RequestVerdict;

#[track_caller]
fn refused(status: u16, bytes: impl AsRef<[u8]>) {
    let (server, proxy, mut client) = connected(vec![]);
    client.send(bytes.as_ref());
    assert_eq!(client.status(), status, "{}", String::from_utf8_lossy(bytes.as_ref()));
    let rest = client.rest();
    assert!(
        !rest.windows(9).any(|bytes| bytes == b"HTTP/1.1 "),
        "a second answer: {}",
        String::from_utf8_lossy(&rest)
    );
    let event = proxy.event();
    assert_eq!((event.verdict, event.status), (RequestVerdict::Refuse, Some(status)));
    assert!(!event.reason.is_empty());
    assert!(server.received().is_empty());
}

#[test]
fn malformed_requests_are_refused_and_the_connection_closed() {
    let smuggled = "GET /public HTTP/1.1\r\nHost: svc\r\n\r\n";
    for (status, head) in [
        (
            400,
            "POST /public HTTP/1.1\r\nHost: svc\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n",
        ),
        (400, "POST /public HTTP/1.1\r\nHost: svc\r\nContent-Length: 0, 42\r\n\r\n"),
        (501, "POST /public HTTP/1.1\r\nHost: svc\r\nTransfer-Encoding: xchunked\r\n\r\n"),
        (400, "GET /public HTTP/1.1\r\nHost: svc\r\nHost: other\r\n\r\n"),
        (400, "GET /public HTTP/1.1\r\n\r\n"),
        (400, "GET /public\0 HTTP/1.1\r\nHost: svc\r\n\r\n"),
        (400, "GET /public%2f..%2fprivate HTTP/1.1\r\nHost: svc\r\n\r\n"),
        (501, "CONNECT svc:80 HTTP/1.1\r\nHost: svc:80\r\n\r\n"),
        (400, "GET /public HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (400, "POST /public HTTP/1.0\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (400, "POST /public HTTP/1.0\r\n\r\nabc"),
        (505, "GET /public HTTP/0.9\r\n\r\n"),
        (400, "GET /public\r\n"),
        (505, "GET /public HTTP/3.0\r\nHost: svc\r\n\r\n"),
        (417, "POST /public HTTP/1.1\r\nHost: svc\r\nExpect: the-unexpected\r\n\r\n"),
    ] {
        refused(status, [head, smuggled].concat());
    }
}

#[test]
fn other_protocols_are_refused_at_once() {
    refused(505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    refused(400, b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03");
    refused(400, "SSH-2.0-client\r\n");
    refused(400, "hello\n");
    refused(400, "\r\n".repeat(2000));
}

#[test]
fn a_head_larger_than_the_limit_is_refused() {
    refused(431, format!("GET /public HTTP/1.1\r\nHost: svc\r\nX: {}", "a".repeat(70_000)));
    refused(431, format!("GET /public HTTP/1.1\r\nHost: svc\r\n{}\r\n", "X: y\r\n".repeat(101)));
}

#[test]
fn the_largest_head_passes() {
    let head = "GET /public HTTP/1.1\r\nHost: svc\r\nX: ";
    let request = format!("{head}{}\r\n\r\n", "a".repeat(l7::head::MAX_HEAD - head.len() - 4));
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let (server, _proxy, mut client) = connected(vec![vec![receive("\r\n\r\n"), say(answer)]]);
    client.send(&request);
    client.expect(answer);
    assert!(server.received() == [request], "the head was changed");
}

#[test]
fn a_malformed_chunk_ends_the_exchange() {
    let (server, proxy, mut client) = connected(vec![vec![receive("\r\n\r\n")]]);
    client
        .send("POST /public HTTP/1.1\r\nHost: svc\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcXX0\r\n\r\n");
    assert_eq!(client.status(), 400);
    client.rest();
    let event = proxy.event();
    assert_eq!((event.status, event.reason), (Some(400), "a malformed chunk"));
    drop(server);
}

#[test]
fn a_large_body_of_a_denied_request_is_not_waited_for() {
    let (server, _proxy, mut client) = connected(vec![]);
    client.send("POST /private HTTP/1.1\r\nHost: svc\r\nContent-Length: 1000000\r\n\r\nabc");
    assert_eq!(client.status(), 403);
    client.expect("Access denied\r\n");
    client.expect_end();
    assert!(server.received().is_empty());
}

#[test]
fn an_endless_body_of_a_denied_request_is_not_read_for_ever() {
    let (server, _proxy, mut client) = connected(vec![]);
    client.send("POST /private HTTP/1.1\r\nHost: svc\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(client.status(), 403);
    let mut writer = client.stream.try_clone().expect("a second handle");
    std::thread::spawn(move || while std::io::Write::write_all(&mut writer, b"5\r\nhello\r\n").is_ok() {});
    client.expect("Access denied\r\n");
    client.rest();
    assert!(server.received().is_empty());
}

#[test]
fn a_request_that_takes_too_long_to_match_is_refused_and_holds_up_no_other() {
    let rules: Vec<_> =
        (0..60).map(|n| crate::harness::rule("GET", &format!("/.*a.{{{}}}x", 20 + n))).collect();
    let server = Server::new(vec![]);
    let proxy = TestProxy::new(server.address);
    proxy.policy.ingress(&rules);
    let mut random = 1u64;
    let noise = std::iter::repeat_with(|| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if random >> 63 == 0 { 'a' } else { 'b' }
    });
    let path: String = noise.take(7000).collect();
    let mut client = proxy.connect();
    client.send(format!("GET /{path} HTTP/1.1\r\nHost: svc\r\n\r\n"));
    assert_eq!(client.status(), 400);
    client.rest();
    let event = proxy.event();
    assert_eq!(event.reason, "matching the HTTP rules against this request takes too long");
    assert_eq!((event.verdict, event.path.len(), event.source_identity), (RequestVerdict::Refuse, 7001, 256));
    assert!(server.received().is_empty());
}
