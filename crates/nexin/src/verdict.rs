//! A verdict and its reason, as people read them.

use crate::session::{Session, Tone};

/// `allow`, `deny` or `drop` in its colour.
pub(crate) fn painted(session: &Session, verdict: &str) -> String {
    session.paint(if verdict == "allow" { Tone::Good } else { Tone::Bad }, verdict)
}

/// The reason without the verdict that it begins with, where that stands beside it already.
pub(crate) fn reason<'a>(verdict: &str, reason: &'a str) -> &'a str {
    reason.strip_prefix(verdict).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_is_not_said_twice() {
        assert_eq!(reason("drop", "drop: no rule allows it"), "no rule allows it");
        assert_eq!(reason("drop", "dropped by nobody"), "dropped by nobody");
        assert_eq!(reason("allow", "because"), "because");
    }
}
