//! Fields and framing of one hop, and messages that a server could parse differently from the proxy.

use crate::harness::{ScriptStep, Server, TestProxy, connected, receive, rule, say};
use l7::rule::HeaderRule;
use l7::{Body, Framing, HttpRule};
use proxy::RequestVerdict;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const HIDDEN: &str = "GET /private HTTP/1.1\r\nHost: svc\r\n\r\n";
const CHUNKED: &str = "Transfer-Encoding: chunked\r\n\r\n";

fn with_header(name: &str, value: Option<&str>, rule: HttpRule) -> HttpRule {
    let header = HeaderRule { name: name.to_owned(), value: value.map(str::to_owned) };
    HttpRule { headers: vec![header], ..rule }
}

/// The data of a chunked body, which must have no extensions and end at the end of the text.
#[track_caller]
fn data_of(mut chunks: &str) -> String {
    assert_eq!(Body::new(Framing::Chunked).advance(chunks.as_bytes()), Ok(chunks.len()), "{chunks:?}");
    let mut data = String::new();
    loop {
        let (size, rest) = chunks.split_once("\r\n").expect("a line of a size");
        let size = usize::from_str_radix(size, 16).expect("a plain size");
        if size == 0 {
            assert_eq!(rest, "\r\n", "no trailers");
            return data;
        }
        data.push_str(&rest[..size]);
        chunks = &rest[size + 2..];
    }
}

#[test]
fn chunks_are_re_encoded_without_extensions_and_trailers() {
    let chunks =
        "5\r\nhello\r\n06;x=y\r\n world\r\n0;last=\"yes\"\r\nX-Role: admin\r\ngrpc-status: 0\r\n\r\n";
    let answer = format!("HTTP/1.1 200 OK\r\n{CHUNKED}");
    let exchange = || [receive("\r\n0\r\n\r\n"), say([&answer, chunks].concat())];
    let (server, _proxy, mut client) =
        connected(vec![[exchange(), exchange()].into_iter().flatten().collect()]);
    let head = format!("POST /public HTTP/1.1\r\nHost: svc\r\nTrailer: X-Role\r\n{CHUNKED}");
    for piece in [head.as_bytes(), chunks.as_bytes()].concat().chunks(3) {
        client.send(piece);
    }
    let read = |client: &mut crate::harness::Client| {
        client.expect(&answer);
        let mut found = String::new();
        while !found.ends_with("\r\n0\r\n\r\n") {
            let mut byte = [0];
            std::io::Read::read_exact(&mut client.stream, &mut byte).expect("more of the answer");
            found.push(byte[0].into());
        }
        data_of(&found)
    };
    assert_eq!(read(&mut client), "hello world");
    client.send([&head, chunks].concat());
    assert_eq!(read(&mut client), "hello world");
    let received = server.received().remove(0);
    let head = head.replace("Trailer: X-Role\r\n", "");
    let bodies: Vec<&str> = received.split(&head).collect();
    assert_eq!(bodies.len(), 3, "{received:?}");
    assert_eq!(
        (bodies[0], data_of(bodies[1]), data_of(bodies[2])),
        ("", "hello world".into(), "hello world".into())
    );
}

#[test]
fn grpc_trailers_are_forwarded() {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/grpc+proto\r\n{CHUNKED}");
    let trailers = "0\r\ngrpc-status: 0\r\nX-Role: admin\r\nGrpc-Message:  a \r\n\r\n";
    let server =
        Server::new(vec![vec![receive("\r\n0\r\n\r\n"), say([&head, "2\r\nok\r\n", trailers].concat())]]);
    let proxy = TestProxy::new(server.address);
    let mut client = proxy.connect();
    let request = "POST /public HTTP/1.1\r\nHost: svc\r\nContent-Type: application/grpc\r\n";
    client.send(format!("{request}{CHUNKED}0\r\ngrpc-timeout: 1\r\n\r\n"));
    client.expect(format!("{head}2\r\nok\r\n0\r\ngrpc-status: 0\r\nGrpc-Message: a\r\n\r\n"));
    assert_eq!(server.received(), [format!("{request}{CHUNKED}0\r\n\r\n")]);
}

#[test]
fn trailers_with_framing_or_routing_names_are_refused() {
    for trailer in ["Content-Length: 3", "transfer_encoding: chunked", "Host: other", "Content.Length: 1"] {
        let (_server, proxy, mut client) = connected(vec![vec![receive("\r\n\r\n"), ScriptStep::End]]);
        client.send(format!("POST /public HTTP/1.1\r\nHost: svc\r\n{CHUNKED}0\r\n{trailer}\r\n\r\n"));
        assert_eq!(client.status(), 400, "{trailer}");
        client.rest();
        assert_eq!(proxy.event().status, Some(400));
    }
}

