//! How far the packet path aggregates the events of forwarded packets.

use abi::config::flag;
use std::fmt;
use std::str::FromStr;

/// The levels of Cilium's monitor aggregation. Denied packets are reported at every level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MonitorAggregation {
    /// Every packet, at each interface that judges it.
    None,
    /// Every packet, once: where it leaves the packet path.
    Low,
    /// The packet that opens a connection, at each interface that judges it; the first answer and the end once, where they
    /// leave the packet path.
    #[default]
    Medium,
    /// The packet that opens a connection, at each interface that judges it.
    Maximum,
}

impl MonitorAggregation {
    /// The bits of [`abi::config::Config::flags`].
    pub(crate) const fn flags(self) -> u32 {
        let connections = flag::REPORT_OPENED | flag::REPORT_ANSWERED | flag::REPORT_ENDED;
        match self {
            Self::None => connections | flag::REPORT_PACKETS | flag::REPORT_HOPS,
            Self::Low => connections | flag::REPORT_PACKETS,
            Self::Medium => connections,
            Self::Maximum => flag::REPORT_OPENED,
        }
    }
}

/// The text is not a level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownLevel(String);

impl MonitorAggregation {
    /// The name of the level.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::Maximum => "maximum",
        }
    }
}

impl FromStr for MonitorAggregation {
    type Err = UnknownLevel;

    /// Parses the names that Cilium accepts, in any case.
    fn from_str(text: &str) -> Result<Self, UnknownLevel> {
        match text.to_ascii_lowercase().as_str() {
            "none" | "disabled" => Ok(Self::None),
            "low" | "lowest" => Ok(Self::Low),
            "medium" => Ok(Self::Medium),
            "maximum" | "max" => Ok(Self::Maximum),
            _ => Err(UnknownLevel(text.to_owned())),
        }
    }
}

impl fmt::Display for UnknownLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no level of monitor aggregation: none, low, medium or maximum", self.0)
    }
}

impl std::error::Error for UnknownLevel {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_parsed_by_the_names_that_cilium_accepts() {
        use MonitorAggregation::{Low, Maximum, Medium, None};
        for level in [None, Low, Medium, Maximum] {
            assert_eq!(level.name().parse(), Ok(level));
        }
        for (text, level) in [("Disabled", None), ("LOWEST", Low), ("Max", Maximum)] {
            assert_eq!(text.parse(), Ok(level));
        }
        for text in ["", "0", "high"] {
            assert!(text.parse::<MonitorAggregation>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_level_reports_all_that_a_higher_level_reports() {
        use MonitorAggregation::{Low, Maximum, Medium, None};
        for [lower, higher] in [[None, Low], [Low, Medium], [Medium, Maximum]] {
            assert!(lower < higher);
            assert_eq!(lower.flags() & higher.flags(), higher.flags());
        }
    }
}
