//! The exchanges of `requests.jsonl`: exact bytes of clients, with the permitted outcomes.

use crate::harness::{Client, PATIENCE, TestProxy, quick};
use l7::rule::{HeaderRule, HttpRule};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;
use std::io::{Read, Write};
use std::iter;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

const EXCHANGES: &str = include_str!("requests.jsonl");

/// Exchanges with a safe outcome other than the best one. The rejected ones are refused as malformed before a rule is
/// evaluated; the last one is forwarded without its offer to change the protocol.
const OTHERWISE: [(&str, Outcome); 4] = [
    ("backslash", Outcome::Reject),
    ("connect-method-allowed-any", Outcome::Reject),
    ("method-lowercase", Outcome::Reject),
    ("upgrade-unknown", Outcome::Allow),
];

/// The outcome of an exchange, by its first response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Allow,
    Deny,
    Reject,
    Close,
}

/// The result of one exchange.
#[derive(Debug)]
struct Played {
    outcome: Outcome,
    statuses: Vec<String>,
    /// True where a response closes the connection.
    ends: bool,
    /// All bytes that reached the server, on all connections.
    received: Vec<u8>,
}

#[test]
fn exchanges_have_the_expected_bytes_and_events() {
    let played = play_all(|exchange| text(exchange, "proto") == "h1");
    assert_eq!(played.len(), 36);
    let faults: Vec<String> = played.iter().flat_map(|(exchange, played)| faults(exchange, played)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let others =
        played.iter().filter(|(exchange, played)| text(exchange, "expected") != played.outcome.to_string());
    let others: BTreeSet<_> =
        others.map(|(exchange, played)| (text(exchange, "name"), played.outcome)).collect();
    assert_eq!(others, OTHERWISE.into());
}

#[test]
fn http2_is_refused_before_the_server_receives_it() {
    let played = play_all(|exchange| text(exchange, "proto") == "h2c");
    let names: Vec<&str> = played.iter().map(|(exchange, _)| text(exchange, "name")).collect();
    let not_supported_yet =
        ["h2-dup-method", "h2-path-absolute", "h2-header-upper", "h2-host-mismatch", "h2-extended-connect"];
    assert_eq!(names, not_supported_yet);
    for (exchange, played) in &played {
        assert_eq!(faults(exchange, played), [""; 0]);
        assert_eq!((played.outcome, &played.received[..]), (Outcome::Reject, &[][..]), "{exchange}");
    }
}

/// Runs the selected exchanges in parallel, because some end only by a time-out.
fn play_all(wanted: impl Fn(&Value) -> bool) -> Vec<(Value, Played)> {
    let exchanges = EXCHANGES.lines().map(|line| serde_json::from_str(line).expect("each line is JSON"));
    let threads: Vec<_> = exchanges
        .filter(|exchange| wanted(exchange))
        .map(|exchange: Value| thread::spawn(move || (play(&exchange), exchange)))
        .collect();
    let played = threads.into_iter().map(|thread| thread.join().expect("the exchange was played"));
    played.map(|(played, exchange)| (exchange, played)).collect()
}

fn play(exchange: &Value) -> Played {
    let (server, received) = listen();
    let config = proxy::ProxyConfig { idle_timeout: Duration::from_millis(400), ..quick() };
    let proxy = TestProxy::with(server, config);
    proxy.policy.ingress(&rules(exchange));
    let mut client: Client = proxy.connect();
    // The proxy may close before it read everything.
    let _ = client.stream.write_all(&decoded(text(exchange, "raw_b64")));
    let answers = client.rest();
    let statuses = statuses(&answers);
    let outcome = match statuses.first().map(String::as_str) {
        None => Outcome::Close,
        Some("403") => Outcome::Deny,
        Some(status) if status.starts_with(['4', '5']) => Outcome::Reject,
        Some(_) => Outcome::Allow,
    };
    let received = all_received(server, &received);
    let ends = String::from_utf8_lossy(&answers).contains("close\r\n");
    Played { outcome, statuses, ends, received }
}

/// Why an outcome is wrong.
fn faults(exchange: &Value, played: &Played) -> Vec<String> {
    let Played { outcome, statuses, ends, received } = played;
    let mut faults = Vec::new();
    if !texts(exchange, "accept").contains(&outcome.to_string().as_str()) {
        faults.push(format!("{outcome}, accepted are {}", exchange["accept"]));
    }
    let may_receive = *outcome == Outcome::Allow || texts(exchange, "expected_responses").contains(&"200");
    if !may_receive && !received.is_empty() {
        faults.push(format!("{outcome}, and the server received it"));
    }
    if *outcome == Outcome::Reject && !ends {
        faults.push("rejected, but the connection stays open".to_owned());
    }
    let contains = |part: &str| received.windows(part.len()).any(|window| window == part.as_bytes());
    let forbidden = texts(exchange, "upstream_must_not_see").into_iter().filter(|part| contains(part));
    faults.extend(forbidden.map(|part| format!("the server received {part:?}")));
    let missing = texts(exchange, "upstream_should_see").into_iter().filter(|part| !contains(part));
    faults.extend(missing.map(|part| format!("the server did not receive {part:?}")));
    let expected = texts(exchange, "expected_responses");
    if !expected.is_empty() && *statuses != expected {
        faults.push(format!("answers {statuses:?}, expected {expected:?}"));
    }
    let (name, received) = (text(exchange, "name"), String::from_utf8_lossy(received));
    faults.iter().map(|fault| format!("{name}: {fault}; received {received:?}")).collect()
}

/// A server that responds to the first request of each connection, and returns the received bytes at its end.
fn listen() -> (SocketAddr, mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
    let address = listener.local_addr().expect("it is bound");
    let (sender, received) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
            let (mut is_answered, mut all, mut buffer) = (false, Vec::new(), [0; 4096]);
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                all.extend_from_slice(&buffer[..count]);
                if !is_answered && all.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
                    is_answered = true;
                    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n";
                    // The test expects some clients to break the connection.
                    let _ = stream.write_all(answer.as_bytes());
                }
            }
            if sender.send(all).is_err() {
                break;
            }
        }
    });
    (address, received)
}