/// Where a method defines no body but the request has one, the connection to the server is closed after it: a server that
/// leaves the body unread cannot parse it as a request.
#[test]
fn a_body_that_a_method_does_not_define_is_the_last_of_its_connection() {
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "TRACE", "BREW"] {
        for framing in
            [format!("Content-Length: {}\r\n", HIDDEN.len()), "Transfer-Encoding: chunked\r\n".into()]
        {
            let body = match framing.starts_with('T') {
                true => format!("{:x}\r\n{HIDDEN}\r\n0\r\n\r\n", HIDDEN.len()),
                false => HIDDEN.to_owned(),
            };
            let ok = if method == "HEAD" { OK.trim_end_matches("ok") } else { OK };
            let server =
                Server::new(vec![vec![receive("\r\n\r\n"), receive("\r\n\r\n"), say(ok), ScriptStep::End]]);
            let proxy = TestProxy::new(server.address);
            proxy.policy.ingress(&[HttpRule::default()]);
            let mut client = proxy.connect();
            let head = format!("{method} /public HTTP/1.1\r\nHost: svc\r\n{framing}");
            client.send(format!("{head}\r\n{body}GET /public HTTP/1.1\r\nHost: svc\r\n\r\n"));
            let closing = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n";
            client.expect(if method == "HEAD" { closing.to_owned() } else { format!("{closing}ok") });
            client.expect_end();
            let received = server.received();
            assert_eq!(received, [format!("{head}Connection: close\r\n\r\n{body}")], "{method}");
        }
    }
}

#[test]
fn a_body_that_a_method_defines_does_not_end_the_connection() {
    for method in ["POST", "PUT", "PATCH", "QUERY", "PROPFIND"] {
        let server = Server::new(vec![vec![receive("hello"), say(OK), receive("hello"), say(OK)]]);
        let proxy = TestProxy::new(server.address);
        proxy.policy.ingress(&[HttpRule::default()]);
        let mut client = proxy.connect();
        let request = format!("{method} /public HTTP/1.1\r\nHost: svc\r\nContent-Length: 5\r\n\r\nhello");
        for _ in 0..2 {
            client.send(&request);
            client.expect(OK);
        }
        assert_eq!(server.received(), [request.repeat(2)]);
    }
    let (server, _proxy, mut client) =
        connected(vec![vec![receive("\r\n\r\n"), say(OK), receive("\r\n\r\n"), say(OK)]]);
    for _ in 0..2 {
        client.send("GET /public HTTP/1.1\r\nHost: svc\r\nContent-Length: 0\r\n\r\n");
        client.expect(OK);
    }
    server.received();
}

