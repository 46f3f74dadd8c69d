//! Verdicts: allowed and denied requests under each policy, and their events.

use crate::harness::{EGRESS, INGRESS, ScriptStep, Server, TestProxy, connected, receive, rule, say};
use proxy::{RequestVerdict, RuleSetDecision};

const GET: &str = "GET /public HTTP/1.1\r\nHost: svc\r\n\r\n";
const PRIVATE: &str = "GET /private HTTP/1.1\r\nHost: svc\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const DENIED: &str =
    "HTTP/1.1 403 Forbidden\r\nContent-Length: 15\r\nContent-Type: text/plain\r\n\r\nAccess denied\r\n";

/// One exchange of the server.
fn ok() -> [ScriptStep; 2] {
    [receive("\r\n\r\n"), say(OK)]
}

#[test]
fn an_allowed_request_reaches_the_server() {
    let (server, proxy, mut client) = connected(vec![ok().into()]);
    client.send(
        "GET /public/../public?x=%2e HTTP/1.1\r\nhost:svc:80\r\nA:  b\r\nConnection: keep-alive\r\n\r\n",
    );
    client.expect(OK);
    assert_eq!(server.received(), ["GET /public?x=%2e HTTP/1.1\r\nhost: svc:80\r\nA: b\r\n\r\n"]);

    let event = proxy.event();
    assert_eq!((event.verdict, event.status, event.reason), (RequestVerdict::Forward, Some(200), ""));
    assert_eq!((event.source_identity, event.destination_identity), (256, 257));
    assert_eq!((&*event.method, &*event.path, &*event.host), ("GET", "/public?x=%2e", "svc:80"));
    assert_eq!(*event.decisions, [RuleSetDecision { applied: INGRESS, http_rule: Some(0) }]);
    assert_eq!((event.client, event.server), (client.stream.local_addr().expect("bound"), proxy.server));
    assert!(!event.latency.is_zero());
    proxy.no_event();
}

#[test]
fn a_denied_request_gets_403_and_the_connection_stays_open() {
    let (server, proxy, mut client) = connected(vec![ok().into()]);
    client.send(PRIVATE);
    client.expect(DENIED);
    client.send("POST /private HTTP/1.1\r\nHost: svc\r\nContent-Length: 5\r\n\r\nhello");
    client.expect(DENIED);
    client.send(
        "POST /private HTTP/1.1\r\nHost: svc\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
    );
    client.expect(DENIED);
    client.send("HEAD /private HTTP/1.1\r\nHost: svc\r\n\r\n");
    client.expect(DENIED.trim_end_matches("Access denied\r\n"));
    client.send(GET);
    client.expect(OK);
    assert_eq!(server.received(), [GET]);
    for method in ["GET", "POST", "POST", "HEAD"] {
        let event = proxy.event();
        assert_eq!((event.verdict, event.status, &*event.method), (RequestVerdict::Deny, Some(403), method));
        assert_eq!(*event.decisions, [RuleSetDecision { applied: INGRESS, http_rule: None }]);
    }
    assert_eq!(proxy.event().verdict, RequestVerdict::Forward);
}

#[test]
fn both_sides_must_allow() {
    let server = Server::new(vec![ok().into()]);
    let proxy = TestProxy::new(server.address);
    proxy.policy.egress(&[rule("GET", "/.*"), rule("PUT", "/.*")]);
    let mut client = proxy.connect();
    client.send("POST /public HTTP/1.1\r\nHost: svc\r\n\r\n");
    client.expect(DENIED);
    assert_eq!(*proxy.event().decisions, [RuleSetDecision { applied: EGRESS, http_rule: None }]);
    client.send("PUT /public HTTP/1.1\r\nHost: svc\r\n\r\n");
    client.expect(DENIED);
    let allowed_out = RuleSetDecision { applied: EGRESS, http_rule: Some(1) };
    assert_eq!(
        *proxy.event().decisions,
        [allowed_out, RuleSetDecision { applied: INGRESS, http_rule: None }]
    );
    client.send(GET);
    client.expect(OK);
    assert_eq!(proxy.event().decisions.len(), 2);
    assert_eq!(server.received(), [GET]);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (server, proxy, mut client) = connected(vec![[ok(), ok()].into_iter().flatten().collect()]);
    client.send([GET, PRIVATE, GET, PRIVATE].concat());
    client.expect([OK, DENIED, OK, DENIED].concat());
    assert_eq!(server.received(), [[GET, GET].concat()]);
    let verdicts: Vec<_> = (0..4).map(|_| proxy.event().verdict).collect();
    assert_eq!(
        verdicts,
        [RequestVerdict::Forward, RequestVerdict::Deny, RequestVerdict::Forward, RequestVerdict::Deny]
    );
}

#[test]
fn a_change_of_policy_takes_effect_at_the_next_request() {
    let script = vec![ok(), ok()].into_iter().flatten().collect();
    let (server, proxy, mut client) = connected(vec![script]);
    client.send(GET);
    client.expect(OK);
    proxy.policy.ingress(&[rule("GET", "/other")]);
    client.send(GET);
    client.expect(DENIED);
    proxy.policy.no_rules();
    client.send(PRIVATE);
    client.expect(OK);
    assert_eq!(server.received(), [[GET, PRIVATE].concat()]);
}

#[test]
fn requests_are_refused_where_policy_is_not_available() {
    let (server, proxy, mut client) = connected(vec![ok().into()]);
    client.send(GET);
    client.expect(OK);
    assert_eq!(proxy.event().status, Some(200));
    drop(client);
    server.received();

    let mut client = proxy.connect();
    proxy.policy.unknown_flow();
    client.send(GET);
    assert_eq!(client.status(), 503);
    client.rest();
    let event = proxy.event();
    assert_eq!((event.verdict, event.status, &*event.path), (RequestVerdict::Refuse, Some(503), "/public"));

    let mut client = proxy.connect();
    proxy.policy.ingress(&[rule("GET", "/public")]);
    proxy.policy.unknown_sets();
    client.send(GET);
    assert_eq!(client.status(), 500);
    client.rest();
    assert_eq!(proxy.event().verdict, RequestVerdict::Refuse);
    proxy.no_event();
}

#[test]
fn an_empty_rule_set_denies_everything() {
    let server = Server::new(vec![]);
    let proxy = TestProxy::new(server.address);
    proxy.policy.ingress(&[]);
    let mut client = proxy.connect();
    client.send(GET);
    client.expect(DENIED);
    assert!(server.received().is_empty());
}
