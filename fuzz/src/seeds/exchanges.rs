//! Seeds of the proxy's session: requests and responses of the tests of `l7`, in turn.

use super::literals;
use super::target::Seeds;
use std::io;
use std::path::Path;

/// Responses to what is allowed.
const RESPONSES: [&str; 6] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nfree",
    "HTTP/1.0 200 OK\r\n\r\nuntil the end",
    "HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n",
];

/// Requests that are allowed.
const REQUESTS: [&str; 6] = [
    "GET /public HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST /public HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
    "POST /public HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nfree",
    "POST /public HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    "GET /public HTTP/1.0\r\n\r\n",
];

/// Exchanges of each request with each response, and what follows.
pub fn proxy(root: &Path) -> io::Result<Seeds> {
    let mut seeds = Seeds::default();
    let source = std::fs::read_to_string(root.join("crates/l7/tests/requests.rs"))?;
    let others = literals::strings(&source)
        .into_iter()
        .filter(|text| text.contains("HTTP/1") && text.ends_with("\r\n\r\n"));
    let requests: Vec<String> = REQUESTS.map(str::to_owned).into_iter().chain(others).collect();
    for request in &requests {
        for response in RESPONSES {
            let first = [sends(0, request), sends(1, response)].concat();
            seeds.inputs.insert(first.clone());
            seeds.inputs.insert([&first[..], &sends(0, REQUESTS[1]), &sends(1, RESPONSES[1]), &[3]].concat());
            seeds.inputs.insert([&sends(0, &request.replace('/', "/x"))[..], &first].concat());
            seeds.inputs.insert([&sends(0, request)[..], &[4], &sends(1, response), &[2]].concat());
        }
    }
    seeds.words.extend(
        REQUESTS.iter().chain(&RESPONSES).flat_map(|text| text.split_inclusive("\r\n")).map(str::to_owned),
    );
    Ok(seeds)
}

/// Bytes of one end, in pieces.
fn sends(end: u8, text: &str) -> Vec<u8> {
    let length = (text.len() as u16).to_be_bytes();
    [&[0xf0 | end][..], &length, text.as_bytes()].concat()
}