/// A server that responded early could parse the rest of the body as a request.
#[test]
fn a_response_before_the_end_of_the_body_ends_the_connection() {
    for body in [HIDDEN.to_owned(), format!("{}{HIDDEN}", "x".repeat(10))] {
        let early = body.len() - HIDDEN.len();
        let first = if early == 0 { receive("\r\n\r\n") } else { receive("xxxxxxxxxx") };
        let (server, _proxy, mut client) = connected(vec![vec![first, say(OK), ScriptStep::End]]);
        let head = format!("POST /public HTTP/1.1\r\nHost: svc\r\nContent-Length: {}\r\n\r\n", body.len());
        client.send(format!("{head}{}", &body[..early]));
        client.expect("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
        // The proxy may have closed already.
        let _ = std::io::Write::write_all(&mut client.stream, &body.as_bytes()[early..]);
        let _ = std::io::Write::write_all(&mut client.stream, b"GET /public HTTP/1.1\r\nHost: svc\r\n\r\n");
        client.expect_end();
        assert_eq!(server.received(), [format!("{head}{}", &body[..early])]);
    }
}

#[track_caller]
fn refused(rules: &[HttpRule], lines: &str) {
    let server = Server::new(vec![]);
    let proxy = TestProxy::new(server.address);
    proxy.policy.ingress(rules);
    let mut client = proxy.connect();
    client.send(format!("POST /public HTTP/1.1\r\nHost: svc\r\n{lines}\r\nabcde"));
    assert_eq!(client.status(), 400, "{lines:?}");
    client.rest();
    let event = proxy.event();
    assert_eq!((event.verdict, event.status), (RequestVerdict::Refuse, Some(400)));
    assert_eq!((event.source_identity, event.destination_identity), (256, 257));
    assert!(!event.reason.is_empty());
    assert!(server.received().is_empty());
}

#[track_caller]
fn passes(rules: &[HttpRule], lines: &str) {
    let server = Server::new(vec![vec![receive("\r\n\r\n"), say(OK)]]);
    let proxy = TestProxy::new(server.address);
    proxy.policy.ingress(rules);
    let mut client = proxy.connect();
    client.send(format!("POST /public HTTP/1.1\r\nHost: svc\r\n{lines}\r\n"));
    client.expect(OK);
    assert_eq!(
        server.received(),
        [format!("POST /public HTTP/1.1\r\nHost: svc\r\n{lines}\r\n")],
        "{lines:?}"
    );
}

/// Servers that pass fields to applications as variables (CGI, WSGI, PHP and others) give both names the same variable, and
/// the second field is appended to the first or replaces it.
#[test]
fn names_that_servers_confuse_with_a_header_of_a_rule_are_refused() {
    for value in [Some("reader"), None] {
        let rules = [with_header("X-Role", value, rule("POST", "/public"))];
        for name in ["X_Role", "x_role", "X.Role", "x.rOLE", "X~Role", "X+Role"] {
            refused(&rules, &format!("X-Role: reader\r\n{name}: admin\r\n"));
            refused(&rules, &format!("{name}: admin\r\nX-Role: reader\r\n"));
            refused(&rules, &format!("{name}: reader\r\n"));
        }
        passes(&rules, "X-Role: reader\r\nX_Rule: admin\r\nXRole: admin\r\nX-Role-: admin\r\n");
    }
    // The rule itself has the unusual name.
    let rules = [with_header("X_Role", Some("reader"), rule("POST", "/public"))];
    refused(&rules, "X_Role: reader\r\nX-Role: admin\r\n");
    // The header is in a rule of another set, or in another rule of this set.
    let rules = [rule("POST", "/public"), with_header("X-Role", Some("reader"), rule("POST", "/other"))];
    refused(&rules, "X_Role: admin\r\n");
    // No rule has the header.
    passes(&[rule("POST", "/public")], "X-Role: reader\r\nX_Role: admin\r\n");
}

#[test]
fn names_that_servers_confuse_with_a_framing_field_are_refused() {
    for line in [
        "Content_Length: 5",
        "content.length: 5",
        "Content-Length: 5\r\nContent_Length: 50",
        "Transfer_Encoding: chunked",
        "Transfer.Encoding: chunked",
        "transfer~encoding: chunked",
        "Proxy_Connection: close",
        "Keep_Alive: 5",
        "Content_Encoding: gzip",
        "Content_Type: text/plain",
    ] {
        refused(&[rule("POST", "/public")], &format!("{line}\r\n"));
    }
}

#[test]
fn a_field_that_overrides_the_method_is_refused_where_rules_match_the_method() {
    for name in ["X-HTTP-Method-Override", "x_http_method_override", "X-HTTP-Method", "X-Method-Override"] {
        refused(&[rule("POST", "/public")], &format!("{name}: DELETE\r\n"));
        let any_method = HttpRule { method: None, ..rule("", "/public") };
        passes(&[any_method], &format!("{name}: DELETE\r\n"));
        passes(&[rule("POST", "/public")], &format!("{name}: POST\r\n"));
    }
    // A rule with this header and value matches the override itself.
    let named = with_header("X-HTTP-Method-Override", Some("PATCH"), rule("POST", "/public"));
    passes(&[named], "X-HTTP-Method-Override: PATCH\r\n");
}

#[test]
fn events_of_refused_requests_have_ends_protocol_and_reason() {
    for (bytes, protocol) in [
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", "HTTP/2"),
        ("GET /pub\0lic HTTP/1.0\r\n\r\n", "HTTP/1.0"),
        ("GET /public HTTP/3.0\r\nHost: svc\r\n\r\n", "HTTP/3.0"),
        ("GET /public HTTP/1.1\r\n\r\n", "HTTP/1.1"),
        ("GET /pub\0lic HTTP/1.1\r\nHost: svc\r\n\r\n", "HTTP/1.1"),
        ("\x16\x03\x01\x02\0\x01\0\x01", "TLS"),
        ("SSH-2.0-client\r\n", "SSH"),
        ("hello\n", "unknown"),
    ] {
        let (_server, proxy, mut client) = connected(vec![]);
        client.send(bytes);
        client.rest();
        let event = proxy.event();
        assert_eq!((event.source_identity, event.destination_identity), (256, 257), "{bytes:?}");
        assert_eq!((event.verdict, &*event.protocol), (RequestVerdict::Refuse, protocol), "{bytes:?}");
        assert!(!event.reason.is_empty(), "{bytes:?}");
    }
}
