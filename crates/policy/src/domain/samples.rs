//! Sample names: one for each combination of patterns that some name matches.

use super::{DomainPattern, MAX_LENGTH};
use std::collections::{BTreeSet, HashSet};
use std::rc::Rc;

/// The patterns have more combinations than the search visits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the domain patterns overlap in too many ways: more than {MOST_STATES} states of matching")]
pub struct TooManyOverlaps;

/// For each set of patterns that one name matches and no other pattern matches: a shortest such name. The empty set is
/// omitted.
///
/// The search visits the states of all patterns at once (a subset construction), so it misses no combination.
pub fn samples(patterns: &[&DomainPattern]) -> Result<Vec<String>, TooManyOverlaps> {
    let automata: Vec<Vec<Token>> = patterns.iter().map(|pattern| tokens(pattern)).collect();
    let start = Rc::new(State {
        ends_label: false,
        places: closed(&automata, (0..automata.len()).map(|at| (at, 0))),
    });
    let mut known = HashSet::from([start.clone()]);
    // In the order of their lengths; each with its predecessor and the character between.
    let mut walked = vec![ReachedState { state: start, before: None, length: 0 }];
    let mut at = 0;
    let mut found = HashSet::new();
    let mut names = Vec::new();
    while at < walked.len() {
        let ReachedState { state, length, .. } = walked[at].clone();
        let matched = state.matched(&automata);
        if state.ends_label && !matched.is_empty() && found.insert(matched) {
            names.push(spelled(&walked, at));
        }
        for letter in state.letters(&automata).into_iter().filter(|_| length < MAX_LENGTH) {
            let Some(next) = state.after(letter, &automata) else { continue };
            let next = Rc::new(next);
            if known.insert(next.clone()) {
                walked.push(ReachedState { state: next, before: Some((at, letter)), length: length + 1 });
            }
            if walked.len() > MOST_STATES {
                return Err(TooManyOverlaps);
            }
        }
        at += 1;
    }
    Ok(names)
}

/// What one position of a pattern matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    /// This character.
    Literal(char),
    /// Any characters of one label, also none.
    InLabel,
    /// One or more whole labels with the dots behind them.
    Labels,
    /// Every name.
    Everything,
}

/// A state of the search: the positions in each pattern after the characters so far.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    /// Whether the current label has a character, so that a dot or the end may follow.
    ends_label: bool,
    /// Pattern and position, in order; the position after the last token is included.
    places: Vec<(usize, usize)>,
}

impl State {
    fn matched(&self, automata: &[Vec<Token>]) -> Vec<usize> {
        let ends = self.places.iter().filter(|(pattern, place)| *place == automata[*pattern].len());
        ends.map(|(pattern, _)| *pattern).collect()
    }

    /// The characters that lead to different states: first one that stands for all characters that no pattern names
    /// here, then the named ones, then a dot.
    fn letters(&self, automata: &[Vec<Token>]) -> Vec<char> {
        let literal = |&(pattern, place): &(usize, usize)| match automata[pattern].get(place) {
            Some(Token::Literal(letter)) => Some(*letter),
            _ => None,
        };
        let named: BTreeSet<char> =
            self.places.iter().filter_map(literal).filter(|letter| *letter != '.').collect();
        let other = OTHERS.chars().find(|letter| !named.contains(letter));
        other.into_iter().chain(named).chain(['.']).collect()
    }

    /// The state after one more character. None if no name has it there, or if no pattern matches any more.
    fn after(&self, letter: char, automata: &[Vec<Token>]) -> Option<Self> {
        let is_dot = letter == '.';
        if is_dot && !self.ends_label {
            return None;
        }
        let mut places = Vec::new();
        for &(pattern, place) in &self.places {
            let mut go = |next| places.push((pattern, next));
            match automata[pattern].get(place) {
                Some(Token::Literal(wanted)) if *wanted == letter => go(place + 1),
                Some(Token::InLabel) if !is_dot => go(place),
                Some(Token::Labels) => {
                    go(place);
                    if is_dot {
                        go(place + 1);
                    }
                }
                Some(Token::Everything) => go(place),
                _ => {}
            }
        }
        let places = closed(automata, places.into_iter());
        (!places.is_empty()).then_some(Self { ends_label: !is_dot, places })
    }
}

/// The positions, with all positions that are reached without a character, in order.
fn closed(automata: &[Vec<Token>], places: impl Iterator<Item = (usize, usize)>) -> Vec<(usize, usize)> {
    let mut closed = Vec::new();
    for (pattern, mut place) in places {
        closed.push((pattern, place));
        while matches!(automata[pattern].get(place), Some(Token::InLabel | Token::Everything)) {
            place += 1;
            closed.push((pattern, place));
        }
    }
    closed.sort_unstable();
    closed.dedup();
    closed
}