/// All bytes that the server received so far. It takes one connection after the other, and the last one is the test's.
fn all_received(server: SocketAddr, received: &mpsc::Receiver<Vec<u8>>) -> Vec<u8> {
    const KNOCK: &[u8] = b"that was all";
    let knock = TcpStream::connect(server).and_then(|mut stream| stream.write_all(KNOCK));
    knock.expect("the server listens");
    let of_proxy =
        iter::from_fn(|| received.recv_timeout(2 * PATIENCE).ok()).take_while(|received| received != KNOCK);
    of_proxy.flatten().collect()
}

fn rules(exchange: &Value) -> Vec<HttpRule> {
    let rules = exchange["rules"].as_array().expect("a list of rules");
    let field = |rule: &Value, key: &str| rule[key].as_str().map(str::to_owned);
    rules
        .iter()
        .map(|rule| HttpRule {
            method: field(rule, "method"),
            path: field(rule, "path"),
            host: field(rule, "host"),
            headers: texts(rule, "headers").into_iter().map(header).collect(),
        })
        .collect()
}

/// A header rule as manifests write it: `X-Name: value`.
fn header(text: &str) -> HeaderRule {
    let (name, value) = text.split_once(": ").expect("each header rule here has a value");
    HeaderRule { name: name.to_owned(), value: Some(value.to_owned()) }
}

/// The status of each final response.
fn statuses(answers: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(answers);
    let statuses = text.split("HTTP/1.1 ").skip(1).map(|answer| answer.chars().take(3).collect::<String>());
    statuses.filter(|status| !status.starts_with('1')).collect()
}

fn text<'a>(exchange: &'a Value, key: &str) -> &'a str {
    exchange[key].as_str().expect("every exchange has it")
}

/// The texts of a list; empty where the list is absent.
fn texts<'a>(exchange: &'a Value, key: &str) -> Vec<&'a str> {
    let list = exchange[key].as_array().into_iter().flatten();
    list.map(|one| one.as_str().expect("a list of texts")).collect()
}

/// Base64 (RFC 4648, section 4).
fn decoded(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for character in text.trim_end_matches('=').bytes() {
        let value = ALPHABET.iter().position(|known| *known == character).expect("a character of base64");
        bits = bits << 6 | value as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Reject => "reject",
            Self::Close => "close",
        })
    }
}
