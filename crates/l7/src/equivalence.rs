//! Decides whether two sets of rules allow the same requests, by a walk over the product of their automata.

use crate::automaton::{automaton, pattern};
use crate::expression::SEPARATOR;
use crate::head::is_token;
use crate::rule::{HeaderRule, HttpRule};
use regex_automata::hybrid::{LazyStateID, dfa};
use regex_automata::{Anchored, Input};
use regex_syntax::hir::Hir;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Rule sets that apply together: a request is allowed where it matches a rule of each set.
pub type Limits = [BTreeSet<HttpRule>];

/// True where both allow the same requests. Sets that are too large to compare count as different.
///
/// Method, path and host range over all printable characters. Every combination of header fields that the rules
/// distinguish is tried, and where a rule has a host, also requests without a host.
pub fn is_same(one: &Limits, other: &Limits) -> bool {
    one == other || compare(one, other).unwrap_or(false)
}

fn compare(one: &Limits, other: &Limits) -> Option<bool> {
    let headers: BTreeSet<HeaderRule> =
        one.iter().chain(other).flatten().flat_map(|rule| rule.headers.iter().map(lowered)).collect();
    if headers.len() > MAX_HEADERS {
        return None;
    }
    let headers: Vec<HeaderRule> = headers.into_iter().collect();
    let asks_host = one.iter().chain(other).flatten().any(|rule| rule.host.is_some());
    let hosts = if asks_host { &[true, false][..] } else { &[true] };
    for combination in 0..1u32 << headers.len() {
        let held: BTreeSet<&HeaderRule> = headers
            .iter()
            .enumerate()
            .filter(|(at, _)| combination >> at & 1 == 1)
            .map(|(_, header)| header)
            .collect();
        if !can_hold(&held, &headers) {
            continue;
        }
        for has_host in hosts {
            if !Walk::new(one, other, &held, *has_host)?.agrees()? {
                return Some(false);
            }
        }
    }
    Some(true)
}

/// The header rule with its name in lower case: names are case-insensitive.
fn lowered(header: &HeaderRule) -> HeaderRule {
    HeaderRule { name: header.name.to_ascii_lowercase(), value: header.value.clone() }
}

/// True where some request matches exactly these header rules: a field has at most one value, and a field with a value is
/// present.
fn can_hold(held: &BTreeSet<&HeaderRule>, all: &[HeaderRule]) -> bool {
    let mut values = BTreeMap::<&str, usize>::new();
    held.iter().filter(|one| one.value.is_some()).for_each(|one| *values.entry(&one.name).or_default() += 1);
    let is_there = |one: &HeaderRule| {
        one.value.is_some() || !values.contains_key(one.name.as_str()) || held.contains(one)
    };
    values.values().all(|values| *values == 1) && all.iter().all(is_there)
}

/// A walk over the automata of both sides, byte by byte.
struct Walk {
    automata: Vec<(dfa::DFA, dfa::Cache)>,
    /// The number of automata of the first side.
    first: usize,
    /// True where the requests of this walk have a host.
    has_host: bool,
}

/// A state of the walk: the states of all automata, the current field, and whether a byte of it was read.
type State = (Vec<LazyStateID>, u8, bool);

impl Walk {
    fn new(one: &Limits, other: &Limits, held: &BTreeSet<&HeaderRule>, has_host: bool) -> Option<Self> {
        let automata = one.iter().chain(other).map(|rules| {
            let asks = |rule: &&HttpRule| {
                (has_host || rule.host.is_none())
                    && rule.headers.iter().all(|header| held.contains(&lowered(header)))
            };
            let patterns = rules.iter().filter(asks).map(|rule| Some(pattern(rule).ok()?.0));
            let mut patterns: Vec<Hir> = patterns.collect::<Option<_>>()?;
            if patterns.is_empty() {
                patterns.push(Hir::fail());
            }
            // A state is identified by its number, which is valid until the cache is cleared: the cache never is.
            let config = dfa::Config::new().cache_capacity(CACHE).minimum_cache_clear_count(Some(0));
            let automaton = automaton(&patterns, config)?;
            let cache = automaton.create_cache();
            Some((automaton, cache))
        });
        Some(Self { automata: automata.collect::<Option<_>>()?, first: one.len(), has_host })
    }

