//! HTTP/1.0 clients: the bytes that their server gets, and how each framing of its response reaches them.

use crate::harness::{EGRESS, ScriptStep, Server, TestProxy, connected, receive, rule, say};
use l7::HttpRule;
use proxy::RequestVerdict;

const GET: &str = "GET /public HTTP/1.0\r\n\r\n";
const HEARD: &str = "GET /public HTTP/1.0\r\nConnection: close\r\n\r\n";

/// The bytes that an HTTP/1.0 client gets for this response; the server closes after the client has all of them.
#[track_caller]
fn answered(request: &str, received: &str, answer: &str, expected: &str) {
    for waits in [true, false] {
        let mut script = vec![receive("\r\n\r\n"), say(answer)];
        script.extend(waits.then_some(ScriptStep::End));
        let (server, proxy, mut client) = connected(vec![script]);
        client.send(request);
        client.expect(expected);
        client.expect_end();
        drop(client);
        assert_eq!(server.received(), [received]);
        let event = proxy.event();
        assert_eq!(
            (event.verdict, event.status, &*event.protocol),
            (RequestVerdict::Forward, Some(200), "HTTP/1.0")
        );
        proxy.no_event();
    }
}

#[test]
fn a_response_with_a_length_ends_by_it() {
    let expected = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok",
    ] {
        answered(GET, HEARD, answer, expected);
    }
    let kept = "GET /public HTTP/1.0\r\nHost: svc\r\nConnection: keep-alive\r\n\r\n";
    let received = "GET /public HTTP/1.0\r\nHost: svc\r\nConnection: close\r\n\r\n";
    answered(kept, received, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", expected);
}

#[test]
fn a_response_without_a_length_ends_with_the_connection() {
    for version in ["1.0", "1.1"] {
        let answer = format!("HTTP/{version} 200 OK\r\n\r\nall there is");
        let (server, _proxy, mut client) = connected(vec![vec![receive("\r\n\r\n"), say(answer)]]);
        client.send(GET);
        client.expect("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall there is");
        client.expect_end();
        assert_eq!(server.received(), [HEARD]);
    }
}

#[test]
fn a_response_in_chunks_arrives_without_them() {
    let chunks = "3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nX-Sum: 1\r\n\r\n";
    for fields in ["", "Trailer: X-Sum\r\n", "Content-Type: application/grpc\r\n"] {
        let answer = format!("HTTP/1.1 200 OK\r\n{fields}Transfer-Encoding: chunked\r\n\r\n{chunks}");
        let kept = if fields.starts_with("Content") { fields } else { "" };
        let expected = format!("HTTP/1.1 200 OK\r\n{kept}Connection: close\r\n\r\nabcdefg");
        answered(GET, HEARD, &answer, &expected);
    }
}

#[test]
fn chunks_that_break_off_do_not_look_complete() {
    for rest in ["3\r\nabc\r\n", "3\r\nabcXX", "5\r\nabc"] {
        let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{rest}");
        let (server, _proxy, mut client) = connected(vec![vec![receive("\r\n\r\n"), say(answer)]]);
        client.send(GET);
        let mut all = Vec::new();
        let ended = std::io::Read::read_to_end(&mut client.stream, &mut all);
        let reset = ended.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset);
        assert!(reset, "{rest:?}: {}", String::from_utf8_lossy(&all));
        server.received();
    }
}

#[test]
fn a_response_without_a_body_has_none() {
    let head = "HEAD /public HTTP/1.0\r\n\r\n";
    let received = "HEAD /public HTTP/1.0\r\nConnection: close\r\n\r\n";
    let expected = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\n";
    answered(head, received, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", expected);
    let expected = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
    answered(head, received, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", expected);
}

#[test]
fn interim_responses_are_kept_from_the_client() {
    let last = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let answer = format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n{last}");
    answered(GET, HEARD, &answer, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    let (server, _proxy, mut client) = connected(vec![vec![
        receive("\r\n\r\n"),
        say("HTTP/1.1 102 Processing\r\n\r\n".repeat(101)),
        ScriptStep::End,
    ]]);
    client.send(GET);
    assert_eq!(client.status(), 502);
    server.received();
}

#[test]
fn a_body_goes_on_by_its_length_and_nothing_after_it() {
    let head = "POST /public HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    let received = "POST /public HTTP/1.0\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let (server, proxy, mut client) = connected(vec![vec![receive("hello"), say(answer), ScriptStep::End]]);
    client.send(format!("{head}hello{GET}"));
    client.expect("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    client.expect_end();
    assert_eq!(server.received(), [received]);
    assert_eq!(proxy.event().method, "POST");
    proxy.no_event();
}

#[test]
fn a_second_request_on_the_connection_is_not_read() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let (server, _proxy, mut client) =
        connected(vec![vec![receive("\r\n\r\n"), say(answer), ScriptStep::End]]);
    client.send(format!("GET /public HTTP/1.0\r\nConnection: keep-alive\r\n\r\n{GET}"));
    client.expect("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    client.expect_end();
    assert_eq!(server.received(), [HEARD]);
}

#[test]
fn a_denied_request_closes_the_connection() {
    let server = Server::new(vec![]);
    let proxy = TestProxy::new(server.address);
    let any_host = HttpRule { host: Some(".*".into()), ..rule("GET", "/public") };
    for (request, rules) in [
        ("GET /private HTTP/1.0\r\n\r\n", [rule("GET", "/public.*")]),
        ("GET /public/../private HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", [rule("GET", "/public.*")]),
        // A rule with a host does not match a request without one.
        (GET, [any_host]),
    ] {
        proxy.policy.ingress(&rules);
        let mut client = proxy.connect();
        client.send(request);
        client.expect(
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 15\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n\
             Access denied\r\n",
        );
        client.expect_end();
        let event = proxy.event();
        assert_eq!((event.verdict, &*event.protocol, &*event.host), (RequestVerdict::Deny, "HTTP/1.0", ""));
    }
    assert!(server.received().is_empty());
}

#[test]
fn a_protocol_is_not_switched() {
    let switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let (server, _proxy, mut client) =
        connected(vec![vec![receive("\r\n\r\n"), say(switching), ScriptStep::End]]);
    client.send("GET /public HTTP/1.0\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
    assert_eq!(client.status(), 502);
    assert_eq!(server.received(), [HEARD]);
}

#[test]
fn open_exchanges_end_when_policy_denies_them() {
    let (server, proxy, mut client) = connected(vec![vec![receive("\r\n\r\n"), ScriptStep::End]]);
    client.send(GET);
    proxy.wait_until_taken();
    std::thread::sleep(std::time::Duration::from_millis(50));
    proxy.policy.egress(&[rule("GET", "/other")]);
    assert_eq!(client.status(), 403);
    let event = proxy.event();
    assert_eq!((event.verdict, &*event.protocol), (RequestVerdict::Deny, "HTTP/1.0"));
    assert_eq!(event.decisions.last().map(|decision| decision.applied), Some(EGRESS));
    server.received();
}