fn tokens(pattern: &DomainPattern) -> Vec<Token> {
    let text = match pattern {
        DomainPattern::Name(name) => return name.chars().map(Token::Literal).collect(),
        DomainPattern::Pattern(text) => text,
    };
    let behind = text.trim_start_matches('*');
    let asterisks = text.len() - behind.len();
    let (mut tokens, rest) = match behind.strip_prefix('.') {
        _ if behind.is_empty() => (vec![Token::Everything], ""),
        Some(rest) if asterisks > 1 => (vec![Token::Labels], rest),
        _ => (Vec::new(), &**text),
    };
    let token = |letter| if letter == '*' { Token::InLabel } else { Token::Literal(letter) };
    tokens.extend(rest.chars().map(token));
    tokens
}

/// A reached state.
#[derive(Clone, Debug)]
struct ReachedState {
    state: Rc<State>,
    /// The preceding step, and the character between.
    before: Option<(usize, char)>,
    /// The number of characters before it.
    length: usize,
}

/// The name that leads to a step.
fn spelled(walked: &[ReachedState], end: usize) -> String {
    let mut letters = Vec::new();
    let mut at = end;
    while let Some((before, letter)) = walked[at].before {
        letters.push(letter);
        at = before;
    }
    letters.into_iter().rev().collect()
}

/// The characters of names, in the order of preference for one that no pattern names.
const OTHERS: &str = "xyzwvutsrqponmlkjihgfedcba0123456789-_";
/// The most states that are visited; the patterns of a thousand ordinary rules have about ten thousand.
const MOST_STATES: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(patterns: &[&str], expected: &[&str]) {
        let patterns: Vec<DomainPattern> =
            patterns.iter().map(|text| DomainPattern::pattern(text).unwrap()).collect();
        let mut names = samples(&patterns.iter().collect::<Vec<_>>()).unwrap();
        names.sort();
        assert_eq!(names, expected, "{patterns:?}");
    }

    #[test]
    fn there_is_a_name_for_each_combination() {
        check(&["example.org"], &["example.org"]);
        check(&["*.ab.cd", "**.ab.cd"], &["x.ab.cd", "x.x.ab.cd"]);
        check(&["*", "a.b"], &["a.b", "x"]);
        check(&["a*.d", "*b.d"], &["a.d", "ab.d", "b.d"]);
        check(&["*.d", "w.d", "w*.d"], &["w.d", "wx.d", "x.d"]);
        check(&["*.d", "*.*.d"], &["x.d", "x.x.d"]);
    }

    #[test]
    fn what_the_walk_matches_is_what_patterns_match() {
        let texts =
            ["*", "*.ab.c", "**.ab.c", "a*.ab.c", "x.ab.c", "**.*.c", "*b", "a*b*c", "**.b.c", "a.*.c"];
        let patterns = texts.map(|text| DomainPattern::pattern(text).unwrap());
        let patterns: Vec<&DomainPattern> = patterns.iter().collect();
        let names = samples(&patterns).unwrap();
        let matched = |name: &String| patterns.iter().map(|one| one.matches(name)).collect::<Vec<bool>>();
        let combinations: BTreeSet<Vec<bool>> = names.iter().map(matched).collect();
        assert_eq!(combinations.len(), names.len(), "{names:?}");
        // Each combination that a short name over the same letters shows has a sample.
        let letters = ['a', 'b', 'c', 'x', '.'];
        let mut texts = vec![String::new()];
        for _ in 0..7 {
            let longer = texts.iter().flat_map(|text| letters.map(|letter| format!("{text}{letter}")));
            texts = longer.collect();
            for name in texts.iter().filter(|name| !name.split('.').any(str::is_empty)) {
                let shown = matched(name);
                assert!(!shown.contains(&true) || combinations.contains(&shown), "{name}");
            }
        }
    }

    #[test]
    fn hundreds_of_ordinary_patterns_are_few_states() {
        let texts: Vec<String> = (0..300)
            .map(|at| format!("{}service{at}.example{}.org", ["", "*.", "**."][at % 3], at % 7))
            .collect();
        let patterns: Vec<DomainPattern> =
            texts.iter().map(|text| DomainPattern::pattern(text).unwrap()).collect();
        assert!(samples(&patterns.iter().collect::<Vec<_>>()).unwrap().len() >= 300);
    }
}
