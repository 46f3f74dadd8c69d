//! Rules: the requests that they match, and rules that are refused.

use l7::rule::HeaderRule;
use l7::rule_error::RuleField;
use l7::{Field, HttpRule, Matcher, RequestView, expression};

fn rule(method: &str, path: &str, host: &str) -> HttpRule {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    HttpRule { method: some(method), path: some(path), host: some(host), headers: Vec::new() }
}

fn with_header(mut rule: HttpRule, name: &str, value: Option<&str>) -> HttpRule {
    rule.headers.push(HeaderRule { name: name.to_owned(), value: value.map(str::to_owned) });
    rule
}

fn view<'a>(method: &'a str, path: &'a str, host: &'a str, headers: &'a [Field<'a>]) -> RequestView<'a> {
    RequestView { method, path, host, headers }
}

/// Whether a path expression matches a path.
fn path_matches(expression: &str, path: &str) -> bool {
    let matcher = Matcher::new(&[rule("", expression, "")]).unwrap_or_else(|error| panic!("{error}"));
    matcher.matches(&view("GET", path, "svc", &[])).is_some()
}

#[test]
fn without_rules_nothing_matches() {
    let matcher = Matcher::new(&[]).expect("an empty list is fine");
    assert_eq!(matcher.matches(&view("GET", "/", "svc", &[])), None);
}

#[test]
fn an_empty_rule_matches_everything() {
    let matcher = Matcher::new(&[HttpRule::default()]).expect("compiles");
    assert_eq!(matcher.matches(&view("GET", "/any?x=1", "svc:80", &[])), Some(0));
    assert_eq!(matcher.matches(&view("", "", "", &[])), Some(0));
}

#[test]
fn all_fields_of_a_rule_must_match_and_the_first_rule_is_named() {
    let rules = [
        rule("GET", "/public", ""),
        rule("GET|HEAD", "/public.*", "api\\.example\\.com"),
        rule("POST", "", "api\\.example\\.com(:[0-9]+)?"),
        rule("GET", "/pub.*", ""),
    ];
    let matcher = Matcher::new(&rules).expect("compiles");
    for (method, path, host, expected) in [
        ("GET", "/public", "svc", Some(0)),
        ("GET", "/public", "api.example.com", Some(0)),
        ("GET", "/public/x", "api.example.com", Some(1)),
        ("GET", "/public/x", "apiXexample.com", Some(3)),
        ("HEAD", "/public", "api.example.com", Some(1)),
        ("HEAD", "/public", "svc", None),
        ("POST", "/x", "api.example.com:8080", Some(2)),
        ("POST", "/x", "api.example.com:", None),
        ("POST", "/public", "svc", None),
        ("GET", "/private", "svc", None),
        ("get", "/public", "svc", None),
        ("GET", "/Public", "svc", None),
        ("GET", "/public?x=1", "svc", Some(3)),
    ] {
        assert_eq!(matcher.matches(&view(method, path, host, &[])), expected, "{method} {path} {host}");
    }
}

#[test]
fn a_separator_in_a_field_moves_no_border() {
    let matcher = Matcher::new(&[rule("GET", "/public", "svc")]).expect("compiles");
    assert_eq!(matcher.matches(&view("GET\0/public", "", "svc", &[])), None);
    assert_eq!(matcher.matches(&view("GET", "/public\0svc", "", &[])), None);
    let wide = Matcher::new(&[rule("GET", "[^x]*", "\\S*")]).expect("compiles");
    assert_eq!(wide.matches(&view("GET", "/a\0", "svc", &[])), None);
}

#[test]
fn header_fields_are_exact_and_never_ambiguous() {
    let exact =
        Matcher::new(&[with_header(rule("GET", "", ""), "X-Token", Some("s3cret"))]).expect("compiles");
    let present = Matcher::new(&[with_header(rule("GET", "", ""), "X-Token", None)]).expect("compiles");
    let field = |name, value: &'static str| Field { name, value: value.as_bytes() };
    for (fields, expects_exact, expects_present) in [
        (vec![], false, false),
        (vec![field("X-Token", "s3cret")], true, true),
        (vec![field("x-tOKEN", "s3cret")], true, true),
        (vec![field("X-Token", "S3cret")], false, true),
        (vec![field("X-Token", "s3cret,x")], false, true),
        (vec![field("X-Token", "")], false, true),
        (vec![field("X-Token2", "s3cret")], false, false),
        (vec![field("X-Token", "s3cret"), field("X-Token", "evil")], false, true),
        (vec![field("X-Token", "evil"), field("x-token", "s3cret")], false, true),
        (vec![field("X-Token", "s3cret"), field("X-Token", "s3cret")], false, true),
    ] {
        let request = view("GET", "/", "svc", &fields);
        assert_eq!(exact.matches(&request).is_some(), expects_exact, "{fields:?}");
        assert_eq!(present.matches(&request).is_some(), expects_present, "{fields:?}");
    }
}

