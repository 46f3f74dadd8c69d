//! Domain names and the patterns that policies match them with.

mod samples;

use std::fmt;
use std::sync::Arc;

pub use samples::{TooManyOverlaps, samples};

/// The longest name or pattern in characters (RFC 1035, section 2.3.4).
pub const MAX_LENGTH: usize = 255;

/// A pattern of domain names, in lower case and without a dot at the end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DomainPattern {
    /// `matchName`: this name.
    Name(Arc<str>),
    /// `matchPattern`: `*` matches any characters of one label, also none; `**.` at the beginning matches one or more
    /// whole labels; `*` alone matches every name. Further asterisks side by side match nothing more and are dropped.
    Pattern(Arc<str>),
}

/// Why a text is not a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    /// The text is empty.
    #[error("must not be empty")]
    Empty,
    /// The text is longer than [`MAX_LENGTH`].
    #[error("is longer than {MAX_LENGTH} characters")]
    TooLong,
    /// A character that no such name may contain.
    #[error("has the character {0:?}; letters, digits, `-`, `_` and `.` make up a name, and `*` a pattern")]
    Character(char),
    /// Two dots with no character between them.
    #[error("has an empty label")]
    EmptyLabel,
}

impl DomainPattern {
    /// Parses a `matchName`.
    pub fn name(text: &str) -> Result<Self, DomainError> {
        canonical(text, false).map(Self::Name)
    }

    /// Parses a `matchPattern`; without `*` it is a name.
    pub fn pattern(text: &str) -> Result<Self, DomainError> {
        let bare = canonical(text, true)?;
        Ok(if bare.contains('*') { Self::Pattern(fewest_asterisks(&bare)) } else { Self::Name(bare) })
    }

    /// Whether the pattern matches a name in the form of [`canonical_name`].
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Name(wanted) => **wanted == *name,
            Self::Pattern(pattern) => match pattern.strip_prefix("**.") {
                _ if **pattern == *"*" => true,
                None => globs(pattern.as_bytes(), name.as_bytes()),
                // `**.` matches one label or more, so the rest may begin after any dot but a leading one.
                Some(rest) => name
                    .char_indices()
                    .filter(|(at, one)| *one == '.' && *at > 0)
                    .any(|(at, _)| globs(rest.as_bytes(), &name.as_bytes()[at + 1..])),
            },
        }
    }
}

