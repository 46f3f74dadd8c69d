//! Durations as people type them, in the notation of Go and Kubernetes: `5m`, `1m30s`, `500ms`.

use std::time::Duration;

/// The units, in milliseconds.
const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

/// Parses a duration: numbers with units, one after another.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration; write it as 30s, 5m or 1m30s");
    let mut milliseconds: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() || text.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|character: char| character.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let factor = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?.1;
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let part = number.checked_mul(factor).ok_or_else(wrong)?;
        milliseconds = milliseconds.checked_add(part).ok_or_else(wrong)?;
        rest = after;
    }
    Ok(Duration::from_millis(milliseconds))
}

/// A duration in the same notation, in whole seconds from one second on: `1m30s`.
pub(crate) fn print(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds == 0 && !duration.is_zero() {
        return format!("{}ms", duration.as_millis());
    }
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (hours, minutes, seconds) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, milliseconds) in [
            ("5m", 300_000),
            ("1m30s", 90_000),
            ("500ms", 500),
            ("2h", 7_200_000),
            ("0s", 0),
            ("1s500ms", 1_500),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in
            ["", "5", "m", "5x", "-5s", "1.5s", "5 m", "99999999999999999999s", "18446744073709551615h"]
        {
            assert!(parse(text).unwrap_err().contains("is not a duration"), "{text}");
        }
    }

    #[test]
    fn durations_are_printed_as_they_are_typed() {
        for (seconds, text) in [(0, "0s"), (59, "59s"), (90, "1m30s"), (300, "5m0s"), (3_661, "1h1m1s")] {
            assert_eq!(print(Duration::from_secs(seconds)), text);
        }
        assert_eq!(print(Duration::from_millis(600)), "600ms");
    }
}
