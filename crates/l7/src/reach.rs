//! Finds expressions that match no method or path of any request, and expressions that another one contains.

use crate::automaton;
use crate::expression::{self, ExpressionError};
use crate::head::is_token;
use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::{Anchored, Input};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

/// Limit on the states of a search; a search that exceeds it has no result.
const MAX_STATES: usize = 20_000;

/// A part of a request with a known grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestPart {
    /// Its method.
    Method,
    /// Its canonical path, with the query.
    Path,
}

/// An example of the parts of requests that an expression matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Example {
    /// One of the shortest.
    Text(String),
    /// There is none: no request has such a part.
    Nothing,
    /// The search was too large.
    Unknown,
}

/// An example of the parts that the expression matches.
///
/// # Errors
/// The expression is invalid.
pub fn example(text: &str, part: RequestPart) -> Result<Example, ExpressionError> {
    if expression::is_literal(text) {
        let is_possible = is_possible(text, part);
        return Ok(if is_possible { Example::Text(text.to_owned()) } else { Example::Nothing });
    }
    Ok(search(part, &mut Walk::along(text)?, None))
}

/// True where the wide expression matches every such part that the narrow one matches; false also where the search was too
/// large.
///
/// # Errors
/// One of the expressions is invalid.
pub fn is_within(narrow: &str, wide: &str, part: RequestPart) -> Result<bool, ExpressionError> {
    if [narrow, wide].into_iter().all(expression::is_literal) {
        return Ok(narrow == wide || !is_possible(narrow, part));
    }
    let beyond = search(part, &mut Walk::along(narrow)?, Some(&mut Walk::along(wide)?));
    Ok(beyond == Example::Nothing)
}

/// True where a request can have this text as the part.
fn is_possible(text: &str, part: RequestPart) -> bool {
    let shape = text.bytes().try_fold(Shape::begin(part), Shape::after);
    shape.is_some_and(Shape::is_whole)
}

/// A state of a search: of the grammar, of the expression, and of the other expression.
type SearchState = (Shape, LazyStateID, Option<LazyStateID>);

/// A shortest part that `one` matches and `but`, if given, does not.
fn search(part: RequestPart, one: &mut Walk, but: Option<&mut Walk>) -> Example {
    try_search(part, one, but).unwrap_or(Example::Unknown)
}

/// As [`search`]; none where it is too large.
fn try_search(part: RequestPart, one: &mut Walk, mut but: Option<&mut Walk>) -> Option<Example> {
    let other = match &mut but {
        Some(walk) => Some(walk.start()?),
        None => None,
    };
    let first: SearchState = (Shape::begin(part), one.start()?, other);
    // The states that were reached, with the state before and the byte between.
    let mut reached: HashMap<SearchState, Option<(SearchState, u8)>> = HashMap::from([(first, None)]);
    let mut waiting = VecDeque::from([first]);
    while let Some(current) = waiting.pop_front() {
        let (shape, state, other) = current;
        if shape.is_whole() && one.ends(state)? {
            let excepted = match (&mut but, other) {
                (Some(walk), Some(other)) => walk.ends(other)?,
                _ => false,
            };
            if !excepted {
                return Some(Example::Text(text_to(current, &reached)));
            }
        }
        for byte in b'!'..=b'~' {
            let Some(shape) = shape.after(byte) else { continue };
            let state = one.after(state, byte)?;
            if state.is_dead() {
                continue;
            }
            let other = match (&mut but, other) {
                (Some(walk), Some(other)) => Some(walk.after(other, byte)?),
                _ => None,
            };
            if let Entry::Vacant(place) = reached.entry((shape, state, other)) {
                place.insert(Some((current, byte)));
                waiting.push_back((shape, state, other));
            }
        }
        if reached.len() > MAX_STATES {
            return None;
        }
    }
    Some(Example::Nothing)
}

/// The text that leads to a state.
fn text_to(mut state: SearchState, reached: &HashMap<SearchState, Option<(SearchState, u8)>>) -> String {
    let mut bytes = Vec::new();
    while let Some(Some((before, byte))) = reached.get(&state) {
        bytes.push(*byte);
        state = *before;
    }
    bytes.iter().rev().map(|byte| char::from(*byte)).collect()
}

/// The automaton of an expression, stepped byte by byte. A step returns none where the automaton gives up.
struct Walk {
    /// None where the expression is too large.
    automaton: Option<(DFA, Cache)>,
}

impl Walk {
    fn along(text: &str) -> Result<Self, ExpressionError> {
        let automaton = automaton::compile(&[expression::hir(text)?]);
        Ok(Self { automaton: automaton.map(|automaton| (automaton.clone(), automaton.create_cache())) })
    }

    fn start(&mut self) -> Option<LazyStateID> {
        let (automaton, cache) = self.automaton.as_mut()?;
        automaton.start_state_forward(cache, &Input::new("").anchored(Anchored::Yes)).ok()
    }

    fn after(&mut self, state: LazyStateID, byte: u8) -> Option<LazyStateID> {
        let (automaton, cache) = self.automaton.as_mut()?;
        let next = automaton.next_state(cache, state, byte).ok()?;
        // A cleared cache numbers its states anew, so that the states seen before are invalid.
        (cache.clear_count() == 0).then_some(next)
    }

    fn ends(&mut self, state: LazyStateID) -> Option<bool> {
        let (automaton, cache) = self.automaton.as_mut()?;
        let end = automaton.next_eoi_state(cache, state).ok()?;
        (cache.clear_count() == 0).then_some(end.is_match())
    }
}

