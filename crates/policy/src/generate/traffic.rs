//! Random traffic: ports, ICMP types, and requests.

use super::generated::GeneratedRequest;
use super::random::Random;
use crate::rule::{Action, Family, HeaderRule, HttpRule, Port, Protocol, Traffic, TrafficMatch};

/// The ports of rules and probes.
pub(super) const PORTS: &[u16] = &[0, 53, 79, 80, 81, 443, 444, 8080, 8085, 65535];

/// Expressions of rules, each with a text that it matches.
const METHODS: &[(&str, &str)] =
    &[("GET", "GET"), ("GET|HEAD", "HEAD"), ("P.*", "PUT"), ("[A-Z]+", "DELETE")];
const PATHS: &[(&str, &str)] = &[
    ("/public", "/public"),
    ("/public/?", "/public/"),
    ("/(healthz|public)", "/healthz"),
    ("/v[0-9]+/x", "/v1/x"),
    ("/.*", "/private"),
    (".*\\?x=1", "/public?x=1"),
];
const HOSTS: &[(&str, &str)] = &[
    ("app1-service", "app1-service"),
    ("app1-service(:[0-9]+)?", "app1-service:80"),
    (".*\\.org", "example.org"),
];
const TOKENS: &[&str] = &["42", "7", ""];

/// The traffic of a rule with this action; `http` allows HTTP rules.
pub(super) fn traffic(random: &mut Random, action: Action, http: bool) -> Traffic {
    if random.chance(25) {
        return Traffic::Any;
    }
    let count = if random.chance(5) { 0 } else { 1 + random.below(3) };
    Traffic::Of((0..count).map(|_| traffic_match(random, action, http)).collect())
}

fn traffic_match(random: &mut Random, action: Action, http: bool) -> TrafficMatch {
    if random.chance(15) {
        let (family, kinds) = random.pick(&[(Family::Ipv4, [8, 3, 0]), (Family::Ipv6, [128, 2, 1])]);
        return TrafficMatch::Icmp { family, kind: random.pick(&kinds) };
    }
    let port = match random.below(10) {
        0 => Port::Any,
        1..3 => Port::Named(random.pick(&["web", "admin", "none"]).into()),
        3..6 => {
            let (one, two) = (random.pick(PORTS), random.pick(PORTS));
            Port::Range(one.min(two), one.max(two))
        }
        _ => {
            let port = random.pick(PORTS);
            Port::Range(port, port)
        }
    };
    let http = (http && action == Action::Allow && random.chance(55)).then(|| http_rules(random));
    let protocol = match http {
        Some(_) => random.pick(&[Protocol::Tcp, Protocol::Tcp, Protocol::Any]),
        None => random.pick(&[Protocol::Tcp, Protocol::Tcp, Protocol::Udp, Protocol::Sctp, Protocol::Any]),
    };
    TrafficMatch::Port { protocol, port, http: http.map(Into::into) }
}

fn http_rules(random: &mut Random) -> Vec<HttpRule> {
    (0..random.below(3)).map(|_| http_rule(random)).collect()
}

fn http_rule(random: &mut Random) -> HttpRule {
    let mut one_of = |pool: &[(&str, &str)]| random.chance(50).then(|| random.pick(pool).0.to_owned());
    let (method, path, host) = (one_of(METHODS), one_of(PATHS), one_of(HOSTS));
    let token = random.chance(30).then(|| random.pick(TOKENS).to_owned());
    let header =
        |value: String| HeaderRule { name: "X-Token".into(), value: (!value.is_empty()).then_some(value) };
    HttpRule { method, path, host, headers: token.map(header).into_iter().collect() }
}

/// A random request.
pub(super) fn request(random: &mut Random) -> GeneratedRequest {
    let mut headers = Vec::new();
    for _ in 0..random.below(3) {
        headers.push((
            random.pick(&["x-token", "X-Token", "Accept"]).into(),
            random.pick(&["42", "7", ""]).into(),
        ));
    }
    GeneratedRequest {
        method: random.pick(METHODS).1.into(),
        path: if random.chance(10) { "/".into() } else { random.pick(PATHS).1.into() },
        host: random.pick(HOSTS).1.into(),
        headers,
    }
}

/// A request that a rule matches, one that differs in one field, or a random one.
pub(super) fn request_of(random: &mut Random, rule: &HttpRule) -> GeneratedRequest {
    let mut request = request(random);
    if random.chance(30) {
        return request;
    }
    let word = |pool: &[(&str, &str)], expression: &Option<String>| {
        let known = pool.iter().find(|(known, _)| expression.as_deref() == Some(known));
        known.map(|(_, word)| (*word).to_owned())
    };
    let missed = random.below(6);
    let wanted = [(METHODS, &rule.method), (PATHS, &rule.path), (HOSTS, &rule.host)];
    let fields = [&mut request.method, &mut request.path, &mut request.host];
    for (at, (field, (pool, expression))) in fields.into_iter().zip(wanted).enumerate() {
        if let Some(word) = word(pool, expression).filter(|_| at != missed) {
            *field = word;
        }
    }
    if missed != 3 {
        let headers = rule.headers.iter();
        let headers = headers.map(|one| (one.name.clone(), one.value.clone().unwrap_or_default()));
        request.headers.splice(.., headers);
    }
    request
}
