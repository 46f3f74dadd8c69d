//! One packet as the stages see it: bytes at an offset, a mark, and the way it came.

use abi::DropReason;

/// No header that the packet path reads starts after this offset. A limit known to the compiler is what lets the
/// kernel's verifier follow offsets that were computed from the packet.
pub const MAX_OFFSET: u32 = 1024;

/// What a transport checksum is told about bytes that changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Covers {
    /// The bytes are part of the pseudo header (addresses), which counts even where the device finishes the checksum.
    Address,
    /// The bytes are part of the segment itself.
    Segment,
}

/// Access to one packet that starts at its Ethernet header.
pub trait Packet {
    /// Index of the interface whose hook sees the packet.
    fn interface(&self) -> u32;
    /// Index of the interface by which the packet came into the node; 0 where the node itself made it.
    fn ingress(&self) -> u32;
    /// Length in bytes, from the link layer on.
    fn length(&self) -> u32;
    /// The packet's mark.
    fn mark(&self) -> u32;
    /// Sets the packet's mark.
    fn set_mark(&mut self, mark: u32);
    /// Whether the frame carried a VLAN tag.
    fn is_tagged(&self) -> bool;
    /// Makes the stack accept the packet as addressed to the node, whatever its link-layer destination.
    fn claim(&mut self) -> Result<(), DropReason>;
    /// Reads `N` bytes; beyond the end or past [`MAX_OFFSET`] the packet is invalid.
    ///
    /// `N` is two at least: of a single byte the compiler asks whether it lies before the end in words that the
    /// verifier does not understand.
    fn read<const N: usize>(&self, offset: u32) -> Result<[u8; N], DropReason>;
    /// Writes `N` bytes.
    fn write<const N: usize>(&mut self, offset: u32, bytes: [u8; N]) -> Result<(), DropReason>;
    /// Changes the length; bytes that are added are zero.
    fn resize(&mut self, length: u32) -> Result<(), DropReason>;
    /// Adds a difference (see `checksum`) to the IPv4 header checksum at `offset`.
    fn fix_header_checksum(&mut self, offset: u32, difference: u32) -> Result<(), DropReason>;
    /// Adds a difference to the transport checksum at `offset`.
    fn fix_checksum(&mut self, offset: u32, difference: u32, covers: Covers) -> Result<(), DropReason>;
    /// The same for UDP, where zero says that there is no checksum.
    fn fix_optional_checksum(
        &mut self,
        offset: u32,
        difference: u32,
        covers: Covers,
    ) -> Result<(), DropReason>;
}
