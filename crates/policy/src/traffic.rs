//! Blocks of traffic: protocol and port as a prefix of 24 bits.

use abi::policy::VerdictKey;

/// All traffic whose protocol and port begin with these bits. Two blocks nest or are disjoint; in their order each
/// block comes right before the blocks within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrafficBlock {
    /// Protocol (8 bits) and port (16 bits); zero after the prefix length.
    bits: u32,
    length: u8,
}

impl TrafficBlock {
    /// All traffic of all protocols.
    pub const EVERYTHING: Self = Self { bits: 0, length: 0 };

    /// All traffic of one protocol.
    pub fn protocol(protocol: u8) -> Self {
        Self { bits: u32::from(protocol) << 16, length: 8 }
    }

    /// One port of a protocol.
    pub fn port(protocol: u8, port: u16) -> Self {
        Self { bits: u32::from(protocol) << 16 | u32::from(port), length: 24 }
    }

    /// One ICMP type of a family, with every code: the type is the first byte of the port.
    pub fn icmp(protocol: u8, kind: u8) -> Self {
        Self { bits: u32::from(protocol) << 16 | u32::from(kind) << 8, length: 16 }
    }

    /// The fewest blocks that cover the ports from first to last, both included.
    pub fn ports(protocol: u8, first: u16, last: u16) -> Vec<Self> {
        let (mut next, end) = (u32::from(first), u32::from(last) + 1);
        let mut blocks = Vec::new();
        while next < end {
            let aligned = next.trailing_zeros().min(16);
            let fitting = (end - next).ilog2();
            let free = aligned.min(fitting);
            blocks.push(Self { bits: u32::from(protocol) << 16 | next, length: 24 - free as u8 });
            next += 1 << free;
        }
        blocks
    }

    /// The prefix length.
    pub(crate) fn length(&self) -> u8 {
        self.length
    }

    /// The block of this length around it; the length must not exceed its own.
    pub(crate) fn broadened(&self, length: u8) -> Self {
        Self { bits: self.bits & !(0x00ff_ffff >> length), length }
    }

    /// Whether this block contains all traffic of the other.
    pub fn encloses(&self, other: &Self) -> bool {
        self.length <= other.length && (self.bits ^ other.bits) >> (24 - self.length) == 0
    }

    /// Whether it encloses one of these blocks or one of them encloses it. The blocks must be in order, and none may
    /// enclose another.
    pub(crate) fn touches(&self, blocks: &[Self]) -> bool {
        let after = blocks.partition_point(|block| block <= self);
        let around = after.checked_sub(1).is_some_and(|before| blocks[before].encloses(self));
        around || blocks.get(after).is_some_and(|within| self.encloses(within))
    }

    /// The key of the verdict for this block.
    pub fn key(&self, class: u32, direction: u8) -> VerdictKey {
        let [_, protocol, high, low] = self.bits.to_be_bytes();
        let prefix_bits = VerdictKey::ANY_PROTOCOL + u32::from(self.length);
        VerdictKey { prefix_bits, class, direction, protocol, port: [high, low] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_split_into_exactly_their_ports() {
        for (first, last, count) in
            [(80, 80, 1), (80, 443, 8), (0, u16::MAX, 1), (1, u16::MAX, 16), (1, 65534, 30)]
        {
            let blocks = TrafficBlock::ports(6, first, last);
            assert_eq!(blocks.len(), count, "{first}-{last}");
            for port in 0..=u16::MAX {
                let held = blocks.iter().filter(|block| block.encloses(&TrafficBlock::port(6, port))).count();
                assert_eq!(held, usize::from((first..=last).contains(&port)), "{port} in {first}-{last}");
            }
        }
    }

    #[test]
    fn blocks_nest_and_stand_before_what_they_hold() {
        let nested = [
            TrafficBlock::EVERYTHING,
            TrafficBlock::protocol(6),
            TrafficBlock::ports(6, 0, 255)[0],
            TrafficBlock::port(6, 0),
        ];
        for pair in nested.windows(2) {
            assert!(pair[0].encloses(&pair[1]) && !pair[1].encloses(&pair[0]) && pair[0] < pair[1]);
        }
        assert!(!TrafficBlock::protocol(17).encloses(&TrafficBlock::port(6, 53)));
    }

    #[test]
    fn a_block_touches_what_it_holds_and_what_holds_it() {
        let blocks =
            [TrafficBlock::ports(6, 0, 255)[0], TrafficBlock::port(6, 443), TrafficBlock::protocol(17)];
        for (one, touches) in [
            (TrafficBlock::EVERYTHING, true),
            (TrafficBlock::protocol(6), true),
            (TrafficBlock::port(6, 80), true),
            (TrafficBlock::port(6, 443), true),
            (TrafficBlock::port(17, 443), true),
            (TrafficBlock::port(6, 444), false),
            (TrafficBlock::protocol(132), false),
        ] {
            assert_eq!(one.touches(&blocks), touches, "{one:?}");
        }
    }

    #[test]
    fn keys_are_as_the_packet_path_looks_them_up() {
        let key = TrafficBlock::port(6, 80).key(3, 1);
        assert_eq!((key.prefix_bits, key.protocol, key.port), (VerdictKey::ONE_PORT, 6, [0, 80]));
        assert_eq!(TrafficBlock::protocol(17).key(3, 0).prefix_bits, VerdictKey::ANY_PORT);
        assert_eq!(TrafficBlock::EVERYTHING.key(3, 0).prefix_bits, VerdictKey::ANY_PROTOCOL);
        let echo = TrafficBlock::icmp(1, 8).key(3, 0);
        assert_eq!((echo.prefix_bits, echo.port), (VerdictKey::ANY_PROTOCOL + 16, [8, 0]));
    }
}
