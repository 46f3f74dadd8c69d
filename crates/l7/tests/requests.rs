//! Request heads: forwarded in canonical form, incomplete, or refused with a status.

use l7::head::MAX_FIELDS;
use l7::{Field, Framing, HttpRule, Matcher, Refusal, Request, Scanner};

/// A request as it is forwarded.
#[derive(Clone, Debug, PartialEq)]
struct Forwarded {
    head: Vec<u8>,
    framing: Framing,
    close: bool,
    websocket: bool,
}

/// Scans and parses; none where the head is incomplete.
fn forward(input: &[u8]) -> Result<Option<Forwarded>, Refusal> {
    let Some(range) = Scanner::default().scan(input)? else { return Ok(None) };
    let mut head = input[range].to_vec();
    let mut storage = [Field::default(); MAX_FIELDS];
    let request = Request::parse(&mut head, &mut storage)?;
    let mut out = Vec::new();
    request.write(&mut out);
    let Request { framing, close, websocket, .. } = request;
    Ok(Some(Forwarded { head: out, framing, close, websocket }))
}

#[track_caller]
fn forwards(input: &str, expected: &str) -> Forwarded {
    let forwarded = forward(input.as_bytes());
    let forwarded = forwarded.unwrap_or_else(|refusal| panic!("{input:?}: {refusal:?}"));
    let forwarded = forwarded.unwrap_or_else(|| panic!("{input:?} is incomplete"));
    assert_eq!(String::from_utf8_lossy(&forwarded.head), expected, "{input:?}");
    forwarded
}

#[track_caller]
fn refuses(status: u16, input: impl AsRef<[u8]>) {
    let input = input.as_ref();
    let found = forward(input).map(|forwarded| forwarded.map(|forwarded| forwarded.head));
    assert_eq!(found.map_err(|refusal| refusal.status), Err(status), "{}", String::from_utf8_lossy(input));
}

/// A GET with these lines of fields after Host.
fn with(lines: &str) -> String {
    format!("GET /public HTTP/1.1\r\nHost: svc.local\r\n{lines}\r\n")
}

#[test]
fn a_plain_request_is_forwarded_as_it_is() {
    let request = "GET /public?x=1 HTTP/1.1\r\nHost: svc.local:8080\r\nUser-Agent: a b\r\nX:\r\n\r\n";
    let forwarded = forwards(request, &request.replace("X:", "X: "));
    assert_eq!((forwarded.framing, forwarded.close, forwarded.websocket), (Framing::Empty, false, false));
}

#[test]
fn incomplete_heads_wait() {
    for input in [
        "",
        "\r",
        "\r\n",
        "G",
        "GET / HTTP/1.1",
        "GET / HTTP/1.1\r\nHost: a\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\r",
    ] {
        assert_eq!(forward(input.as_bytes()), Ok(None), "{input:?}");
    }
}

