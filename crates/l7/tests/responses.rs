//! Response heads: forwarded or refused, and the framing of their bodies.

use l7::head::MAX_FIELDS;
use l7::{Body, Field, Framing, Persistence, Refusal, Response};

fn forward(head: &str, persistence: Persistence) -> Result<String, Refusal> {
    let mut storage = [Field::default(); MAX_FIELDS];
    let response = Response::parse(head.as_bytes(), &mut storage)?;
    let mut out = Vec::new();
    response.write(persistence, &mut out);
    Ok(String::from_utf8(out).expect("the cases are text"))
}

fn framing(method: &str, head: &str) -> Framing {
    let mut storage = [Field::default(); MAX_FIELDS];
    Response::parse(head.as_bytes(), &mut storage).expect("valid").framing(method)
}

#[test]
fn responses_are_forwarded_without_fields_of_one_hop() {
    let head = "HTTP/1.1 200 OK\r\nServer: x\r\nConnection: keep-alive\r\nKeep-Alive: 5\r\nContent-Length: 3\r\n\r\n";
    let kept = "HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 3\r\n\r\n";
    assert_eq!(forward(head, Persistence::Keep).as_deref(), Ok(kept));
    let closing = "HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\n";
    assert_eq!(forward(head, Persistence::Close).as_deref(), Ok(closing));
    assert_eq!(
        forward("HTTP/1.0 404 Not Found\r\n\r\n", Persistence::Close).as_deref(),
        Ok("HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n")
    );
    assert_eq!(forward("HTTP/1.1 599\r\n\r\n", Persistence::Keep).as_deref(), Ok("HTTP/1.1 599 \r\n\r\n"));
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nServer: x\r\n\r\n";
    assert_eq!(
        forward(chunked, Persistence::CloseOld).as_deref(),
        Ok("HTTP/1.1 200 OK\r\nServer: x\r\nConnection: close\r\n\r\n")
    );
    // Apache offers h2 in every response; a client must not see the offer.
    assert_eq!(
        forward("HTTP/1.1 200 OK\r\nUpgrade: h2,h2c\r\nConnection: Upgrade\r\n\r\n", Persistence::Keep)
            .as_deref(),
        Ok("HTTP/1.1 200 OK\r\n\r\n")
    );
    let switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    assert_eq!(forward(switching, Persistence::Upgrade).as_deref(), Ok(switching));
}

#[test]
fn an_upgrade_is_forwarded_with_status_101_only() {
    for status in ["200 OK", "426 Upgrade Required"] {
        let head = format!("HTTP/1.1 {status}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
        assert_eq!(forward(&head, Persistence::Keep), Ok(format!("HTTP/1.1 {status}\r\n\r\n")));
    }
}

#[test]
fn the_end_of_a_body_depends_on_method_status_and_fields() {
    let length = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(framing("GET", length), Framing::Length(3));
    assert_eq!(framing("HEAD", length), Framing::Empty);
    assert_eq!(framing("GET", chunked), Framing::Chunked);
    assert_eq!(framing("HEAD", chunked), Framing::Empty);
    assert_eq!(framing("GET", "HTTP/1.1 200 OK\r\n\r\n"), Framing::UntilClose);
    assert_eq!(framing("GET", "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n"), Framing::Length(3));
    assert_eq!(framing("GET", "HTTP/1.1 204 No Content\r\n\r\n"), Framing::Empty);
    assert_eq!(framing("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n"), Framing::Empty);
    assert_eq!(framing("POST", "HTTP/1.1 100 Continue\r\n\r\n"), Framing::Empty);
}

#[test]
fn ambiguous_responses_are_refused() {
    for head in [
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 999 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.1 200 O\0K\r\n\r\n",
        "HTTP/1.1 200 O\rK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
        "HTTP/1.1 200 OK\r\nExpect: 100-continue\r\n\r\n",
        "",
    ] {
        assert_eq!(forward(head, Persistence::Keep).map_err(|refusal| refusal.status), Err(502), "{head:?}");
    }
}

#[test]
fn only_a_body_until_close_may_end_with_the_connection() {
    let mut until_close = Body::new(Framing::UntilClose);
    assert_eq!(until_close.advance(b"anything"), Ok(8));
    assert!(!until_close.is_done() && until_close.may_end());

    let mut length = Body::new(Framing::Length(5));
    assert_eq!(length.advance(b"abc"), Ok(3));
    assert!(!length.may_end());
    assert_eq!(length.advance(b"defg"), Ok(2));
    assert!(length.is_done() && length.may_end());
    assert!(Body::new(Framing::Empty).is_done());
}
