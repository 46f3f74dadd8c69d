//! Heads: the split of the bytes makes no difference to the scanner, and a forwarded head parses to itself.

use crate::input::pieces;
use l7::head::MAX_FIELDS;
use l7::{Field, Framing, Persistence, Refusal, Request, Response, Scanner, Version};
use std::ops::Range;

type Fields = Vec<(String, Vec<u8>)>;

/// A parsed request that owns its parts.
#[derive(Debug, PartialEq)]
struct Parsed {
    method: String,
    path: String,
    host: String,
    version: Version,
    fields: Fields,
    framing: Framing,
    websocket: bool,
    close: bool,
}

/// Scans, parses and writes a request, and parses the written head.
pub fn request(bytes: &[u8], cuts: u8) {
    let _ = l7::head::protocol_of(bytes);
    let Ok(Some(head)) = scan(bytes, cuts) else { return };
    let Ok((parsed, written)) = parse_request(&bytes[head]) else { return };
    check_forwarded(&parsed);
    let (again, rewritten) = parse_request(&whole(&written)).expect("a request that is forwarded parses");
    assert_eq!(String::from_utf8_lossy(&written), String::from_utf8_lossy(&rewritten), "{parsed:?}");
    // An absolute target of HTTP/1.0 becomes a Host field, and a WebSocket's Connection field has one token.
    let names_host = parsed.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
    let fields = again.fields.iter().filter(|(name, _)| names_host || !name.eq_ignore_ascii_case("host"));
    let again = Parsed { fields: fields.cloned().collect(), close: parsed.close, ..again };
    assert_eq!(parsed, again);
}

/// Scans, parses and writes a response, and parses the written head.
pub fn response(bytes: &[u8], cuts: u8) {
    let Ok(Some(head)) = scan(bytes, cuts) else { return };
    let mut storage = [Field::default(); MAX_FIELDS];
    let response = match Response::parse(&bytes[head], &mut storage) {
        Ok(response) => response,
        Err(refusal) => return assert_eq!(refusal.status, 502, "{refusal:?}"),
    };
    let all: &[Persistence] = match response.websocket {
        true => &[Persistence::Upgrade],
        false => &[Persistence::Keep, Persistence::Close, Persistence::CloseOld],
    };
    for &persistence in all {
        let mut written = Vec::new();
        response.write(persistence, &mut written);
        let (written, mut storage) = (whole(&written), [Field::default(); MAX_FIELDS]);
        let again = Response::parse(&written, &mut storage).expect("a response that is forwarded parses");
        assert_eq!((again.status, again.reason), (response.status, response.reason));
        assert_eq!(again.is_interim(), response.is_interim());
        assert_eq!(again.is_grpc(), response.is_grpc());
        let closes = matches!(persistence, Persistence::Close | Persistence::CloseOld);
        assert_eq!(again.close, closes);
        for method in ["GET", "HEAD"].into_iter().filter(|_| persistence != Persistence::CloseOld) {
            assert_eq!(again.framing(method), response.framing(method));
            assert_eq!(owned(again.fields), owned(response.fields));
        }
    }
}

/// Scans bytes at once and in pieces.
fn scan(bytes: &[u8], cuts: u8) -> Result<Option<Range<usize>>, Refusal> {
    let at_once = Scanner::default().scan(bytes);
    let (mut scanner, mut end) = (Scanner::default(), 0);
    let mut in_pieces = scanner.scan(b"");
    for piece in pieces(bytes, cuts) {
        if in_pieces != Ok(None) {
            break;
        }
        end += piece.len();
        in_pieces = scanner.scan(&bytes[..end]);
    }
    assert_eq!(at_once, in_pieces, "{:?}", String::from_utf8_lossy(bytes));
    at_once
}

/// Asserts that the bytes are exactly one head.
fn whole(written: &[u8]) -> Vec<u8> {
    assert_eq!(Scanner::default().scan(written), Ok(Some(0..written.len())));
    written.to_vec()
}

fn parse_request(head: &[u8]) -> Result<(Parsed, Vec<u8>), Refusal> {
    let (mut head, mut written) = (head.to_vec(), Vec::new());
    let mut storage = [Field::default(); MAX_FIELDS];
    let request = Request::parse(&mut head, &mut storage)?;
    request.write(&mut written);
    let view = request.view();
    assert_eq!((view.method, view.path, view.host), (request.method, request.path, request.host));
    let parsed = Parsed {
        method: request.method.to_owned(),
        path: request.path.to_owned(),
        host: request.host.to_owned(),
        version: request.version,
        fields: owned(request.fields),
        framing: request.framing,
        websocket: request.websocket,
        close: request.close,
    };
    Ok((parsed, written))
}

/// Invariants of every forwarded request.
fn check_forwarded(request: &Parsed) {
    let Parsed { path, fields, .. } = request;
    assert!(path.bytes().all(|byte| (b'!'..=b'~').contains(&byte) && byte != b'#'), "{path}");
    let bare = path.split('?').next().unwrap_or_default();
    assert!(path == "*" || bare.starts_with('/'), "{path}");
    assert!(!bare.contains("//") && !bare.split('/').any(|part| part == "." || part == ".."), "{path}");
    let count = |name: &str| fields.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name)).count();
    assert!(count("host") <= 1 && count("content-length") + count("transfer-encoding") <= 1, "{fields:?}");
    assert_eq!(count("transfer-encoding") == 1, request.framing == Framing::Chunked);
    assert_eq!(count("content-length") == 1, matches!(request.framing, Framing::Length(_)));
    let of_one_hop = ["connection", "keep-alive", "proxy-connection", "te", "trailer"];
    assert!(of_one_hop.into_iter().all(|name| count(name) == 0), "{fields:?}");
    assert!(!(request.framing == Framing::Chunked && request.version == Version::Http10));
}

fn owned(fields: &[Field<'_>]) -> Fields {
    fields.iter().map(|field| (field.name.to_owned(), field.value.to_vec())).collect()
}
