//! Prints a verdict and its reason.

use crate::session::{Session, Tone};

/// `allow`, `deny` or `drop` in its colour.
pub(crate) fn painted(session: &Session, verdict: &str) -> String {
    session.paint(if verdict == "allow" { Tone::Good } else { Tone::Bad }, verdict)
}

/// The reason without its leading verdict, for output that prints the verdict before it.
pub(crate) fn reason<'a>(verdict: &str, reason: &'a str) -> &'a str {
    reason.strip_prefix(verdict).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_is_not_printed_twice() {
        assert_eq!(reason("drop", "drop: no rule allows it"), "no rule allows it");
        assert_eq!(reason("drop", "dropped by no rule"), "dropped by no rule");
        assert_eq!(reason("allow", "because"), "because");
    }
}