#[test]
fn a_later_rule_may_match_where_headers_fail_an_earlier_one() {
    let rules = [with_header(rule("GET", "/x", ""), "A", Some("1")), rule("", "/x", "")];
    let matcher = Matcher::new(&rules).expect("compiles");
    assert_eq!(matcher.matches(&view("GET", "/x", "svc", &[])), Some(1));
    assert_eq!(matcher.matches(&view("GET", "/x", "svc", &[Field { name: "a", value: b"1" }])), Some(0));
}

#[test]
fn expressions_mean_what_they_mean_in_re2() {
    for (expression, path, expected) in [
        // An expression matches the whole field, so anchors have no effect.
        ("/public", "/public", true),
        ("/public", "/public/", false),
        ("/public", "x/public", false),
        ("^/public$", "/public", true),
        ("\\A/public\\z", "/public", true),
        ("^/public", "/public/more", false),
        ("/a$b", "/a$b", false),
        ("/a|/b", "/b", true),
        ("/a|/b", "/a|/b", false),
        ("()", "", true),
        ("()", "/", false),
        // Repetition.
        ("/a{2,3}", "/aaa", true),
        ("/a{2,3}", "/aaaa", false),
        ("/a{2,}", "/aaaaaa", true),
        ("/a{0}", "/", true),
        ("/a*?b+?", "/aabb", true),
        // A brace that is no repetition is a literal.
        ("/api/{id}", "/api/{id}", true),
        ("/a{,5}", "/a{,5}", true),
        ("/a{,5}", "/aaa", false),
        ("{", "{", true),
        // Classes: set operations of other syntaxes are literals here.
        ("[a&&b]", "&", true),
        ("[a&&b]", "a", true),
        ("[[]", "[", true),
        ("[a[b]c]", "[c]", true),
        ("[]a]", "]", true),
        ("[^]a]", "]", false),
        ("[a-]", "-", true),
        ("[-a]", "-", true),
        ("[+--]", ",", true),
        ("[~~x]", "~", true),
        ("[[:alpha:]_]+", "ab_Z", true),
        ("[[:^digit:]]", "7", false),
        ("[\\d\\-.]+", "1-2.3", true),
        ("[\\D]", "1", false),
        ("[^/]+", "a/b", false),
        // Escapes.
        ("/v\\d+\\.\\d+", "/v12.3", true),
        ("/v\\d+\\.\\d+", "/v12x3", false),
        ("\\<a\\>", "<a>", true),
        ("\\x2Fa\\x{62}", "/ab", true),
        ("/\\Qa.b*\\E+c", "/a.b*c", true),
        ("/\\Qa.b*\\E+c", "/a.b***c", true),
        ("/\\Qa.b*\\E+c", "/axbc", false),
        ("\\Q/a|b", "/a|b", true),
        ("/x\\b.*", "/x/y", true),
        ("/x\\b.*", "/xy", false),
        (".*\\bend\\b", "the/end", true),
        // Groups and flags.
        ("(?i)/PuBlic", "/pUbLIC", true),
        ("/(?i:a)b", "/Ab", true),
        ("/(?i:a)b", "/AB", false),
        ("/((?i)a)b", "/AB", false),
        ("(?i)/x|/y", "/Y", true),
        ("(?-i)/x", "/X", false),
        ("(?i)[a-c]+", "ABC", true),
        ("(?i)[^a]", "A", false),
        ("(?sU).*", "/x", true),
        ("(?P<name>/a)(?<other>b)", "/ab", true),
        ("(/a|)b", "b", true),
        ("()*", "", true),
        ("/a.c", "/abc", true),
        ("/caf\u{e9}", "/caf\u{e9}", true),
    ] {
        assert_eq!(path_matches(expression, path), expected, "{expression:?} on {path:?}");
    }
}

