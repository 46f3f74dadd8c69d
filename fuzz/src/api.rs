//! The API of the agent: the bytes of a connection are split into requests, and each is parsed strictly or refused.

use api::request_reader::{self, Budget, Next};
use api::{ApiRequest, Cause, Envelope, Failure, VERSION};
use serde_json::{Map, Value};
use std::io::BufReader;

use crate::cost::bounded;

/// A budget that large requests exhaust.
static SCARCE: Budget = Budget::new(16);
/// A budget that no input exhausts.
static AMPLE: Budget = Budget::new(1 << 30);

/// Parses the bytes of a connection; the first byte is the size of the pieces in which they arrive.
pub fn check(data: &[u8]) {
    let (first, bytes) = data.split_first().unwrap_or((&0, &[]));
    let at_once = bounded(|| conversation(bytes, bytes.len().max(1), &AMPLE));
    let in_pieces = conversation(bytes, 1 + usize::from(*first), &AMPLE);
    assert_eq!(written(&at_once), written(&in_pieces), "the split of the bytes makes a difference");
    assert_eq!(
        written(&at_once),
        written(&conversation(bytes, 64, &SCARCE)),
        "a small request needs no budget"
    );
    let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    assert_eq!(lines.len(), at_once.len(), "each line is a request");
    lines.into_iter().zip(&at_once).for_each(|(line, request)| check_request(line, request));
}

/// The requests of a connection, which arrives in pieces of this many bytes.
fn conversation(bytes: &[u8], piece: usize, budget: &'static Budget) -> Vec<Result<ApiRequest, Failure>> {
    let mut input = BufReader::with_capacity(piece, bytes);
    let mut requests = Vec::new();
    while !is_at_end(&mut input) {
        match request_reader::read(&mut input, budget).expect("memory does not break") {
            Next::Line(line) => requests.push(line.parse().0),
            Next::Refused(failure) => panic!("a request of {} bytes was refused: {failure}", bytes.len()),
            Next::End => break,
        }
    }
    requests
}

fn is_at_end(input: &mut BufReader<&[u8]>) -> bool {
    use std::io::BufRead;
    input.fill_buf().expect("memory does not break").is_empty()
}

fn written(requests: &[Result<ApiRequest, Failure>]) -> Vec<Result<Value, &Failure>> {
    requests.iter().map(|request| request.as_ref().map(value)).collect()
}

fn value(request: &ApiRequest) -> Value {
    serde_json::to_value(request).expect("a request can be written")
}

/// A request has the fields of its line; a refusal has a message and the cause `Invalid`.
fn check_request(line: &[u8], request: &Result<ApiRequest, Failure>) {
    let request = match request {
        Ok(request) => request,
        Err(failure) => {
            assert_eq!(failure.cause, Cause::Invalid);
            return assert!(failure.messages.iter().any(|message| !message.is_empty()));
        }
    };
    let read: Value = serde_json::from_slice(line).expect("an accepted line is JSON");
    let Value::Object(mut read) = read else { panic!("an accepted line is an object") };
    assert_eq!(read.remove("version"), Some(VERSION.into()));
    let Value::Object(meant) = value(request) else { panic!("a request is written as an object") };
    check_fields(&read, &meant);
    let envelope = Envelope { version: VERSION, request: request.clone() };
    let again = Envelope::parse(&serde_json::to_vec(&envelope).expect("it can be written"));
    assert_eq!(value(&again.expect("a request that was written parses").request), value(request));
}

/// Every field of the line is a field of the request with the same value; every other field of the request is empty.
fn check_fields(read: &Map<String, Value>, meant: &Map<String, Value>) {
    for (name, value) in read {
        let meant = meant.get(name).unwrap_or_else(|| panic!("field {name} was ignored"));
        match (value, meant) {
            (Value::Object(read), Value::Object(meant)) => check_fields(read, meant),
            // The text form of an address may differ.
            (Value::Array(_), Value::Array(_)) if name == "addresses" => {}
            (read, meant) => assert_eq!(read, meant, "field {name}"),
        }
    }
    for (name, value) in meant.iter().filter(|(name, _)| !read.contains_key(*name)) {
        let is_nothing = value.is_null()
            || value.as_str() == Some("")
            || value.as_array().is_some_and(Vec::is_empty)
            || value.as_object().is_some_and(Map::is_empty);
        assert!(is_nothing, "field {name} is not in the line: {value}");
    }
}
