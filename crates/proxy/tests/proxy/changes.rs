//! Changes of policy during exchanges: an exchange that is denied now ends.

use crate::harness::{ScriptStep, Server, TestProxy, connected, receive, rule, say};
use proxy::RequestVerdict;
use std::thread;
use std::time::{Duration, Instant};

const GET: &str = "GET /public HTTP/1.1\r\nHost: svc\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
/// How soon after a change an exchange must end.
const SOON: Duration = Duration::from_secs(2);

/// A server with an endless response: it sends a megabyte, and then echoes the client.
fn download() -> Vec<ScriptStep> {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n";
    vec![receive("\r\n\r\n"), say(head), say(vec![b'x'; 1000]), ScriptStep::End]
}

#[test]
fn a_download_ends_when_its_rule_goes() {
    let (server, proxy, mut client) = connected(vec![download()]);
    client.send(GET);
    assert_eq!(client.status(), 200);
    assert_eq!(proxy.event().status, Some(200));
    proxy.policy.ingress(&[rule("GET", "/public"), rule("GET", "/other")]);
    thread::sleep(Duration::from_millis(200));
    proxy.no_event();
    assert_eq!(proxy.occupancy().in_use, 1, "an allowed exchange continues");
    let began = Instant::now();
    proxy.policy.ingress(&[rule("GET", "/other")]);
    assert!(client.rest().len() <= 1000);
    assert!(began.elapsed() < SOON);
    server.received();
    let event = proxy.event();
    assert_eq!((event.verdict, &*event.path, event.status), (RequestVerdict::Deny, "/public", None));
    assert_eq!(event.reason, "policy changed, and no HTTP rule allows it any more");
    assert_eq!((event.source_identity, event.destination_identity), (256, 257));
}

#[test]
fn an_upload_ends_when_its_rule_goes() {
    let (server, proxy, mut client) = connected(vec![vec![receive("\r\n\r\n"), ScriptStep::End]]);
    client.send("POST /public HTTP/1.1\r\nHost: svc\r\nContent-Length: 1000000\r\n\r\nhalf");
    thread::sleep(Duration::from_millis(100));
    proxy.policy.ingress(&[rule("GET", "/.*")]);
    assert_eq!(client.status(), 403);
    client.expect("Access denied\r\n");
    client.rest();
    server.received();
    assert_eq!(proxy.event().verdict, RequestVerdict::Deny);
}

#[test]
fn a_websocket_ends_when_its_rule_goes() {
    let switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let (server, proxy, mut client) =
        connected(vec![vec![receive("\r\n\r\n"), say(switching), ScriptStep::End]]);
    client.send("GET /public HTTP/1.1\r\nHost: svc\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
    client.expect(switching);
    client.send("a frame");
    proxy.policy.ingress(&[rule("GET", "/other")]);
    client.expect_end();
    server.received();
}

#[test]
fn a_new_rule_set_of_the_other_end_ends_exchanges_that_it_denies() {
    let (server, proxy, mut client) = connected(vec![download()]);
    client.send(GET);
    assert_eq!(client.status(), 200);
    proxy.policy.egress(&[rule("GET", "/other")]);
    client.rest();
    server.received();
}

#[test]
fn a_connection_whose_flow_is_denied_now_is_closed() {
    for script in [
        download(),
        vec![receive("\r\n\r\n"), say(OK), ScriptStep::End],
        vec![receive("\r\n\r\n"), ScriptStep::End],
    ] {
        let (server, proxy, mut client) = connected(vec![script]);
        client.send(GET);
        thread::sleep(Duration::from_millis(100));
        proxy.policy.unknown_flow();
        assert!(proxy.wait_until_free() < SOON);
        client.rest();
        server.received();
    }
}

#[test]
fn connections_end_with_the_workload_that_they_were_made_to() {
    let (server, proxy, mut client) = connected(vec![download()]);
    client.send(GET);
    assert_eq!(client.status(), 200);
    proxy.policy.server_is_replaced();
    assert!(proxy.wait_until_free() < SOON);
    client.rest();
    server.received();
}

#[test]
fn an_idle_connection_stays_and_its_next_request_is_judged() {
    let (server, proxy, mut client) = connected(vec![vec![receive("\r\n\r\n"), say(OK), ScriptStep::End]]);
    client.send(GET);
    client.expect(OK);
    proxy.policy.ingress(&[rule("GET", "/other")]);
    thread::sleep(Duration::from_millis(100));
    client.send(GET);
    assert_eq!(client.status(), 403);
    client.expect("Access denied\r\n");
    drop(client);
    server.received();
}

#[test]
fn unused_rules_are_freed() {
    let (server, proxy, mut client) = connected(vec![vec![receive("\r\n\r\n"), say(OK), ScriptStep::End]]);
    client.send(GET);
    client.expect(OK);
    let rules = proxy.policy.ingress(&[rule("GET", "/public"), rule("GET", "/more")]);
    thread::sleep(Duration::from_millis(100));
    assert!(rules.strong_count() > 1, "the idle connection is judged by them");
    proxy.policy.ingress(&[rule("GET", "/public")]);
    let began = Instant::now();
    while rules.strong_count() > 0 {
        assert!(began.elapsed() < SOON, "an idle connection holds old rules");
        thread::sleep(Duration::from_millis(5));
    }
    drop(client);
    server.received();
}

#[test]
fn requests_wait_until_their_rules_are_loaded() {
    let server = Server::new(vec![vec![receive("\r\n\r\n"), say(OK), ScriptStep::End]]);
    let proxy = TestProxy::new(server.address);
    proxy.policy.rules_are_late();
    let mut client = proxy.connect();
    client.send(GET);
    thread::sleep(Duration::from_millis(150));
    proxy.no_event();
    proxy.policy.rules_come();
    client.expect(OK);
    drop(client);
    server.received();
}

#[test]
fn open_exchanges_are_judged_when_late_rules_are_loaded() {
    let (server, proxy, mut client) = connected(vec![download()]);
    client.send(GET);
    assert_eq!(client.status(), 200);
    proxy.policy.rules_are_late();
    proxy.policy.ingress(&[rule("GET", "/other")]);
    thread::sleep(Duration::from_millis(100));
    assert_eq!(proxy.occupancy().in_use, 1);
    proxy.policy.rules_come();
    client.rest();
    assert!(proxy.wait_until_free() < SOON);
    server.received();
}
