//! Rules: the automaton of all rules agrees with a simple matcher of each rule, and so do the analyses of rules alone.

use super::reading;
use l7::reach::{self, Example, RequestPart};
use l7::rule::HeaderRule;
use l7::rule_error::RuleField;
use l7::{Field, HttpRule, Matcher, RequestView, cost, equivalence, expression, path};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::Hir;
use std::collections::BTreeSet;

/// Bit of the second byte: the analyses of rules are checked too, which takes a hundred times as long.
const ANALYSES: u8 = 0x80;
/// Longest expression of which the analyses are checked.
const SHORT: usize = 24;

/// Parses lines: a request (method, path, host, header field, its value), then rules (the same, as expressions).
pub fn rules(bytes: &[u8], flags: u8) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut lines = text.split('\n');
    let [method, path, host, name, value] = [(); 5].map(|()| lines.next().unwrap_or_default());
    let mut rules = Vec::new();
    while let Some(first) = lines.next().filter(|_| rules.len() < 8) {
        let [path, host, name, value] = [(); 4].map(|()| lines.next().unwrap_or_default());
        rules.push(rule([first, path, host, name, value]));
    }
    let headers = [Field { name, value: value.as_bytes() }];
    let request = RequestView { method, path, host, headers: &headers[..usize::from(!name.is_empty())] };
    rules.iter().for_each(check_expressions);
    let checked = cost::check(&rules);
    match Matcher::new(&rules) {
        Ok(matcher) => {
            check_matcher(&matcher, &rules, &request);
            check_updates(&rules, &request, flags);
        }
        Err(error) => return check_error(&rules, &error),
    }
    if flags & ANALYSES != 0 && checked.is_ok() && rules.iter().all(is_short) {
        check_answers(&rules, &request);
    }
}

fn rule([method, path, host, name, value]: [&str; 5]) -> HttpRule {
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let header = HeaderRule { name: name.to_owned(), value: given(value) };
    let headers = if name.is_empty() { Vec::new() } else { vec![header] };
    HttpRule { method: given(method), path: given(path), host: given(host), headers }
}

fn texts(rule: &HttpRule) -> impl Iterator<Item = &String> {
    [&rule.method, &rule.path, &rule.host].into_iter().flatten()
}

/// An error has its position in its text. In the syntax that RE2 shares with the regex library, an expression matches the
/// same texts for both parsers.
fn check_expressions(rule: &HttpRule) {
    for text in texts(rule) {
        assert_eq!(expression::check(text).is_ok(), expression::hir(text).is_ok());
        if let Err(error) = expression::hir(text) {
            assert!(error.position <= text.len() && !error.message.is_empty(), "{text:?}: {error}");
        }
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/|*+?().-_".contains(&byte);
        if !text.bytes().all(is_plain) || text.contains("(?") || text.contains("??") {
            continue;
        }
        let other = ParserBuilder::new().unicode(false).utf8(false).build().parse(text);
        let (Ok(own), Ok(other)) = (expression::hir(text), other) else { continue };
        for sample in [&text.replace(['*', '+', '?', '(', ')'], ""), "/", "/a", "", "GET"] {
            let [own, other] = [&own, &other].map(|hir| reading::matches(hir, sample.as_bytes()));
            assert_eq!(own, other, "{text:?} on {sample:?}");
        }
    }
}

fn check_error(rules: &[HttpRule], error: &l7::RuleError) {
    let rule = rules.get(error.rule).expect("an error names one of the rules");
    let text = match error.field {
        RuleField::Method => rule.method.as_ref(),
        RuleField::Path => rule.path.as_ref(),
        RuleField::Host => rule.host.as_ref(),
        RuleField::Header(index) => Some(&rule.headers[index].name),
    };
    // Rules that are too large together are reported at the start of a path that need not be given.
    assert!(error.position <= text.map_or(0, String::len), "{error}");
    assert!(!error.message.is_empty());
}

fn check_matcher(matcher: &Matcher, rules: &[HttpRule], request: &RequestView<'_>) {
    let _ = matcher.ambiguity(request);
    let Ok(decided) = matcher.decide(request) else { return };
    assert_eq!(matcher.decide(request), Ok(decided), "the cache makes no difference");
    let expected = rules.iter().position(|rule| holds(rule, request));
    assert_eq!(decided, expected, "{rules:#?} on {request:?}");
}

