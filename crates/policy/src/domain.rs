//! Domain names and the patterns that policies match them with.

mod samples;

use std::fmt;
use std::sync::Arc;

pub use samples::{TooManyOverlaps, samples};

/// Most characters of a name or pattern (RFC 1035, section 2.3.4).
pub const MAX_LENGTH: usize = 255;

/// Which domain names are meant; letters are lower case, and no dot ends it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DomainPattern {
    /// `matchName`: this name.
    Name(Arc<str>),
    /// `matchPattern`: `*` stands for any characters of one label, none too; `**.` at the beginning for one or more
    /// whole labels; `*` alone for every name. More asterisks side by side say nothing more, and are not kept.
    Pattern(Arc<str>),
}

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    /// Nothing is there.
    #[error("must not be empty")]
    Empty,
    /// More than [`MAX_LENGTH`].
    #[error("is longer than {MAX_LENGTH} characters")]
    TooLong,
    /// A character that no such name has.
    #[error("has the character {0:?}; letters, digits, `-`, `_` and `.` make up a name, and `*` a pattern")]
    Character(char),
    /// Two dots with nothing between.
    #[error("has an empty label")]
    EmptyLabel,
}

impl DomainPattern {
    /// Reads a `matchName`.
    pub fn name(text: &str) -> Result<Self, DomainError> {
        canonical(text, false).map(Self::Name)
    }

    /// Reads a `matchPattern`; one without `*` is a name.
    pub fn pattern(text: &str) -> Result<Self, DomainError> {
        let bare = canonical(text, true)?;
        Ok(if bare.contains('*') { Self::Pattern(fewest_asterisks(&bare)) } else { Self::Name(bare) })
    }

    /// Whether a name is meant, given as [`canonical_name`] makes it.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Name(wanted) => **wanted == *name,
            Self::Pattern(pattern) => match pattern.strip_prefix("**.") {
                _ if **pattern == *"*" => true,
                None => globs(pattern.as_bytes(), name.as_bytes()),
                // One label at least stands for the prefix, and what follows any dot may be the rest.
                Some(rest) => name
                    .char_indices()
                    .filter(|(at, one)| *one == '.' && *at > 0)
                    .any(|(at, _)| globs(rest.as_bytes(), &name.as_bytes()[at + 1..])),
            },
        }
    }
}

/// A name in the form in which names are compared: lower case, no dot at the end.
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

/// The pattern with no more asterisks side by side than its meaning needs: two before the first dot, where nothing but
/// asterisks is before it, and one anywhere else.
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

/// Whether `*` in the pattern, each standing for any characters but a dot, can make it the text.
fn globs(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    // Where the last star stands, and how far what it stands for reaches.
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
        // Elsewhere however many asterisks stand for characters of one label.
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
