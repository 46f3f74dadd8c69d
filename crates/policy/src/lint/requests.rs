//! HTTP rules that match no request, and HTTP rules that match no more than others do.

use crate::rule::HttpRule;
use l7::reach::{self, Example, RequestPart};
use std::collections::HashMap;

/// The most pairs of rules whose expressions are compared by what they match; beyond, they are compared as text.
const MAX_COMPARED: usize = 64;

/// Examples of what expressions match: policies share few expressions, and analysing one takes time.
#[derive(Debug, Default)]
pub(super) struct ExpressionCache(HashMap<(RequestPart, String), Example>);

impl ExpressionCache {
    /// Why no request can match the rule, if none can.
    pub(super) fn why_unmatched(&mut self, rule: &HttpRule) -> Option<String> {
        if let Some(method) =
            rule.method.as_ref().filter(|method| self.is_nothing(method, RequestPart::Method))
        {
            return Some(format!(
                "no request matches the method `{method}`: methods are upper case and contain no spaces"
            ));
        }
        let path = rule.path.as_ref().filter(|path| self.is_nothing(path, RequestPart::Path))?;
        let why = match path.trim_start_matches('^').chars().next() {
            Some(first) if first.is_ascii_alphanumeric() => "paths begin with `/`",
            _ => {
                "paths are normalized before rules are evaluated: segments `.` and `..` are resolved, `//` becomes \
                 `/`, needless escapes are decoded, and spaces and `#` do not occur"
            }
        };
        Some(format!("no request matches the path `{path}`: {why}"))
    }

    fn is_nothing(&mut self, text: &str, part: RequestPart) -> bool {
        *self.example(text, part) == Example::Nothing
    }

    /// An example of what the expression matches.
    pub(super) fn example(&mut self, text: &str, part: RequestPart) -> &Example {
        let known = self.0.entry((part, text.to_owned()));
        known.or_insert_with(|| reach::example(text, part).unwrap_or(Example::Unknown))
    }
}

/// Whether the wide rules match every request that a narrow rule matches.
pub(super) fn are_within(narrow: &[HttpRule], wide: &[HttpRule]) -> bool {
    let is_within = match narrow.len() * wide.len() {
        0..=MAX_COMPARED => |narrow: &str, wide: &str, part| {
            narrow == wide || reach::is_within(narrow, wide, part).unwrap_or(false)
        },
        _ => |narrow: &str, wide: &str, _| narrow == wide,
    };
    let has = |wide: &HttpRule, one: &HttpRule| {
        let parts =
            [(RequestPart::Method, &wide.method, &one.method), (RequestPart::Path, &wide.path, &one.path)];
        let has_host = wide.host.is_none() || wide.host == one.host;
        has_host
            && wide.headers.iter().all(|header| one.headers.contains(header))
            && parts.into_iter().all(|(part, wide, one)| match (wide, one) {
                (None, _) => true,
                (Some(wide), None) => is_within(".*", wide, part),
                (Some(wide), Some(one)) => is_within(one, wide, part),
            })
    };
    narrow.iter().all(|one| wide.iter().any(|wide| has(wide, one)))
}
