//! Keys of rules that allow nothing but HTTP requests: a rule has a key that each such rule within it seeks.
//!
//! A rule within another one matches no request that the other one does not match. So the path of any request that it
//! matches begins as the paths of the other one do.

use super::cover::RuleView;
use super::requests::ExpressionCache;
use crate::rule::{Action, HttpRule, Tier, Traffic, TrafficMatch};
use l7::expression;
use l7::reach::{Example, RequestPart};

/// The keys of a rule that allows requests only.
#[derive(Debug)]
pub(super) struct RequestKeys {
    /// Its tier and priority.
    pub(super) place: (Tier, u32),
    /// For each of its HTTP rules the key that rules within it seek; none where they need not seek one.
    pub(super) own: Vec<Option<PathKey>>,
    /// The keys of rules that this one may be within; none where it may be within any.
    pub(super) sought: Option<Vec<PathKey>>,
}

/// A hash of the beginning of a path, or of a whole path. Equal hashes of different texts only cost time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct PathKey(u64);

impl RequestKeys {
    /// The keys of a rule; none if it is a rule of another kind.
    pub(super) fn of(entry: &RuleView<'_>, expressions: &mut ExpressionCache) -> Option<Self> {
        let Traffic::Of(matches) = &entry.rule.traffic else { return None };
        let lists: Vec<&[HttpRule]> = matches.iter().map(http).collect::<Option<_>>()?;
        if entry.rule.action != Action::Allow || lists.is_empty() {
            return None;
        }
        let paths = || lists.iter().flat_map(|rules| *rules).map(|rule| rule.path.as_deref().unwrap_or(".*"));
        let sought = paths().find_map(|path| match expressions.example(path, RequestPart::Path) {
            Example::Text(path) => Some(PathKey::beginnings(path)),
            Example::Nothing | Example::Unknown => None,
        });
        let place = (entry.spec.tier, entry.rule.priority);
        Some(Self { place, own: paths().map(PathKey::of_expression).collect(), sought })
    }
}

impl PathKey {
    const EMPTY: Self = Self(0xcbf2_9ce4_8422_2325);
    /// Follows the last character of a whole path.
    const END: u8 = 0;

    /// The key of all paths that an expression matches; none if they begin in different ways.
    fn of_expression(text: &str) -> Option<Self> {
        let prefix = expression::prefix(text).ok().filter(|prefix| !prefix.is_empty())?;
        let begun = prefix.iter().fold(Self::EMPTY, |key, byte| key.then(*byte));
        Some(if expression::is_literal(text) { begun.then(Self::END) } else { begun })
    }

    /// The keys of all beginnings of a path, and of the path.
    fn beginnings(path: &str) -> Vec<Self> {
        let bytes = path.bytes().chain([Self::END]);
        let next = |key: &mut Self, byte| {
            *key = key.then(byte);
            Some(*key)
        };
        bytes.scan(Self::EMPTY, next).collect()
    }

    /// The key of a text that is longer by one byte (FNV-1a).
    fn then(self, byte: u8) -> Self {
        Self((self.0 ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
    }
}

fn http(one: &TrafficMatch) -> Option<&[HttpRule]> {
    match one {
        TrafficMatch::Port { http, .. } => http.as_deref(),
        TrafficMatch::Icmp { .. } => None,
    }
}
