//! Ends of connections: orderly, by reset, and by time-out.

use crate::harness::{ScriptStep, Server, TestProxy, connected, quick, receive, say};
use proxy::RequestVerdict;
use std::net::{Ipv4Addr, Shutdown, TcpListener};
use std::time::{Duration, Instant};

const GET: &str = "GET /public HTTP/1.1\r\nHost: svc\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn a_server_that_closes_after_a_response_closes_for_the_client() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    let (server, _proxy, mut client) = connected(vec![vec![receive("\r\n\r\n"), say(answer)]]);
    client.send([GET, GET].concat());
    client.expect(answer);
    client.expect_end();
    assert_eq!(server.received(), [GET]);
}

#[test]
fn a_client_that_asks_to_close_is_closed() {
    let (server, _proxy, mut client) = connected(vec![vec![receive("\r\n\r\n"), say(OK)]]);
    client.send("GET /public HTTP/1.1\r\nHost: svc\r\nConnection: close\r\n\r\n");
    client.expect("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    client.expect_end();
    assert_eq!(server.received(), ["GET /public HTTP/1.1\r\nHost: svc\r\nConnection: close\r\n\r\n"]);
}

#[test]
fn a_server_that_closes_an_idle_connection_closes_it_for_the_client() {
    let (_server, _proxy, mut client) = connected(vec![vec![receive("\r\n\r\n"), say(OK)]]);
    client.send(GET);
    client.expect(OK);
    client.expect_end();
}

#[test]
fn a_client_may_stop_sending_before_it_has_its_answer() {
    let (_server, _proxy, mut client) = connected(vec![vec![receive("\r\n\r\n"), say(OK)]]);
    client.send(GET);
    client.stream.shutdown(Shutdown::Write).expect("connected");
    client.expect(OK);
    client.expect_end();
}

#[test]
fn a_server_that_is_not_there_is_reported() {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port").local_addr().expect("bound");
    let proxy = TestProxy::new(free);
    let mut client = proxy.connect();
    client.send("POST /public HTTP/1.1\r\nHost: svc\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.status(), 503);
    client.rest();
    let event = proxy.event();
    assert_eq!((event.status, event.verdict), (Some(503), RequestVerdict::Forward));
    assert_eq!(event.reason, "the server cannot be reached");
}

#[test]
fn a_server_that_closes_instead_of_answering_is_reported() {
    for script in [
        vec![receive("\r\n\r\n")],
        vec![receive("\r\n\r\n"), ScriptStep::Reset],
        vec![receive("\r\n\r\n"), say("HTTP/1.1 2")],
    ] {
        let (server, proxy, mut client) = connected(vec![script]);
        client.send(GET);
        assert_eq!(client.status(), 502);
        client.rest();
        assert_eq!(proxy.event().status, Some(502));
        server.received();
    }
}

#[test]
fn a_server_that_does_not_speak_http_is_reported() {
    for answer in [
        "SSH-2.0-server\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        "\r\n\r\n",
    ] {
        let (_server, _proxy, mut client) = connected(vec![vec![receive("\r\n\r\n"), say(answer)]]);
        client.send(GET);
        assert_eq!(client.status(), 502, "{answer:?}");
        client.rest();
    }
}

#[test]
fn a_response_cut_short_does_not_look_complete() {
    for (answer, kept) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalfXX", false),
    ] {
        let (server, _proxy, mut client) = connected(vec![vec![receive("\r\n\r\n"), say(answer)]]);
        client.send(GET);
        let rest = client.rest();
        let rest = String::from_utf8_lossy(&rest);
        assert!(answer.starts_with(&*rest), "{rest:?} of {answer:?}");
        assert!(kept || !rest.contains("XX"), "{rest:?}");
        server.received();
    }
}

#[test]
fn an_early_answer_reaches_a_client_that_is_still_sending() {
    let answer = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno";
    let (_server, _proxy, mut client) =
        connected(vec![vec![receive("\r\n\r\n"), say(answer), ScriptStep::Swallow(100_000)]]);
    client.send("POST /public HTTP/1.1\r\nHost: svc\r\nContent-Length: 1000000\r\n\r\n");
    client.send([b'x'; 200_000]);
    client.expect(answer);
}

#[test]
fn a_client_that_goes_away_ends_the_servers_connection_too() {
    let hint = "HTTP/1.1 103 Early Hints\r\n\r\n";
    let request = "POST /public HTTP/1.1\r\nHost: svc\r\nContent-Length: 10\r\n\r\nhalf";
    let (server, proxy, mut client) = connected(vec![vec![receive("half"), say(hint), ScriptStep::End]]);
    client.send(request);
    client.expect(hint);
    drop(client);
    assert_eq!(server.received(), [request]);
    let event = proxy.event();
    assert_eq!((event.status, event.reason), (None, "the client closed the connection"));
}

#[test]
fn slow_heads_time_out_however_they_trickle() {
    let (_server, proxy, mut client) = connected(vec![]);
    let began = Instant::now();
    let mut trickle = client.stream.try_clone().expect("a second handle");
    std::thread::spawn(move || {
        let endless = b"GET /public HTTP/1.1\r\nX: ".iter().chain(b"a".iter().cycle());
        for byte in endless {
            if std::io::Write::write_all(&mut trickle, &[*byte]).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    assert_eq!(client.status(), 408);
    assert!(began.elapsed() >= quick().head_timeout);
    client.rest();
    assert_eq!(proxy.event().status, Some(408));
}

#[test]
fn idle_connections_are_closed_without_a_response() {
    let (_server, proxy, mut client) = connected(vec![]);
    let began = Instant::now();
    client.expect_end();
    assert!(began.elapsed() >= quick().idle_timeout);
    proxy.no_event();
}

#[test]
fn connections_beyond_the_limit_wait_for_a_slot() {
    let server = Server::new(vec![vec![receive("\r\n\r\n"), ScriptStep::End]]);
    let config = proxy::ProxyConfig { max_connections: 1, slot_timeout: Duration::from_secs(10), ..quick() };
    let proxy = TestProxy::with(server.address, config);
    let mut first = proxy.connect();
    first.send(GET);
    std::thread::sleep(Duration::from_millis(100));
    let mut second = proxy.connect();
    second.send("GET /private HTTP/1.1\r\nHost: svc\r\n\r\n");
    second.stream.set_read_timeout(Some(Duration::from_millis(200))).expect("not zero");
    assert!(std::io::Read::read(&mut second.stream, &mut [0]).is_err(), "it was served beside the first");
    second.stream.set_read_timeout(Some(Duration::from_secs(10))).expect("not zero");
    drop(first);
    assert_eq!(second.status(), 403);
    server.received();
}

#[test]
fn a_connection_beyond_the_limit_gets_the_slot_of_an_idle_one() {
    let server = Server::new(vec![]);
    let proxy = TestProxy::with(server.address, proxy::ProxyConfig { max_connections: 1, ..quick() });
    let private = "GET /private HTTP/1.1\r\nHost: svc\r\n\r\n";
    let mut first = proxy.connect();
    first.send(private);
    assert_eq!(first.status(), 403);
    first.expect("Access denied\r\n");
    let mut second = proxy.connect();
    second.send(private);
    assert_eq!(second.status(), 403);
    first.expect_end();
}

#[test]
fn a_client_gets_its_answer_though_it_reads_only_when_all_was_sent() {
    for status in ["200 OK", "413 Content Too Large"] {
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: 3000000\r\n");
        let body = "a".repeat(3_000_000);
        let server =
            Server::new(vec![vec![receive("\r\n\r\n"), say(format!("{head}\r\n{body}")), ScriptStep::End]]);
        let proxy = TestProxy::new(server.address);
        let mut client = proxy.connect();
        client.send("POST /public HTTP/1.1\r\nHost: svc\r\nContent-Length: 30000000\r\n\r\n");
        client.send(vec![b'x'; 30_000_000]);
        client.expect(format!("{head}Connection: close\r\n\r\n{body}"));
    }
}
