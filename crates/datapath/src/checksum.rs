//! Internet checksums by difference (RFC 1624): what changes, not what is.

/// The 16-bit words of `bytes` (an even number of them), summed.
#[inline(always)]
pub(crate) fn sum<const N: usize>(bytes: &[u8; N]) -> u32 {
    let mut total = 0;
    let mut at = 0;
    while at + 1 < N {
        total += u32::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
        at += 2;
    }
    total
}

/// What to add to the sum that a checksum is the complement of, when `old` becomes `new`.
#[inline(always)]
pub(crate) fn difference<const N: usize>(old: &[u8; N], new: &[u8; N]) -> u32 {
    let mut total = sum(new);
    let mut at = 0;
    while at + 1 < N {
        total += u32::from(!u16::from_be_bytes([old[at], old[at + 1]]));
        at += 2;
    }
    u32::from(fold(total))
}

/// The sum with its carries folded in.
#[inline(always)]
pub(crate) fn fold(total: u32) -> u16 {
    let once = (total & 0xffff) + (total >> 16);
    ((once & 0xffff) + (once >> 16)) as u16
}

/// The checksum of an IPv4 header whose hop limit goes down by one: one less in the high byte of a word is 0x100 more in the
/// complement.
#[inline(always)]
pub(crate) fn with_hop_taken(checksum: [u8; 2]) -> [u8; 2] {
    let sum = u32::from(u16::from_be_bytes(checksum)) + 0x100;
    ((sum + (sum >> 16)) as u16).to_be_bytes()
}