/// A name in the form that names are compared in: lower case, no dot at the end.
pub fn canonical_name(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

fn canonical(text: &str, stars: bool) -> Result<Arc<str>, DomainError> {
    let bare = canonical_name(text);
    let is_of_name =
        |one: char| one.is_ascii_alphanumeric() || matches!(one, '-' | '_' | '.') || (stars && one == '*');
    match bare.chars().find(|one| !is_of_name(*one)) {
        _ if bare.is_empty() => Err(DomainError::Empty),
        _ if text.len() > MAX_LENGTH => Err(DomainError::TooLong),
        Some(other) => Err(DomainError::Character(other)),
        None if bare.split('.').any(str::is_empty) => Err(DomainError::EmptyLabel),
        None => Ok(bare.into()),
    }
}

/// Drops asterisks without effect: keeps two before the first dot if nothing but asterisks precedes it, and one
/// anywhere else.
fn fewest_asterisks(pattern: &str) -> Arc<str> {
    let (kept, rest) = match pattern.trim_start_matches('*') {
        rest if rest.starts_with('.') && pattern.starts_with("**") => ("**", rest),
        _ => ("", pattern),
    };
    let mut fewest = kept.to_owned();
    for one in rest.chars() {
        if one != '*' || !fewest.ends_with('*') {
            fewest.push(one);
        }
    }
    fewest.into()
}

/// Whether the pattern matches the text; `*` matches any characters except a dot.
fn globs(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    // The position of the last asterisk, and the end of the text that it matches.
    let mut star: Option<(usize, usize)> = None;
    while from < text.len() {
        if pattern.get(at) == Some(&b'*') {
            star = Some((at, from));
            at += 1;
        } else if pattern.get(at) == Some(&text[from]) {
            (at, from) = (at + 1, from + 1);
        } else if let Some((stands, reaches)) = star.filter(|(_, reaches)| text[*reaches] != b'.') {
            star = Some((stands, reaches + 1));
            (at, from) = (stands + 1, reaches + 1);
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|rest| *rest == b'*')
}

impl fmt::Display for DomainPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Name(text) | Self::Pattern(text)) = self;
        f.write_str(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_as_documented() {
        let check = |pattern: &str, name: &str, expected: bool| {
            let pattern = DomainPattern::pattern(pattern).unwrap();
            assert_eq!(pattern.matches(name), expected, "{pattern} against {name}");
        };
        check("*", "a.b.example.com", true);
        check("Example.COM.", "example.com", true);
        check("*.example.com", "www.example.com", true);
        check("*.example.com", "a.b.example.com", false);
        check("*.example.com", "example.com", false);
        check("**.example.com", "www.example.com", true);
        check("**.example.com", "a.b.example.com", true);
        check("**.example.com", "example.com", false);
        check("**.*.com", "a.b.com", true);
        check("sub*.example.com", "sub.example.com", true);
        check("sub*.example.com", "sub-1.example.com", true);
        check("*1*.example.com", "a12.example.com", true);
        check("*1*.example.com", "ab.example.com", false);
        check("a*c*e.com", "abcdcde.com", true);
        check("a*.com", "a.b.com", false);
        check("example.com", "examplezcom", false);
        check("*.*", "www.example.com", false);
        check("*.*.*", "www.example.com", true);
        check("www.example.com*", "www.example.com", true);
    }

    #[test]
    fn asterisks_alone_are_every_name_and_more_before_a_dot_are_as_two() {
        let check = |pattern: &str, name: &str, expected: bool| {
            let read = DomainPattern::pattern(pattern).unwrap();
            assert_eq!(read.matches(name), expected, "{pattern} against {name}");
        };
        for all in ["*", "*.", "**", "**.", "***", "***.", "********"] {
            assert_eq!(DomainPattern::pattern(all), DomainPattern::pattern("*"), "{all}");
            for name in ["com", "example.com", "a.b.example.com"] {
                check(all, name, true);
            }
        }
        for subdomains in ["**.com", "***.com", "****.com", "***.COM."] {
            assert_eq!(DomainPattern::pattern(subdomains), DomainPattern::pattern("**.com"), "{subdomains}");
            check(subdomains, "example.com", true);
            check(subdomains, "a.b.example.com", true);
            check(subdomains, "com", false);
            check(subdomains, "example.org", false);
        }
        // In any other position several asterisks match characters of one label.
        for (one, more) in [("w*.com", "w**.com"), ("a.*.com", "a.***.com"), ("*a.com", "**a.com")] {
            assert_eq!(DomainPattern::pattern(one), DomainPattern::pattern(more), "{more}");
        }
        check("a.**.com", "a.b.com", true);
        check("a.**.com", "a.b.c.com", false);
        check("**.**.com", "a.com", false);
        check("**.**.com", "a.b.com", true);
        check("**.**.com", "a.b.c.com", true);
        check("com.**", "com.a", true);
        check("com.**", "com.a.b", false);
        check("**.**", "com", false);
        check("**.**", "a.b.com", true);
    }

    #[test]
    fn what_is_no_name_is_refused() {
        assert_eq!(DomainPattern::name(""), Err(DomainError::Empty));
        assert_eq!(DomainPattern::name("."), Err(DomainError::Empty));
        assert_eq!(DomainPattern::name("*.example.com"), Err(DomainError::Character('*')));
        assert_eq!(DomainPattern::pattern("a b.com"), Err(DomainError::Character(' ')));
        assert_eq!(DomainPattern::pattern("a..com"), Err(DomainError::EmptyLabel));
        assert_eq!(DomainPattern::name(&"a".repeat(256)), Err(DomainError::TooLong));
    }
}
