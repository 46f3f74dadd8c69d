//! Points in time, as text and in JSON, in UTC.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const NANOS: u64 = 1_000_000_000;
const DAY: u64 = 86_400;

/// Nanoseconds since 1970 in UTC; as text `2026-11-22T16:40:01.123456789Z` (RFC 3339).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Time(pub u64);

/// The text is not a time of the form `2026-11-22T16:40:01.123Z`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeError(String);

struct Civil {
    year: u64,
    month: u64,
    day: u64,
}

impl Time {
    /// The short form for text output: `Nov 22 16:40:01.123`.
    pub fn short(self) -> impl fmt::Display {
        let (civil, clock) = (civil(self.0 / NANOS / DAY), Clock(self.0 / NANOS % DAY));
        let month = MONTHS[civil.month as usize - 1];
        format!("{month} {:2} {clock}.{:03}", civil.day, self.0 % NANOS / 1_000_000)
    }
}

/// Seconds of a day.
struct Clock(u64);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}:{:02}", self.0 / 3600, self.0 / 60 % 60, self.0 % 60)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Civil { year, month, day } = civil(self.0 / NANOS / DAY);
        let clock = Clock(self.0 / NANOS % DAY);
        write!(f, "{year:04}-{month:02}-{day:02}T{clock}.{:09}Z", self.0 % NANOS)
    }
}

impl FromStr for Time {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        parse(text).ok_or_else(|| TimeError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Time> {
    let (date, clock) = text.strip_suffix('Z')?.split_once('T')?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = numbers(clock, ':')?;
    let sane = (1970..2500).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !sane || hour > 23 || minute > 59 || second > 60 || fraction.len() > 9 {
        return None;
    }
    let nanos = number(fraction)? * 10u64.pow(9 - fraction.len() as u32);
    let seconds = days(&Civil { year, month, day }) * DAY + hour * 3600 + minute * 60 + second;
    Some(Time(seconds * NANOS + nanos))
}

fn numbers(text: &str, separator: char) -> Option<[u64; 3]> {
    let parts: Vec<u64> = text.split(separator).map(number).collect::<Option<_>>()?;
    parts.try_into().ok()
}

fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// The date of a day since 1970. Years begin in March here, so that the leap day is the last of its year.
fn civil(days_since_1970: u64) -> Civil {
    let days = days_since_1970 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    Civil { year, month, day: of_year - (153 * from_march + 2) / 5 + 1 }
}

/// The inverse of [`civil`].
fn days(date: &Civil) -> u64 {
    let year = date.year - u64::from(date.month <= 2);
    let (era, of_era) = (year / 400, year % 400);
    let from_march = (date.month + 9) % 12;
    let of_year = (153 * from_march + 2) / 5 + date.day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

impl From<Time> for String {
    fn from(time: Time) -> Self {
        time.to_string()
    }
}

impl TryFrom<String> for Time {
    type Error = TimeError;

    fn try_from(text: String) -> Result<Self, TimeError> {
        text.parse()
    }
}

impl fmt::Display for TimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a time; write 2026-11-22T16:40:01.123Z", self.0)
    }
}

impl std::error::Error for TimeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_printed_and_parsed_back() {
        for (nanos, text, short) in [
            (0, "1970-01-01T00:00:00.000000000Z", "Jan  1 00:00:00.000"),
            (951_782_400 * NANOS, "2000-02-29T00:00:00.000000000Z", "Feb 29 00:00:00.000"),
            (1_795_365_601_123_456_789, "2026-11-22T16:40:01.123456789Z", "Nov 22 16:40:01.123"),
            (4_107_542_399 * NANOS + 1, "2100-02-28T23:59:59.000000001Z", "Feb 28 23:59:59.000"),
        ] {
            assert_eq!(Time(nanos).to_string(), text);
            assert_eq!(Time(nanos).short().to_string(), short);
            assert_eq!(text.parse(), Ok(Time(nanos)));
        }
    }

    #[test]
    fn every_day_of_five_centuries_converts_back() {
        for day in 0..190_000 {
            assert_eq!(days(&civil(day)), day);
        }
    }

    #[test]
    fn text_that_is_not_a_time_is_refused() {
        for text in [
            "",
            "2026-11-22",
            "2026-13-01T00:00:00Z",
            "2026-11-22T24:00:00Z",
            "2026-11-22T00:00:00",
            "a-b-cT:::Z",
        ] {
            assert!(text.parse::<Time>().is_err(), "{text}");
        }
        assert_eq!("2026-11-22T16:40:01.5Z".parse(), Ok(Time(1_795_365_601_500_000_000)));
    }
}