#[test]
fn what_re2_does_not_have_is_refused_where_it_stands() {
    for (text, position, says) in [
        ("*", 0, "nothing to repeat"),
        ("/a**", 3, "nothing to repeat"),
        ("/a*+", 3, "nothing to repeat"),
        ("a|*", 2, "nothing to repeat"),
        ("(?i)*", 4, "nothing to repeat"),
        ("/a(b", 2, "no closing one"),
        ("/a)b", 2, "no opening one"),
        ("/[ab", 1, "no closing one"),
        ("[", 0, "no closing one"),
        ("[]", 0, "no closing one"),
        ("[b-a]", 1, "ends before"),
        ("[[:letters:]]", 1, "named class"),
        ("/a\\", 2, "escapes nothing"),
        ("(a)\\1", 3, "back-references"),
        ("\\012", 0, "octal"),
        ("\\C", 0, "\\C"),
        ("\\pL", 0, "\\p"),
        ("\\Z", 0, "no such escape"),
        ("\\E", 0, "no such escape"),
        ("\\xZZ", 0, "hexadecimal"),
        ("\\x{e9}", 0, "outside ASCII"),
        ("\\x{}", 0, "hexadecimal"),
        ("\\x00", 0, "NUL"),
        ("[\\x00-a]", 1, "NUL"),
        ("[\u{e9}]", 1, "outside ASCII"),
        ("(?=a)", 0, "look-around"),
        ("(?!a)", 0, "look-around"),
        ("(?<=a)", 0, "look-around"),
        ("(?<!a)", 0, "look-around"),
        ("(?x)a b", 0, "flags"),
        ("(?#note)", 0, "flags"),
        ("(?P=name)", 0, "flags"),
        ("(?P<na-me>a)", 4, "name"),
        ("a{1001}", 1, "1000"),
        ("a{3,2}", 1, "rising"),
        ("(a{1000}){1000}", 15, "too large"),
        ("((a{100}){100}){100}", 14, "too large"),
    ] {
        let error = expression::check(text).expect_err(text);
        assert_eq!(error.position, position, "{text:?}: {error}");
        assert!(error.message.contains(says), "{text:?}: {error}");
    }
}

#[test]
fn groups_are_not_nested_without_end() {
    let deep = |depth: usize| format!("{}a{}", "(".repeat(depth), ")".repeat(depth));
    assert!(expression::check(&deep(100)).is_ok());
    assert!(expression::check(&deep(101)).is_err());
    assert!(expression::check(&deep(1_000_000)).is_err());
}

#[test]
fn an_error_names_the_rule_and_the_field() {
    let rules = [rule("GET", "/ok", ""), rule("GET", "/a(b", "")];
    let error = Matcher::new(&rules).expect_err("the group is open");
    assert_eq!((error.rule, error.field, error.position), (1, RuleField::Path, 2));
    assert_eq!(error.to_string(), "http[1].path: this opening parenthesis has no closing one (at offset 2)");

    let error = Matcher::new(&[with_header(rule("", "", ""), "X Y", None)]).expect_err("a space in a name");
    assert_eq!((error.rule, error.field, error.position), (0, RuleField::Header(0), 1));
}

#[test]
fn hostile_expressions_cost_neither_memory_nor_exponential_time() {
    // A DFA that is built in advance needs 2^20 states for each of them.
    let rules: Vec<_> = (0..50).map(|n| rule("", &format!(".*a.{{{}}}b", 20 + n), "")).collect();
    let matcher = Matcher::new(&rules).expect("within limits");
    let path = "ab".repeat(2000);
    assert!(matcher.matches(&view("GET", &path, "svc", &[])).is_some());

    let large: Vec<_> = (0..100).map(|n| rule("", &format!("/{n}/[a-z]{{1000}}[0-9]{{1000}}"), "")).collect();
    let error = Matcher::new(&large).expect_err("more than all rules together may take");
    assert!(error.rule > 10, "{error}");
}

#[test]
fn thousands_of_rules_are_one_automaton() {
    let rules: Vec<_> = (0..3000).map(|n| rule("GET|PUT", &format!("/service-{n}/v[0-9]+/.*"), "")).collect();
    let matcher = Matcher::new(&rules).expect("compiles");
    for n in [0, 17, 1234, 2999] {
        let path = format!("/service-{n}/v1/items?page=2");
        assert_eq!(matcher.matches(&view("PUT", &path, "svc", &[])), Some(n));
    }
    assert_eq!(matcher.matches(&view("GET", "/service-3000/v1/", "svc", &[])), None);
}

/// Expressions with many positions that are active at the same time.
fn wide(count: usize) -> Vec<HttpRule> {
    (0..count).map(|n| rule("GET", &format!("/.*a.{{{}}}x", 20 + n), "")).collect()
}

/// A path of two letters in random order.
fn noise(length: usize) -> String {
    let mut state = 1u64;
    let letters = (0..length).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if state >> 63 == 0 { 'a' } else { 'b' }
    });
    std::iter::once('/').chain(letters).collect()
}

#[test]
fn rules_above_the_cost_limit_are_refused_at_the_first_that_exceeds_it() {
    assert_eq!(l7::cost::check(&wide(20)), Ok(()));
    let error = l7::cost::check(&wide(200)).expect_err("they are at too many places");
    assert_eq!((error.rule, error.field), (70, RuleField::Path), "{error}");
    let mut backwards = wide(200);
    backwards.reverse();
    assert_eq!(l7::cost::check(&backwards).expect_err("in any order").rule, 19);
    // The limit holds for every form of repetition, in every field.
    for text in ["/[^x]*a[a-z]{900}x", "/(.*a){450}", "/(a|b)*a.{900}", "/.{0,900}a.{900}"] {
        let methods = ["GET", "PUT", "POST", "HEAD", "PATCH", "DELETE"];
        assert!(l7::cost::check(&methods.map(|method| rule(method, text, ""))).is_err(), "{text}");
        assert!(l7::cost::check(&methods.map(|method| rule(method, "", text))).is_err(), "{text}");
        // Equal rules count once.
        assert!(l7::cost::check(&vec![rule("GET", text, ""); 6]).is_ok(), "{text}");
    }
}