#[test]
fn one_empty_line_before_a_request_is_skipped_and_no_more() {
    forwards("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    refuses(400, "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    refuses(400, format!("{}GET / HTTP/1.1\r\nHost: a\r\n\r\n", "\r\n".repeat(2000)));
}

#[test]
fn request_lines_are_strict() {
    for (status, line) in [
        (400, "get /public HTTP/1.1"),
        (400, "Get /public HTTP/1.1"),
        (400, " GET /public HTTP/1.1"),
        (400, "GET  /public HTTP/1.1"),
        (400, "GET /public  HTTP/1.1"),
        (400, "GET /public HTTP/1.1 "),
        (400, "GET\t/public HTTP/1.1"),
        (400, "GET /public\t/private HTTP/1.1"),
        (400, "GET /pub lic HTTP/1.1"),
        (400, "GET /public"),
        (400, "GET HTTP/1.1"),
        (400, "GET /public http/1.1"),
        (400, "GET /public HTTP/1.1\r"),
        (400, "G\0T /public HTTP/1.1"),
        (400, "GET /pub\0lic HTTP/1.1"),
        (400, "GET /public#x HTTP/1.1"),
        (400, "GET public HTTP/1.1"),
        (400, "GET ?x HTTP/1.1"),
        (400, "GET * HTTP/1.1"),
        (400, "GET svc.local:80 HTTP/1.1"),
        (400, "GET /public/%2Fx HTTP/1.1"),
        (400, "GET /public\\..\\private HTTP/1.1"),
        (400, "GET /public/%u002e%u002e/private HTTP/1.1"),
        (400, "GET ftp://svc.local/public HTTP/1.1"),
        (400, "GET https://svc.local/public HTTP/1.1"),
        (400, "GET http://svc.local HTTP/1.1"),
        (400, "GET http://svc.local?x=/ HTTP/1.1"),
        (400, "GET http:///public HTTP/1.1"),
        (400, "GET http://user@svc.local/public HTTP/1.1"),
        (400, "GET /public HTTP/1.0 "),
        (400, "GET /public HTTP/1.00"),
        (505, "GET /public HTTP/1.2"),
        (505, "GET /public HTTP/2.0"),
        (505, "GET /public HTTP/0.9"),
        (501, "CONNECT svc.local:80 HTTP/1.1"),
        (501, "CONNECT /public HTTP/1.1"),
    ] {
        refuses(status, format!("{line}\r\nHost: svc.local\r\n\r\n"));
    }
    refuses(505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
}

#[test]
fn targets_become_canonical() {
    for (target, path, host) in [
        ("/public/../private", "/private", "svc.local"),
        ("/public/%2e%2e/private?a=/../b", "/private?a=/../b", "svc.local"),
        ("/public//../private", "/public/private", "svc.local"),
        ("/%70ublic", "/public", "svc.local"),
        ("/public/%252e%252e/private", "/public/%252e%252e/private", "svc.local"),
        ("http://evil.org/public/../x", "/x", "evil.org"),
        ("HTTP://evil.org:81/", "/", "evil.org:81"),
    ] {
        forwards(
            &format!("GET {target} HTTP/1.1\r\nA: b\r\nHost: svc.local\r\nC: d\r\n\r\n"),
            &format!("GET {path} HTTP/1.1\r\nA: b\r\nHost: {host}\r\nC: d\r\n\r\n"),
        );
    }
    forwards("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    forwards("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n");
}

#[test]
fn there_is_one_host() {
    refuses(400, "GET / HTTP/1.1\r\n\r\n");
    refuses(400, "GET http://svc.local/ HTTP/1.1\r\n\r\n");
    refuses(400, with("Host: svc.local\r\n"));
    refuses(400, with("host: evil.org\r\n"));
    for host in [
        "", "a,b", "a b", "user@a", "a/b", "a?b", "a#b", "a:b", "a:", "a:70000", "a:+80", "a:-1", ":80",
        "[::1", "[::1]x", "[::1]:x", "[zz]", "::1", "a\u{e9}", "a%2fb", "a:80:80",
    ] {
        refuses(400, format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    }
    for host in ["a", "a_b.c-d~e:80", "10.0.0.1:8080", "[fd00::1]", "[::ffff:10.0.0.1]:80"] {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        forwards(&request, &request);
    }
}

#[test]
fn fields_are_strict() {
    for line in [
        "XYZ",
        ": x",
        "X : a",
        "X\t: a",
        "X Y: a",
        " folded: a",
        "X: a\r\n folded",
        "X: a\r\n\tfolded",
        "X: a\0b",
        "X: a\x01b",
        "X: a\x7fb",
        "X: a\rb",
        "X\u{e9}: a",
        "\"X\": a",
    ] {
        refuses(400, with(&format!("{line}\r\n")));
    }
    refuses(400, with("X: a\n"));
    refuses(400, b"GET / HTTP/1.1\nHost: a\n\n");
    forwards(&with("X-Token: \t s3cret \t \r\n"), &with("X-Token: s3cret\r\n"));
    forwards(&with("X: caf\u{e9}\r\n"), &with("X: caf\u{e9}\r\n"));
}

#[test]
fn heads_have_limits() {
    let many = |count: usize| with(&"X: a\r\n".repeat(count));
    forwards(&many(MAX_FIELDS - 1), &many(MAX_FIELDS - 1));
    refuses(431, many(MAX_FIELDS));
    refuses(431, with(&format!("X: {}\r\n", "a".repeat(61_440))));
    refuses(431, with(&format!("X: {}", "a".repeat(61_440))));
    refuses(431, format!("GET /{}", "a".repeat(61_440)));
}

#[test]
fn ambiguous_framing_is_refused() {
    let post = |lines: &str| format!("POST /public HTTP/1.1\r\nHost: svc.local\r\n{lines}\r\n");
    for (status, lines) in [
        (400, "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n"),
        (400, "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"),
        (400, "Content-Length: 4\r\nContent-Length: 4\r\n"),
        (400, "Content-Length: 4\r\ncontent-length: 5\r\n"),
        (400, "Content-Length: 0, 42\r\n"),
        (400, "Content-Length: 4, 4\r\n"),
        (400, "Content-Length: +4\r\n"),
        (400, "Content-Length: -4\r\n"),
        (400, "Content-Length: 0x4\r\n"),
        (400, "Content-Length: 4 2\r\n"),
        (400, "Content-Length:\r\n"),
        (400, "Content-Length: 04\r\n"),
        (400, "Content-Length: 18446744073709551616\r\n"),
        (400, "Content-Length: 18446744073709551615\r\n"),
        (400, "Content-Length : 4\r\n"),
        (501, "Transfer-Encoding: gzip\r\n"),
        (501, "Transfer-Encoding: gzip, chunked\r\n"),
        (501, "Transfer-Encoding: chunked, chunked\r\n"),
        (501, "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        (501, "Transfer-Encoding: \"chunked\"\r\n"),
        (501, "Transfer-Encoding: chunked;foo=bar\r\n"),
        (501, "Transfer-Encoding: identity\r\n"),
        (501, "Transfer-Encoding:\r\n"),
        (501, "Content-Length: 47\r\nTransfer-Encoding: \"chunked\"\r\n"),
        (400, "Transfer-Encoding\0: chunked\r\n"),
        (400, "Connection: Content-Length\r\nContent-Length: 4\r\n"),
        (400, "Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n"),
        (400, "Connection: Host\r\n"),
        (417, "Expect: 200-ok\r\n"),
        (417, "Expect: 100-continue\r\nExpect: 100-continue\r\n"),
    ] {
        refuses(status, post(lines));
    }
    for (lines, framing) in [
        ("Content-Length: 0\r\n", Framing::Length(0)),
        ("Content-Length: 4\r\n", Framing::Length(4)),
        ("Transfer-Encoding: chunked\r\n", Framing::Chunked),
        ("Transfer-Encoding: Chunked\r\n", Framing::Chunked),
        ("Content-Length: 3\r\nExpect: 100-continue\r\n", Framing::Length(3)),
        ("", Framing::Empty),
    ] {
        assert_eq!(forwards(&post(lines), &post(lines)).framing, framing, "{lines}");
    }
}

#[test]
fn fields_of_one_hop_are_not_forwarded() {
    let kept = with("A: b\r\nC: d\r\n");
    forwards(
        &with(
            "A: b\r\nKeep-Alive: timeout=5\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\nTE: trailers\r\n\
             Proxy-Connection: keep-alive\r\nC: d\r\nx-mine: 2\r\n",
        ),
        &kept,
    );
    let closing = forwards(
        &with("A: b\r\nConnection: Close\r\nC: d\r\n"),
        &with("A: b\r\nC: d\r\nConnection: close\r\n"),
    );
    assert!(closing.close);
    refuses(400, with("Connection: clo se\r\n"));
}

#[test]
fn only_websocket_upgrades_are_forwarded() {
    let websocket = "Upgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\nConnection: Upgrade\r\n";
    assert!(forwards(&with(websocket), &with(websocket)).websocket);
    for lines in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n",
        "Connection: Upgrade\r\nUpgrade: foo/9\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n",
        "Connection: Upgrade\r\n",
        "Upgrade: websocket\r\n",
    ] {
        assert!(!forwards(&with(lines), &with("")).websocket);
    }
    refuses(400, with("Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n"));
    refuses(400, with("Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n"));
    refuses(400, with(websocket).replace("GET", "POST"));
}

#[test]
fn an_http_1_0_request_is_the_last_of_its_connection() {
    let closing = |head: &str| format!("{head}Connection: close\r\n\r\n");
    for (sent, head) in [
        ("GET /public HTTP/1.0\r\n\r\n", "GET /public HTTP/1.0\r\n"),
        ("GET /public HTTP/1.0\r\nHost: a:80\r\n\r\n", "GET /public HTTP/1.0\r\nHost: a:80\r\n"),
        ("GET /a/../b HTTP/1.0\r\nX: y\r\n\r\n", "GET /b HTTP/1.0\r\nX: y\r\n"),
        ("GET / HTTP/1.0\r\nConnection: keep-alive\r\nKeep-Alive: 5\r\n\r\n", "GET / HTTP/1.0\r\n"),
        ("GET / HTTP/1.0\r\nConnection: X-Mine\r\nX-Mine: 1\r\n\r\n", "GET / HTTP/1.0\r\n"),
        // The target is forwarded as a path, but its host must not be lost.
        ("GET http://a.org/b HTTP/1.0\r\n\r\n", "GET /b HTTP/1.0\r\nHost: a.org\r\n"),
        ("GET http://a.org/b HTTP/1.0\r\nHost: c\r\n\r\n", "GET /b HTTP/1.0\r\nHost: a.org\r\n"),
        // HTTP/1.0 has neither upgrades nor expectations.
        ("GET / HTTP/1.0\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "GET / HTTP/1.0\r\n"),
        ("GET / HTTP/1.0\r\nExpect: 100-continue\r\nExpect: more\r\n\r\n", "GET / HTTP/1.0\r\n"),
    ] {
        let forwarded = forwards(sent, &closing(head));
        assert_eq!((forwarded.framing, forwarded.close, forwarded.websocket), (Framing::Empty, true, false));
    }
    let post = "POST / HTTP/1.0\r\nContent-Length: 4\r\n";
    assert_eq!(forwards(&format!("{post}\r\n"), &closing(post)).framing, Framing::Length(4));
    let post = "POST / HTTP/1.0\r\nContent-Length: 0\r\n";
    assert_eq!(forwards(&format!("{post}\r\n"), &closing(post)).framing, Framing::Length(0));
}

#[test]
fn an_http_1_0_body_has_a_length() {
    for lines in [
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: gzip\r\nContent-Length: 4\r\n",
        "Transfer_Encoding: chunked\r\nContent-Length: 4\r\n",
        "Content-Length: 4\r\nContent-Length: 4\r\n",
        "Content-Length: 4, 4\r\n",
        "Host: a\r\nHost: a\r\nContent-Length: 4\r\n",
        "Host:\r\nContent-Length: 4\r\n",
        "Connection: Content-Length\r\nContent-Length: 4\r\n",
        "",
    ] {
        refuses(400, format!("POST /public HTTP/1.0\r\n{lines}\r\n"));
    }
    refuses(400, "GET /public HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
    refuses(400, "GET /public\r\n");
}

#[test]
fn rules_match_exactly_what_is_forwarded() {
    let allows = |rule: HttpRule, request: &str| {
        let mut head = request.as_bytes().to_vec();
        let mut storage = [Field::default(); MAX_FIELDS];
        let request = Request::parse(&mut head, &mut storage).expect("valid");
        Matcher::new(&[rule]).expect("compiles").matches(&request.view()).is_some()
    };
    let path = |path: &str| HttpRule { path: Some(path.to_owned()), ..HttpRule::default() };
    let header = |name: &str, value: &str| HttpRule {
        headers: vec![l7::rule::HeaderRule { name: name.to_owned(), value: Some(value.to_owned()) }],
        ..HttpRule::default()
    };
    assert!(!allows(path("/public/.*"), "GET /public/../private HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert!(!allows(path("/public/.*"), "GET /public/%2e%2E/private HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert!(allows(path("/private"), "GET /public/../private HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert!(!allows(path("/public"), "GET /public?x=1 HTTP/1.1\r\nHost: a\r\n\r\n"));
    let host = HttpRule { host: Some("good\\.org".to_owned()), ..HttpRule::default() };
    assert!(!allows(host.clone(), "GET http://evil.org/ HTTP/1.1\r\nHost: good.org\r\n\r\n"));
    assert!(allows(host.clone(), "GET http://good.org/ HTTP/1.1\r\nHost: evil.org\r\n\r\n"));
    for asked in [".*", "", "good\\.org"] {
        let host = HttpRule { host: Some(asked.to_owned()), ..HttpRule::default() };
        assert!(!allows(host, "GET / HTTP/1.0\r\n\r\n"), "{asked}");
    }
    assert!(allows(host.clone(), "GET http://good.org/ HTTP/1.0\r\n\r\n"));
    assert!(allows(host.clone(), "GET / HTTP/1.0\r\nHost: good.org\r\n\r\n"));
    assert!(!allows(host.clone(), "GET http://evil.org/ HTTP/1.0\r\nHost: good.org\r\n\r\n"));
    assert!(allows(path("/public"), "GET /public HTTP/1.0\r\n\r\n"));
    assert!(!allows(path("/public"), "GET /private HTTP/1.0\r\n\r\n"));
    assert!(!allows(header("Host", "good.org"), "GET http://evil.org/ HTTP/1.1\r\nHost: good.org\r\n\r\n"));
    assert!(allows(header("X-Token", "s3cret"), &with("x-token:  s3cret \r\n")));
    // A field that Connection lists does not reach the server, so no rule matches it.
    assert!(!allows(header("X-Token", "s3cret"), &with("X-Token: s3cret\r\nConnection: x-token\r\n")));
}

/// Mutates valid requests at random: nothing panics, and a forwarded request parses to itself, without bytes left over.
#[test]
fn a_forwarded_request_parses_to_itself() {
    let seeds = [
        with("X-Token: s3cret\r\nConnection: keep-alive, x-token\r\n"),
        with("Upgrade: websocket\r\nConnection: Upgrade\r\n"),
        "POST http://svc.local:80/a/../b//c?x=%2e HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n"
            .to_owned(),
        "PUT /%70/./x HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: a\r\nConnection: close\r\n\r\n"
            .to_owned(),
        "OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n"
            .to_owned(),
    ];
    let pieces: [&[u8]; 24] = [
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b" ",
        b"\t",
        b":",
        b",",
        b"/",
        b"..",
        b"%2e",
        b"%2f",
        b"\\",
        b"?",
        b"#",
        b"close",
        b"Host: b\r\n",
        b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: upgrade\r\n",
        b"\xe9",
        b"\r\n\r\n",
        b"http://b",
        b"Upgrade: h2c\r\n",
    ];
    let mut random = Random(7);
    let mut forwarded_count = 0;
    for round in 0..200_000 {
        let mut bytes = seeds[round % seeds.len()].as_bytes().to_vec();
        for _ in 0..=random.below(3) {
            mutate(&mut bytes, &pieces, &mut random);
        }
        let Ok(Some(first)) = forward(&bytes) else { continue };
        forwarded_count += 1;
        let again = forward(&first.head);
        assert_eq!(
            again.as_ref().map(Option::as_ref),
            Ok(Some(&first)),
            "{:?}",
            String::from_utf8_lossy(&bytes)
        );
        let end = Scanner::default().scan(&first.head).expect("valid").expect("complete").end;
        assert_eq!(end, first.head.len(), "{:?}", first.head);
    }
    assert!(forwarded_count > 20_000, "only {forwarded_count} were valid");
}

fn mutate(bytes: &mut Vec<u8>, pieces: &[&[u8]], random: &mut Random) {
    let at = random.below(bytes.len() + 1);
    let piece = pieces[random.below(pieces.len())];
    match random.below(4) {
        0 => drop(bytes.splice(at..at, piece.iter().copied())),
        1 => drop(bytes.drain(at..(at + random.below(4)).min(bytes.len()))),
        2 if at < bytes.len() => bytes[at] = random.below(256) as u8,
        _ => drop(bytes.splice(at..(at + piece.len()).min(bytes.len()), piece.iter().copied())),
    }
}

/// A deterministic generator, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

#[test]
fn names_that_fold_to_framing_fields_are_refused() {
    for name in [
        "Content_Length",
        "content.length",
        "Transfer_Encoding",
        "Transfer.Encoding",
        "Content_Type",
        "Keep_Alive",
    ] {
        refuses(400, with(&format!("{name}: 5\r\n")));
    }
    for name in ["ContentLength", "X_Request_Id", "Content-Lengths", "Content_Lengths", "Host_", "_Host"] {
        forwards(&with(&format!("{name}: 5\r\n")), &with(&format!("{name}: 5\r\n")));
    }
}

#[test]
fn a_body_that_the_method_does_not_define_ends_the_connection() {
    for (method, lines, close) in [
        ("GET", "Content-Length: 5\r\n", true),
        ("HEAD", "Transfer-Encoding: chunked\r\n", true),
        ("DELETE", "Content-Length: 1\r\n", true),
        ("OPTIONS", "Content-Length: 1\r\n", true),
        ("TRACE", "Transfer-Encoding: chunked\r\n", true),
        ("BREW", "Content-Length: 1\r\n", true),
        ("GET", "Content-Length: 0\r\n", false),
        ("DELETE", "", false),
        ("POST", "Content-Length: 5\r\n", false),
        ("PUT", "Transfer-Encoding: chunked\r\n", false),
        ("PATCH", "Content-Length: 5\r\n", false),
    ] {
        let head = format!("{method} / HTTP/1.1\r\nHost: a\r\n{lines}");
        let closing = if close { "Connection: close\r\n" } else { "" };
        let forwarded = forwards(&format!("{head}\r\n"), &format!("{head}{closing}\r\n"));
        assert_eq!(forwarded.close, close, "{head}");
    }
}
