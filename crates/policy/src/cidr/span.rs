//! A block of addresses in an order in which each block stands right before those within it.

use crate::rule::Cidr;
use std::net::IpAddr;

/// A block by its first bits; families do not mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Span {
    is_v4: bool,
    /// The bits of the address from the left, so that both families are compared alike.
    bits: u128,
    length: u8,
}

impl Span {
    pub(super) fn new(block: &Cidr) -> Self {
        let (is_v4, bits) = match block.address() {
            IpAddr::V4(v4) => (true, u128::from(v4.to_bits()) << 96),
            IpAddr::V6(v6) => (false, v6.to_bits()),
        };
        Self { is_v4, bits, length: block.length() }
    }

    /// Whether the whole of the other span is in this one.
    pub(super) fn encloses(&self, other: &Self) -> bool {
        self.is_v4 == other.is_v4
            && self.length <= other.length
            && (self.bits ^ other.bits) & !self.free_bits() == 0
    }

    /// The least span that stands after all that lies within this one; none where no address of the family does.
    pub(super) fn after(&self) -> Option<Self> {
        let bits = (self.bits | self.free_bits()).checked_add(1)?;
        Some(Self { bits, length: 0, ..*self })
    }

    /// The bits in which addresses of the span differ.
    fn free_bits(&self) -> u128 {
        u128::MAX.checked_shr(u32::from(self.length)).unwrap_or(0)
    }
}
