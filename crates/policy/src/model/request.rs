//! Whether one HTTP rule matches one request, by comparing each part by itself.

use l7::rule::{HeaderRule, HttpRule, RequestView};
use regex_automata::meta::Regex;
use regex_automata::{Anchored, Input};
use regex_syntax::hir::{Hir, Look};

/// Whether every part of the rule matches the request.
pub(super) fn matches(rule: &HttpRule, request: &RequestView<'_>) -> bool {
    let expressions =
        [(&rule.method, request.method), (&rule.path, request.path), (&rule.host, request.host)];
    for (expression, value) in expressions {
        if expression.as_ref().is_some_and(|expression| !matches_whole(expression, value)) {
            return false;
        }
    }
    if lacks_host(rule, request) {
        return false;
    }
    rule.headers.iter().all(|header| has(request, header))
}

/// Whether the rule requires a host and the request has none, as an HTTP/1.0 request may.
fn lacks_host(rule: &HttpRule, request: &RequestView<'_>) -> bool {
    rule.host.is_some() && request.host.is_empty()
}

/// The parts of the request that do not match the rule: `method POST, rule has GET`.
pub(super) fn differences(rule: &HttpRule, request: &RequestView<'_>) -> Vec<String> {
    let parts = [
        ("method", &rule.method, request.method),
        ("path", &rule.path, request.path),
        ("host", &rule.host, request.host),
    ];
    let parts = parts.into_iter().filter_map(|(name, expression, value)| {
        let expression = expression.as_ref().filter(|expression| !matches_whole(expression, value))?;
        (name != "host" || !value.is_empty()).then(|| format!("{name} {value}, rule has {expression}"))
    });
    let host = rule.host.iter().filter(|_| lacks_host(rule, request));
    let parts = parts.chain(host.map(|host| format!("host is missing, rule has {host}")));
    let headers = rule.headers.iter().filter(|header| !has(request, header));
    parts.chain(headers.map(|header| difference(request, header))).collect()
}

/// How a header field differs from the rule.
fn difference(request: &RequestView<'_>, header: &HeaderRule) -> String {
    let same_name = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(&header.name));
    let values: Vec<_> = same_name.map(|field| String::from_utf8_lossy(field.value)).collect();
    let (name, wanted) = (&header.name, header.value.as_deref().unwrap_or("any value"));
    match &values[..] {
        [] => format!("header {name} is missing, rule has {wanted}"),
        [value] => format!("header {name} is {value}, rule has {wanted}"),
        several => format!("header {name} occurs {} times, rule has {wanted} once", several.len()),
    }
}

/// Whether the request has the header field.
fn has(request: &RequestView<'_>, header: &HeaderRule) -> bool {
    let same_name = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(&header.name));
    let values: Vec<&[u8]> = same_name.map(|field| field.value).collect();
    match &header.value {
        None => !values.is_empty(),
        // A field that occurs twice has no defined value: servers differ in which one they use.
        Some(wanted) => values == [wanted.as_bytes()],
    }
}

/// Whether the expression matches the whole value. An invalid expression matches nothing; such a policy is refused when
/// it is parsed.
fn matches_whole(expression: &str, value: &str) -> bool {
    let Ok(hir) = l7::expression::hir(expression) else { return false };
    let whole = Hir::concat(vec![Hir::look(Look::Start), hir, Hir::look(Look::End)]);
    let config = Regex::config().utf8_empty(false);
    let Ok(regex) = Regex::builder().configure(config).build_from_hir(&whole) else { return false };
    regex.is_match(Input::new(value).anchored(Anchored::Yes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use l7::rule::Field;

    fn path(expression: &str) -> HttpRule {
        HttpRule { path: Some(expression.into()), ..HttpRule::default() }
    }

    fn get<'a>(path: &'a str, headers: &'a [Field<'a>]) -> RequestView<'a> {
        RequestView { method: "GET", path, host: "app1-service", headers }
    }

    #[test]
    fn an_expression_must_match_the_whole_value() {
        for (expression, value, expect) in [
            ("/public", "/public", true),
            ("/public$", "/public", true),
            ("/public", "/public?x=1", false),
            ("/public", "/publication", false),
            ("/a|/b", "/b", true),
            ("/a|/b", "/ac", false),
            ("", "/", false),
            ("/[a&&b]", "/&", true),
            ("(", "(", false),
        ] {
            assert_eq!(matches(&path(expression), &get(value, &[])), expect, "{expression} against {value}");
        }
    }

    #[test]
    fn a_rule_with_a_host_matches_no_request_without_one() {
        let without = RequestView { host: "", ..get("/", &[]) };
        for host in [".*", "", "app1-service"] {
            let rule = HttpRule { host: Some(host.into()), ..HttpRule::default() };
            assert!(!matches(&rule, &without), "{host}");
            assert_eq!(differences(&rule, &without), [format!("host is missing, rule has {host}")]);
        }
        assert!(matches(&path("/"), &without) && differences(&path("/"), &without).is_empty());
    }

    #[test]
    fn the_mismatch_of_a_header_field_is_reported() {
        let wanted = HeaderRule { name: "X-T".into(), value: Some("1".into()) };
        let check = |values: &[&'static str], expected: &str| {
            let fields: Vec<Field<'_>> =
                values.iter().map(|value| Field { name: "x-t", value: value.as_bytes() }).collect();
            let rule = HttpRule { headers: vec![wanted.clone()], ..HttpRule::default() };
            assert_eq!(differences(&rule, &get("/", &fields)), [expected]);
        };
        check(&[], "header X-T is missing, rule has 1");
        check(&["2"], "header X-T is 2, rule has 1");
        check(&["1", "1"], "header X-T occurs 2 times, rule has 1 once");
    }

    #[test]
    fn a_header_that_occurs_twice_has_no_value() {
        let wanted = HeaderRule { name: "X-Token".into(), value: Some("42".into()) };
        let rule = HttpRule { headers: vec![wanted], ..HttpRule::default() };
        let field = |value: &'static str| Field { name: "x-token", value: value.as_bytes() };
        assert!(matches(&rule, &get("/", &[field("42")])));
        assert!(!matches(&rule, &get("/", &[field("41")])));
        assert!(!matches(&rule, &get("/", &[field("42"), field("42")])));
        assert!(!matches(&rule, &get("/", &[])));
    }
}