    fn agrees(&mut self) -> Option<bool> {
        let anchored = Input::new("").anchored(Anchored::Yes);
        let start = self
            .automata
            .iter_mut()
            .map(|(automaton, cache)| automaton.start_state_forward(cache, &anchored).ok());
        let start: State = (start.collect::<Option<_>>()?, 0, false);
        let (mut seen, mut open) = (HashSet::from([start.clone()]), vec![start]);
        while let Some((states, field, begun)) = open.pop() {
            if field == FIELDS - 1 {
                if begun == self.has_host && self.accepts(&states)? {
                    return Some(false);
                }
                if !self.has_host {
                    continue;
                }
            }
            if seen.len() > MAX_STATES {
                return None;
            }
            for byte in bytes(field, begun) {
                let (field, begun) = if byte == SEPARATOR { (field + 1, false) } else { (field, true) };
                let state = (self.step(&states, byte)?, field, begun);
                if state.0.iter().any(|state| !state.is_dead()) && seen.insert(state.clone()) {
                    open.push(state);
                }
            }
        }
        Some(true)
    }

    fn step(&mut self, states: &[LazyStateID], byte: u8) -> Option<Vec<LazyStateID>> {
        let steps = self.automata.iter_mut().zip(states);
        steps.map(|((automaton, cache), state)| automaton.next_state(cache, *state, byte).ok()).collect()
    }

    /// True where one side allows the request that ends here, and the other does not.
    fn accepts(&mut self, states: &[LazyStateID]) -> Option<bool> {
        let ends = self.automata.iter_mut().zip(states);
        let ends = ends.map(|((automaton, cache), state)| {
            Some(automaton.next_eoi_state(cache, *state).ok()?.is_match())
        });
        let ends: Vec<bool> = ends.collect::<Option<_>>()?;
        let (one, other) = ends.split_at(self.first);
        Some(one.iter().all(|end| *end) != other.iter().all(|end| *end))
    }
}

/// The bytes that can follow in a field: a method has at least one token character, path and host any printable ones.
fn bytes(field: u8, begun: bool) -> impl Iterator<Item = u8> {
    let ends = field + 1 < FIELDS && begun;
    let fits = move |byte: &u8| field > 0 || is_token(*byte);
    (b'!'..=b'~').filter(fits).chain(ends.then_some(SEPARATOR))
}