/// A matcher that is updated twice, from some of the rules to others and to all, agrees with one of all rules.
fn check_updates(rules: &[HttpRule], request: &RequestView<'_>, flags: u8) {
    let all: BTreeSet<&HttpRule> = rules.iter().collect();
    let chosen = |bits: u8| -> Vec<HttpRule> {
        all.iter()
            .enumerate()
            .filter(|(at, _)| bits >> at & 1 == 1)
            .map(|(_, rule)| (*rule).clone())
            .collect()
    };
    let mut matcher = Matcher::new(&chosen(flags)).expect("fewer rules than all are within the limits");
    for rules in [chosen(!flags.rotate_left(1)), chosen(u8::MAX)] {
        let Some(updated) = matcher.updated(&rules) else { return };
        matcher = updated;
        check_matcher(&matcher, &rules, request);
    }
}

/// A simple matcher of one rule.
fn holds(rule: &HttpRule, request: &RequestView<'_>) -> bool {
    let parts = [(&rule.method, request.method), (&rule.path, request.path), (&rule.host, request.host)];
    let matches = |(expression, text): (&Option<String>, &str)| {
        let hir = |text: &String| expression::hir(text).expect("the matcher was built");
        let is_match = |hir: Hir| reading::matches(&hir, text.as_bytes());
        !text.contains('\0') && expression.as_ref().map(hir).is_none_or(is_match)
    };
    let has_host = rule.host.is_none() || !request.host.is_empty();
    has_host && parts.into_iter().all(matches) && rule.headers.iter().all(|header| has_field(header, request))
}

fn has_field(header: &HeaderRule, request: &RequestView<'_>) -> bool {
    let named = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(&header.name));
    match named.collect::<Vec<_>>()[..] {
        [] => false,
        [only] => header.value.as_ref().is_none_or(|value| value.as_bytes() == only.value),
        _ => header.value.is_none(),
    }
}

fn is_short(rule: &HttpRule) -> bool {
    texts(rule).all(|text| text.len() <= SHORT)
}

/// The analyses of the rules are right for this request.
fn check_answers(rules: &[HttpRule], request: &RequestView<'_>) {
    let mut bytes = request.path.as_bytes().to_vec();
    let Ok(length) = path::canonicalise(&mut bytes) else { return };
    if bytes[..length] != *request.path.as_bytes() || request.host.is_empty() || !is_method(request.method) {
        return;
    }
    for (part, text, expressions) in [
        (RequestPart::Path, request.path, rules.iter().map(|rule| &rule.path).collect::<Vec<_>>()),
        (RequestPart::Method, request.method, rules.iter().map(|rule| &rule.method).collect()),
    ] {
        let expressions: Vec<&String> = expressions.into_iter().flatten().take(2).collect();
        let is_match = |text_of: &String| {
            reading::matches(&expression::hir(text_of).expect("the matcher was built"), text.as_bytes())
        };
        for expression in &expressions {
            match reach::example(expression, part).expect("the matcher was built") {
                Example::Nothing => assert!(!is_match(expression), "{expression:?} matches {text:?}"),
                Example::Text(example) => {
                    let hir = expression::hir(expression).expect("the matcher was built");
                    assert!(reading::matches(&hir, example.as_bytes()), "{expression:?}, {example:?}");
                }
                Example::Unknown => {}
            }
        }
        if let [narrow, wide] = expressions[..]
            && reach::is_within(narrow, wide, part).expect("the matcher was built")
        {
            assert!(!is_match(narrow) || is_match(wide), "{narrow:?} is not within {wide:?}: {text:?}");
        }
    }
    check_equivalence(rules, request);
}

/// Rule sets that count as equivalent allow the same requests.
fn check_equivalence(rules: &[HttpRule], request: &RequestView<'_>) {
    let is_printable = |text: &str| text.bytes().all(|byte| (b'!'..=b'~').contains(&byte));
    if rules.len() < 2 || !is_printable(request.host) {
        return;
    }
    let (one, other) = rules.split_at(rules.len() / 2);
    let set = |rules: &[HttpRule]| [BTreeSet::from_iter(rules.iter().cloned())];
    if equivalence::is_same(&set(one), &set(other)) {
        let [one, other] = [one, other].map(|rules| rules.iter().any(|rule| holds(rule, request)));
        assert_eq!(one, other, "{rules:#?} on {request:?}");
    }
}

/// True where a request can have the method.
fn is_method(text: &str) -> bool {
    text.len() <= 32
        && text.starts_with(|first: char| first.is_ascii_uppercase())
        && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'-')
}
