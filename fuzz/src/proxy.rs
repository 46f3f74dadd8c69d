//! The proxy's session: for all bytes of client and server, the server gets allowed requests only.

use crate::input::{Input, pieces};
use abi::policy::Direction;
use l7::head::MAX_FIELDS;
use l7::{Body, Field, HttpRule, Matcher, Request, Response, Scanner};
use proxy::fixtures::{ProxiedConnection, ProxiedEnd};
use proxy::{AppliedRuleSet, ProxiedFlow, ProxyConfig, RequestPolicy, RequestVerdict, Rules};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::Waker;

/// The rules before and after the change of policy.
static MATCHERS: LazyLock<[Arc<Matcher>; 2]> = LazyLock::new(|| {
    let rule = |method: &str, path: &str| HttpRule {
        method: Some(method.to_owned()),
        path: Some(path.to_owned()),
        ..HttpRule::default()
    };
    [vec![rule("GET|POST|HEAD", "/public.*"), rule("GET", "/ws")], vec![rule("GET", "/public")]]
        .map(|rules| Arc::new(Matcher::new(&rules).expect("the rules are right")))
});

/// A policy that may change once.
struct Changing {
    generation: AtomicU64,
}

impl RequestPolicy for Changing {
    fn flow(&self, _client: SocketAddr, _server: SocketAddr) -> Option<ProxiedFlow> {
        let applied = vec![AppliedRuleSet { set: 1, rule: 1, direction: Direction::Ingress }];
        Some(ProxiedFlow { source_identity: 1000, destination_identity: 2000, workloads: (1, 2), applied })
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    fn rules(&self, _set: u32) -> Rules {
        Rules::Ready(Arc::clone(&MATCHERS[self.generation().min(1) as usize]))
    }

    fn wake_when_rules_load(&self, _waker: &Waker) {}
}

/// Limit on the fields of a forwarded head: the proxy adds `Connection` to a head that had none.
const FORWARDED_FIELDS: usize = MAX_FIELDS + 1;

/// Runs the steps of an input: an end sends pieces, an end closes, or policy changes.
pub fn check(data: &[u8]) {
    let policy = Arc::new(Changing { generation: AtomicU64::new(0) });
    let config = ProxyConfig { discard_limit: 64, ..ProxyConfig::default() };
    let mut connection = ProxiedConnection::new(config, policy.clone());
    let mut input = Input::new(data);
    while !input.is_empty() && !connection.is_over() {
        let decision = input.byte();
        let end = if decision & 1 == 0 { ProxiedEnd::Client } else { ProxiedEnd::Server };
        match decision & 0x0e {
            0x02 => connection.close(end),
            0x04 => {
                policy.generation.store(1, Ordering::Relaxed);
                connection.reevaluate();
            }
            _ => {
                let length = usize::from(input.short() % 4096);
                for piece in pieces(input.take(length), decision | 0x0f) {
                    connection.receive(end, piece);
                }
            }
        }
    }
    check_forwarded(&connection.to_server);
    check_received(&connection);
    check_events(&connection);
}

/// The server got a sequence of allowed requests, of which only the last may be incomplete.
fn check_forwarded(mut sent: &[u8]) {
    while !sent.is_empty() {
        let head = Scanner::default().scan(sent).expect("the server gets requests");
        let Some(head) = head else { panic!("a head is sent as a whole") };
        let (mut bytes, end) = (sent[head.clone()].to_vec(), head.end);
        let mut storage = [Field::default(); FORWARDED_FIELDS];
        let request = Request::parse(&mut bytes, &mut storage).expect("the server gets requests");
        let is_allowed = MATCHERS.iter().any(|matcher| matcher.matches(&request.view()).is_some());
        assert!(is_allowed, "{request:?} was forwarded");
        sent = &sent[end..];
        if request.websocket {
            return;
        }
        let mut body = Body::new(request.framing);
        let taken = body.advance(sent).expect("a body is forwarded as it was checked");
        assert!(taken == sent.len() || body.is_done());
        sent = &sent[taken..];
    }
}

/// The bytes to the client start with a response.
fn check_received(connection: &ProxiedConnection) {
    if connection.to_client.is_empty() {
        return;
    }
    let head = Scanner::default().scan(&connection.to_client).expect("the client gets responses");
    let head = head.expect("a head is sent as a whole");
    let mut storage = [Field::default(); FORWARDED_FIELDS];
    Response::parse(&connection.to_client[head], &mut storage).expect("the client gets responses");
}

/// The verdict of each event matches the results of its rule sets, and a request that was not forwarded has a reason.
fn check_events(connection: &ProxiedConnection) {
    for event in &connection.events {
        let is_denied = event.decisions.iter().any(|decision| decision.http_rule.is_none());
        assert_eq!(
            is_denied,
            event.verdict == RequestVerdict::Deny && !event.decisions.is_empty(),
            "{event:?}"
        );
        assert!(event.verdict == RequestVerdict::Forward || !event.reason.is_empty(), "{event:?}");
    }
}