/// Method, path and host.
const FIELDS: u8 = 3;
/// Limit on different header rules; each doubles the work.
const MAX_HEADERS: usize = 6;
/// Limit in bytes on the cache of an automaton.
const CACHE: usize = 16 << 20;
/// Limit on the states of a walk.
const MAX_STATES: usize = 20_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(method: Option<&str>, path: Option<&str>) -> HttpRule {
        HttpRule { method: method.map(Into::into), path: path.map(Into::into), ..HttpRule::default() }
    }

    fn with(header: &str, value: Option<&str>, rule: HttpRule) -> HttpRule {
        let header = HeaderRule { name: header.into(), value: value.map(Into::into) };
        HttpRule { headers: [rule.headers, vec![header]].concat(), ..rule }
    }

    #[track_caller]
    fn check(one: &[HttpRule], other: &[HttpRule], expected: bool) {
        let sets = [one, other].map(|rules| [BTreeSet::from_iter(rules.iter().cloned())]);
        assert_eq!(is_same(&sets[0], &sets[1]), expected, "{one:?} {other:?}");
        assert_eq!(is_same(&sets[1], &sets[0]), expected, "{other:?} {one:?}");
    }

    #[test]
    fn texts_that_accept_the_same_are_the_same() {
        let of = |method, path| rule(Some(method), Some(path));
        check(&[rule(Some("GET|POST"), None)], &[rule(Some("POST"), None), rule(Some("GET"), None)], true);
        check(&[rule(Some("GET"), None)], &[rule(Some("GET"), None), of("GET", "/a")], true);
        check(&[of("GET", "/public")], &[of("GET", "/publi[c]")], true);
        check(&[of("GET", "/a.*")], &[of("GET", "/a"), of("GET", "/a.+")], true);
        check(&[rule(None, None)], &[rule(Some(".+"), Some(".+"))], true);
        check(&[of("GET", "^/a$")], &[of("GET", "/a")], true);
        check(&[of("GET", "/a")], &[of("GET", "/a?")], false);
        check(&[of("GET", "/[0-9]{1,3}")], &[of("GET", "/[0-9]{1,4}")], false);
        check(&[of("GET", "/a")], &[of("HEAD", "/a")], false);
        check(&[of("GET", "/a")], &[], false);
        check(&[], &[], true);
    }

    #[test]
    fn any_host_is_not_the_same_as_no_host() {
        let of = |host: &str| HttpRule { host: Some(host.into()), ..rule(Some("GET"), None) };
        check(&[of(".*")], &[rule(Some("GET"), None)], false);
        check(&[of(".*")], &[of(".+")], true);
        check(&[of("a?")], &[of("a")], true);
        check(&[of("a")], &[of("b")], false);
        check(&[of("a"), rule(Some("GET"), None)], &[rule(Some("GET"), None)], true);
    }

    #[test]
    fn the_walk_agrees_with_matching_every_short_path() {
        let expressions = [
            "a", "a*", "a+", "aa*", "(a|b)*", "[ab]*", "(a*b*)*", "a|b", "[a-b]", "", "a?", "ab|a", "a(b|)",
            ".*", "^a$", "a\\b.*",
        ];
        let paths: Vec<String> = (0..4u32.pow(4))
            .map(|number| {
                (0..4)
                    .filter_map(|at| ["", "a", "b", "/"].get((number >> (2 * at) & 3) as usize))
                    .copied()
                    .collect()
            })
            .collect();
        let accepted = |expression: &str| -> BTreeSet<&String> {
            let matcher = crate::Matcher::new(&[rule(None, Some(expression))]).unwrap();
            let ask = |path: &&String| {
                let request = crate::RequestView { method: "GET", path, host: "h", headers: &[] };
                matcher.matches(&request).is_some()
            };
            // A path is never empty.
            paths.iter().filter(|path| !path.is_empty()).filter(ask).collect()
        };
        for one in expressions {
            for other in expressions {
                let expected = accepted(one) == accepted(other);
                check(&[rule(None, Some(one))], &[rule(None, Some(other))], expected);
            }
        }
    }

    #[test]
    fn header_rules_are_compared_by_the_fields_that_they_match() {
        let get = || rule(Some("GET"), None);
        check(&[with("X-T", Some("1"), get())], &[with("x-t", Some("1"), get())], true);
        check(&[with("X-T", Some("1"), get())], &[with("X-T", Some("2"), get())], false);
        check(&[with("X-T", Some("1"), get())], &[get()], false);
        check(&[get()], &[get(), with("X-T", Some("1"), get())], true);
        let both = with("A", None, with("B", None, get()));
        let swapped = with("B", None, with("A", None, get()));
        check(std::slice::from_ref(&both), &[swapped], true);
        check(&[with("A", None, get())], &[with("A", None, get()), both], true);
        let value = || with("A", Some("1"), get());
        check(&[with("A", None, get())], &[with("A", None, get()), value()], true);
        check(&[with("A", None, value())], &[value()], true);
    }

    #[test]
    fn a_request_must_match_every_set() {
        let set = |rules: &[HttpRule]| BTreeSet::from_iter(rules.iter().cloned());
        let (get, any) = (set(&[rule(Some("GET"), None)]), set(&[rule(None, None)]));
        let (both, only) = ([get.clone(), any.clone()], [get]);
        assert!(is_same(&both, &only));
        assert!(!is_same(&both, &[any]));
    }
}
