//! Numbers with their noun, for messages.

/// A number with its noun: `1 warning`, `2 warnings`.
pub(super) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
