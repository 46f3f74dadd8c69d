//! One packet as the stages see it, by capability: a stage asks for those that it uses.
//!
//! A hook before the kernel has made a socket buffer (XDP) has [`Bytes`] only.

use abi::{Address, DropReason, mark};

/// No header that the packet path reads starts after this offset. A limit known to the compiler is what lets the
/// kernel's verifier follow offsets that were computed from the packet.
pub const MAX_OFFSET: u32 = 1024;

/// The bytes of a packet, from its Ethernet header on.
pub trait Bytes {
    /// Length in bytes, from the link layer on.
    fn length(&self) -> u32;
    /// Whether the frame carried a VLAN tag.
    fn is_tagged(&self) -> bool;
    /// Reads `N` bytes; beyond the end or past [`MAX_OFFSET`] the packet is invalid.
    ///
    /// `N` is even and not zero. The kernel side reads by words; and whether a single byte lies before the end, the compiler
    /// checks by a comparison that the verifier does not understand.
    fn read<const N: usize>(&self, offset: u32) -> Result<[u8; N], DropReason>;
    /// The same by a call: for code that few packets need, since the kernel's verifier follows both ways of [`Self::read`].
    fn copy<const N: usize>(&self, offset: u32) -> Result<[u8; N], DropReason>;
    /// Reads bytes that the kernel holds in one piece, as it does the headers of nearly all packets; nothing for others, and
    /// beyond the end. `offset` is a number that the compiler knows.
    fn front<const N: usize>(&self, offset: u32) -> Option<[u8; N]>;
    /// The same by words, as they lie in memory.
    fn front_words<const N: usize>(&self, offset: u32) -> Option<[u32; N]>;
    /// Overwrites bytes that [`Self::front`] reads.
    fn overwrite<const N: usize>(&mut self, offset: u32, bytes: [u8; N]) -> Option<()>;
    /// Writes `N` bytes.
    fn write<const N: usize>(&mut self, offset: u32, bytes: [u8; N]) -> Result<(), DropReason>;
    /// Changes the length; bytes that are added are zero.
    fn resize(&mut self, length: u32) -> Result<(), DropReason>;
}

/// Which part of a transport checksum changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Covers {
    /// Bytes of the pseudo header (addresses), which count even where the device finishes the checksum.
    Address,
    /// Bytes of the segment itself.
    Segment,
}

/// Checksums that are changed by a difference (see `checksum`).
pub trait Checksums {
    /// Adds a difference to the IPv4 header checksum at `offset`.
    fn fix_header_checksum(&mut self, offset: u32, difference: u32) -> Result<(), DropReason>;
    /// Adds a difference to the transport checksum at `offset`.
    fn fix_checksum(&mut self, offset: u32, difference: u32, covers: Covers) -> Result<(), DropReason>;
    /// The same for UDP, where zero means that there is no checksum.
    fn fix_optional_checksum(
        &mut self,
        offset: u32,
        difference: u32,
        covers: Covers,
    ) -> Result<(), DropReason>;
}

/// The mark that the kernel keeps beside a packet.
pub trait Mark {
    /// The packet's mark.
    fn mark(&self) -> u32;
    /// Sets the packet's mark.
    fn set_mark(&mut self, mark: u32);

    /// Whether the node proxy sent the packet, which has an address of another endpoint as its source.
    #[inline(always)]
    fn is_from_proxy(&self) -> bool {
        self.mark() & mark::MASK == mark::FROM_PROXY
    }
}

/// The packet's way through the node.
pub trait PacketRoute {
    /// Index of the interface whose hook sees the packet.
    fn interface(&self) -> u32;
    /// Index of the interface by which the packet came into the node; 0 where the node itself made the packet.
    fn ingress(&self) -> u32;
    /// The source address of the packet that opened the flow, before the kernel translated it; none where the kernel's own
    /// connection tracking (nf_conntrack) has no entry for the packet, or the entry cannot be read.
    fn opener(&self) -> Option<Address>;
    /// Makes the stack accept the packet as addressed to the node, whatever its link-layer destination.
    fn claim(&mut self) -> Result<(), DropReason>;
}
