//! How far the packet path aggregates the events of forwarded packets.

use abi::config::flag;

/// The levels of Cilium's monitor aggregation. Denied packets are reported at every level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MonitorAggregation {
    /// Every packet, at each interface that judges it.
    None,
    /// Every packet, once: where it leaves the packet path.
    Low,
    /// The packets that open, first answer and end a connection.
    #[default]
    Medium,
    /// The packet that opens a connection.
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