/// The state of a parser for methods and canonical paths; it has no limit on their length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Shape {
    /// At the start of a method.
    Method,
    /// Within a method.
    Letters,
    /// At the start of a path.
    Path,
    /// After a slash.
    Slash,
    /// After a slash and a dot.
    Dot,
    /// After a slash and two dots.
    Dots,
    /// Within a segment.
    Segment,
    /// After a percent sign.
    Escape,
    /// After the first digit of an escape.
    Digit(u8),
    /// In the query.
    Query,
    /// After the target `*`.
    Star,
}

impl Shape {
    fn begin(part: RequestPart) -> Self {
        match part {
            RequestPart::Method => Self::Method,
            RequestPart::Path => Self::Path,
        }
    }

    fn is_whole(self) -> bool {
        matches!(self, Self::Letters | Self::Slash | Self::Segment | Self::Query | Self::Star)
    }

    /// The state after a printable character; none where no method or path continues like that.
    fn after(self, byte: u8) -> Option<Self> {
        match self {
            Self::Method => byte.is_ascii_uppercase().then_some(Self::Letters),
            Self::Letters => (is_token(byte) && !byte.is_ascii_lowercase()).then_some(Self::Letters),
            Self::Path => match byte {
                b'/' => Some(Self::Slash),
                b'*' => Some(Self::Star),
                _ => None,
            },
            Self::Star => None,
            Self::Query => (byte != b'#').then_some(Self::Query),
            Self::Escape => char::from(byte).to_digit(16).map(|digit| Self::Digit(digit as u8)),
            Self::Digit(high) => {
                let byte = high << 4 | char::from(byte).to_digit(16)? as u8;
                let is_plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
                (!is_plain && !byte.is_ascii_control() && !b"/\\".contains(&byte)).then_some(Self::Segment)
            }
            Self::Slash | Self::Dot | Self::Dots | Self::Segment => self.within_path(byte),
        }
    }

    fn within_path(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (_, b'#' | b'\\') | (Self::Slash, b'/') | (Self::Dot | Self::Dots, b'/' | b'?' | b';') => None,
            (_, b'/') => Some(Self::Slash),
            (_, b'?') => Some(Self::Query),
            (_, b'%') => Some(Self::Escape),
            (Self::Slash, b'.') => Some(Self::Dot),
            (Self::Dot, b'.') => Some(Self::Dots),
            _ => Some(Self::Segment),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_expressions_match_no_path_of_any_request() {
        let check = |text: &str, expected: bool| {
            let found = example(text, RequestPart::Path).unwrap();
            assert_eq!(found == Example::Nothing, expected, "{text}");
            if let Example::Text(path) = found {
                assert!(is_possible(&path, RequestPart::Path), "{text}: {path}");
                let quoted = format!("\\Q{path}\\E");
                assert!(is_within(&quoted, text, RequestPart::Path).unwrap(), "{text}: {path}");
            }
        };
        for text in [
            "public",
            "/a/\\.\\./b",
            "/a b",
            "/a#x",
            "//",
            "/a//b",
            "",
            "/%41",
            "/a%2fb",
            "/\\.",
            "/a$b",
            "^x",
            "[b-y]+",
        ] {
            check(text, true);
        }
        for text in [
            "/",
            "/public",
            ".*",
            "/.*",
            "/a/.*/b",
            "/a/../b",
            ".*public",
            "/a%20b",
            "/caf%C3%a9",
            "\\*",
            "/\\.x",
        ] {
            check(text, false);
        }
    }

    #[test]
    fn some_expressions_match_no_method() {
        let check = |text: &str, expected: bool| {
            let found = example(text, RequestPart::Method).unwrap();
            assert_eq!(found == Example::Nothing, expected, "{text}");
        };
        ["GET ", "get", "", "GET,POST", "(GET|POST) +", "/"].iter().for_each(|text| check(text, true));
        ["GET", "GET|post", "(?i)get", ".*", "M-SEARCH", "GET ?"].iter().for_each(|text| check(text, false));
    }

    #[test]
    fn expressions_are_within_others() {
        let check = |narrow: &str, wide: &str, expected: bool| {
            assert_eq!(
                is_within(narrow, wide, RequestPart::Path).unwrap(),
                expected,
                "{narrow} within {wide}"
            );
        };
        check("/a", "/.*", true);
        check("/a", ".*", true);
        check(".*", "/.*|\\*", true);
        check(".*", "/.*", false);
        check("/a/[0-9]+", "/a/.+", true);
        check("/a/.+", "/a/[0-9]+", false);
        check("/a|/b", "/(a|b)", true);
        check("nothing", "/x", true);
        check("/a", "/a", true);
        check("/a", "/ab", false);
        assert!(is_within("GET", "GET|HEAD", RequestPart::Method).unwrap());
        assert!(!is_within("[A-Z]+", "GET|HEAD", RequestPart::Method).unwrap());
    }

    #[test]
    fn a_search_that_is_too_large_claims_nothing() {
        assert_eq!(example("[ab/]*a[ab/]{18}x y", RequestPart::Path), Ok(Example::Unknown));
    }

    #[test]
    fn every_canonical_path_has_the_shape_of_one() {
        let alphabet = ["/", ".", "..", "%2e", "a", "%61", "%3b", "?", "%25", ";", "b.", "//", "%C3"];
        let mut state = 1u64;
        for _ in 0..50_000 {
            let mut path = String::from("/");
            for _ in 0..8 {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                path.push_str(alphabet[(state >> 33) as usize % alphabet.len()]);
            }
            let mut bytes = path.clone().into_bytes();
            let Ok(length) = crate::path::canonicalise(&mut bytes) else { continue };
            let shape = bytes[..length].iter().try_fold(Shape::Path, |shape, byte| shape.after(*byte));
            assert!(
                shape.is_some_and(Shape::is_whole),
                "{path}: {:?}",
                std::str::from_utf8(&bytes[..length])
            );
        }
    }
}