#[test]
fn ordinary_rules_stay_below_the_cost_limit() {
    let many = |count: usize, path: fn(usize) -> String| -> Vec<HttpRule> {
        (0..count).map(|n| rule("GET|POST", &path(n), "")).collect()
    };
    for rules in [
        many(50, |n| format!("/.*/s{n}/.*/x")),
        many(500, |n| format!("/.*/s{n}/.*/x")),
        many(5000, |n| format!("/api/v1/s{n}/.*")),
        many(3000, |n| format!("/service-{n}/v[0-9]+/.*")),
        many(1000, |n| format!("/s{n}/[a-z]{{1,63}}/[0-9]{{1,10}}")),
        many(1000, |n| format!("/users/{n}(/.*)?")),
    ] {
        assert_eq!(l7::cost::check(&rules), Ok(()));
    }
}

#[test]
fn a_request_that_costs_too_much_is_refused_and_others_are_not() {
    let rules = wide(60);
    let matcher = Matcher::new(&rules).expect("compiles");
    let hostile = noise(7000);
    let found = format!("/a{}x", "-".repeat(30));
    for _ in 0..3 {
        assert_eq!(matcher.decide(&view("GET", &hostile, "svc", &[])), Err(l7::TooCostly));
        assert_eq!(matcher.matches(&view("GET", &hostile, "svc", &[])), None);
        assert_eq!(matcher.decide(&view("GET", &found, "svc", &[])), Ok(Some(10)));
        assert_eq!(matcher.decide(&view("GET", "/b", "svc", &[])), Ok(None));
    }
    // The limit covers the host as well.
    let rules: Vec<_> =
        wide(60).into_iter().map(|rule| HttpRule { host: rule.path, path: None, ..rule }).collect();
    let matcher = Matcher::new(&rules).expect("compiles");
    assert_eq!(matcher.decide(&view("GET", "/", &hostile, &[])), Err(l7::TooCostly));
}

#[test]
fn long_paths_are_matched_against_ordinary_rules() {
    let rules: Vec<_> = (0..50).map(|n| rule("GET", &format!("/.*/s{n}/.*/x"), "")).collect();
    let matcher = Matcher::new(&rules).expect("compiles");
    let path: String =
        std::iter::once("/a".to_owned()).chain((0..900).map(|n| format!("/s{}", n % 97))).collect();
    assert_eq!(matcher.decide(&view("GET", &format!("{path}/x"), "svc", &[])), Ok(Some(0)));
    assert_eq!(matcher.decide(&view("GET", &noise(60_000), "svc", &[])), Ok(None));
}

/// Text without operators is one literal; a repetition after it, and the flag `i` before it, mean what they mean elsewhere.
#[test]
fn plain_text_is_repeated_and_folded_by_its_characters() {
    for (expression, matching, others) in [
        ("/abc*", &["/ab", "/abccc"][..], &["/abcabc", "/ABC"][..]),
        ("/abc+?d", &["/abcd", "/abccd"], &["/abd"]),
        ("/ab{2}c", &["/abbc"], &["/abab", "/abc"]),
        ("/ab{,2}", &["/ab{,2}"], &["/ab", "/abb"]),
        ("(?i)/ab-12", &["/AB-12", "/aB-12"], &["/ab-1", "/ab_12"]),
        ("/a(?i)b-c(?-i)de", &["/aB-Cde"], &["/Ab-cde", "/ab-cDe"]),
        ("/a%7Eb|/c=d", &["/a%7Eb", "/c=d"], &["/a%7eb"]),
    ] {
        let matcher = Matcher::new(&[rule("", expression, "")]).expect(expression);
        let matches = |path: &&str| matcher.matches(&view("GET", path, "svc", &[])).is_some();
        assert!(matching.iter().all(matches), "{expression}");
        assert!(!others.iter().any(matches), "{expression}");
    }
}

/// A field that contains the separator matches no rule.
#[test]
fn a_separator_alone_matches_nothing() {
    let matcher = Matcher::new(&[HttpRule::default()]).expect("compiles");
    for (method, path, host) in
        [("\0", "/", "svc"), ("GET", "/\0", "svc"), ("GET", "/", "\0svc"), ("GET", "\0", "")]
    {
        assert_eq!(matcher.matches(&view(method, path, host, &[])), None);
    }
}
