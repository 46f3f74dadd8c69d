//! Finds expressions that match no method or path of any request, and expressions that another one contains.

use crate::automaton;
use crate::expression::{self, ExpressionError};
use crate::head::is_token;
use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::{Anchored, Input};
use std::collections::{HashSet, VecDeque};

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

/// True where the expression matches no such part of any request; false also where the search was too large.
///
/// # Errors
/// The expression is invalid.
pub fn matches_nothing(text: &str, part: RequestPart) -> Result<bool, ExpressionError> {
    Ok(exists(part, text, None)? == Some(false))
}

/// True where the wide expression matches every such part that the narrow one matches; false also where the search was too
/// large.
///
/// # Errors
/// One of the expressions is invalid.
pub fn is_within(narrow: &str, wide: &str, part: RequestPart) -> Result<bool, ExpressionError> {
    Ok(exists(part, narrow, Some(wide))? == Some(false))
}

/// True where a part exists that `one` matches and `but`, if given, does not; none where the search was too large.
fn exists(part: RequestPart, one: &str, but: Option<&str>) -> Result<Option<bool>, ExpressionError> {
    let mut one = Walk::along(one)?;
    let mut but = but.map(Walk::along).transpose()?;
    Ok(search(part, &mut one, but.as_mut()))
}

fn search(part: RequestPart, one: &mut Walk, mut but: Option<&mut Walk>) -> Option<bool> {
    let other = match &mut but {
        Some(walk) => Some(walk.start()?),
        None => None,
    };
    let first = (Shape::begin(part), one.start()?, other);
    let (mut seen, mut waiting) = (HashSet::from([first]), VecDeque::from([first]));
    while let Some((shape, state, other)) = waiting.pop_front() {
        if shape.is_whole() && one.ends(state)? {
            let excepted = match (&mut but, other) {
                (Some(walk), Some(other)) => walk.ends(other)?,
                _ => false,
            };
            if !excepted {
                return Some(true);
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
            if seen.insert((shape, state, other)) {
                waiting.push_back((shape, state, other));
            }
        }
        if seen.len() > MAX_STATES {
            return None;
        }
    }
    Some(false)
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
            assert_eq!(matches_nothing(text, RequestPart::Path).unwrap(), expected, "{text}");
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
            assert_eq!(matches_nothing(text, RequestPart::Method).unwrap(), expected, "{text}");
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
        assert!(is_within("GET", "GET|HEAD", RequestPart::Method).unwrap());
        assert!(!is_within("[A-Z]+", "GET|HEAD", RequestPart::Method).unwrap());
    }

    #[test]
    fn a_search_that_is_too_large_claims_nothing() {
        assert!(!matches_nothing("[ab/]*a[ab/]{18}x y", RequestPart::Path).unwrap());
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
