//! Packet access by the kernel's socket buffer.

use crate::maps::{self, KernelMaps};
use abi::{Address, DropReason};
use aya_ebpf::bindings::{
    __sk_buff, BPF_F_INGRESS, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, TC_ACT_OK, TC_ACT_SHOT,
};
use aya_ebpf::helpers::{
    bpf_l3_csum_replace, bpf_l4_csum_replace, bpf_redirect, bpf_redirect_peer, bpf_skb_change_tail,
    bpf_skb_change_type, bpf_skb_load_bytes, bpf_skb_store_bytes,
};
use aya_ebpf::programs::TcContext;
use datapath::{Bytes, Checksums, Covers, Delivery, MAX_OFFSET, Mark, PacketRoute, Scratch};

/// `PACKET_HOST` of `linux/if_packet.h`: addressed to this machine.
const PACKET_HOST: u32 = 0;

/// A packet at a traffic-control hook.
pub struct Skb {
    pub(crate) context: *mut __sk_buff,
}

impl Skb {
    /// Runs a hook of `datapath` on the packet that a program was called for; returns what the kernel does with it.
    #[inline(always)]
    pub fn run(
        context: &TcContext,
        hook: impl FnOnce(&mut Self, &KernelMaps, &mut Scratch) -> Result<Delivery, DropReason>,
    ) -> i32 {
        let Some(scratch) = maps::scratch() else { return TC_ACT_SHOT };
        match hook(&mut Self { context: context.skb.skb }, &KernelMaps, scratch) {
            Ok(Delivery::Pass) => TC_ACT_OK,
            // SAFETY: the helper takes numbers only; an index without an interface drops the packet.
            Ok(Delivery::Egress(interface)) => unsafe { bpf_redirect(interface, 0) as i32 },
            // SAFETY: as above.
            Ok(Delivery::Ingress(interface)) => unsafe {
                bpf_redirect(interface, u64::from(BPF_F_INGRESS)) as i32
            },
            // SAFETY: as above. The kernel hands the packet to the other end of the interface (Linux 5.10).
            Ok(Delivery::Workload(interface)) => unsafe { bpf_redirect_peer(interface, 0) as i32 },
            Err(_) => TC_ACT_SHOT,
        }
    }

    /// The address of `length` bytes, if they are in the packet's linear part.
    #[inline(always)]
    fn piece(&self, offset: u32, length: usize) -> Option<usize> {
        // SAFETY: see `interface`.
        let (data, end) = unsafe { ((*self.context).data as usize, (*self.context).data_end as usize) };
        let start = data + offset as usize;
        (start + length <= end).then_some(start)
    }

    /// Reads bytes that are not in the packet's linear part.
    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Result<[u8; N], DropReason> {
        let mut bytes = [0; N];
        // SAFETY: the buffer is `N` bytes long; the helper refuses what is beyond the packet.
        let failed =
            unsafe { bpf_skb_load_bytes(self.context.cast(), offset, bytes.as_mut_ptr().cast(), N as u32) };
        if failed == 0 { Ok(bytes) } else { Err(DropReason::InvalidPacket) }
    }

    #[inline(always)]
    fn fix(&mut self, offset: u32, difference: u32, flags: u32) -> Result<(), DropReason> {
        // SAFETY: the helper refuses what is beyond the packet.
        let failed = unsafe {
            bpf_l4_csum_replace(self.context, offset, 0, in_memory_order(difference), u64::from(flags))
        };
        done(failed)
    }
}

impl PacketRoute for Skb {
    #[inline(always)]
    fn interface(&self) -> u32 {
        // SAFETY: the context is the one that the kernel called the program with; so below.
        unsafe { (*self.context).ifindex }
    }

    #[inline(always)]
    fn ingress(&self) -> u32 {
        // SAFETY: see `interface`.
        unsafe { (*self.context).ingress_ifindex }
    }

    #[inline(always)]
    fn opener(&self) -> Option<Address> {
        self.tracked_opener()
    }

    #[inline(always)]
    fn claim(&mut self) -> Result<(), DropReason> {
        // SAFETY: the helper takes a number, and refuses unknown ones.
        done(unsafe { bpf_skb_change_type(self.context, PACKET_HOST) })
    }
}

impl Mark for Skb {
    #[inline(always)]
    fn mark(&self) -> u32 {
        // SAFETY: see `interface`.
        unsafe { (*self.context).mark }
    }

    #[inline(always)]
    fn set_mark(&mut self, mark: u32) {
        // SAFETY: see `interface`; the mark is writable at these hooks. Volatile, for the compiler would write only
        // the half that changes, and the kernel takes the whole.
        unsafe { core::ptr::addr_of_mut!((*self.context).mark).write_volatile(mark) }
    }
}

impl Bytes for Skb {
    #[inline(always)]
    fn length(&self) -> u32 {
        // SAFETY: see `interface`.
        unsafe { (*self.context).len }
    }

    #[inline(always)]
    fn is_tagged(&self) -> bool {
        // SAFETY: see `interface`.
        unsafe { (*self.context).vlan_present != 0 }
    }

    #[inline(always)]
    fn read<const N: usize>(&self, offset: u32) -> Result<[u8; N], DropReason> {
        if offset > MAX_OFFSET {
            return Err(DropReason::InvalidPacket);
        }
        // SAFETY: see `interface`.
        let (data, end) = unsafe { ((*self.context).data as usize, (*self.context).data_end as usize) };
        let start = data + offset as usize;
        if start + N > end {
            return self.load(offset);
        }
        // SAFETY: `N` bytes from `start` are within the linear part, by the comparison above.
        Ok(unsafe { read_words(start) })
    }

    #[inline(always)]
    fn copy<const N: usize>(&self, offset: u32) -> Result<[u8; N], DropReason> {
        if offset > MAX_OFFSET {
            return Err(DropReason::InvalidPacket);
        }
        self.load(offset)
    }

    #[inline(always)]
    fn front<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let start = self.piece(offset, N)?;
        // SAFETY: `piece` found `N` bytes from `start`.
        Some(unsafe { read_words(start) })
    }

    #[inline(always)]
    fn front_words<const N: usize>(&self, offset: u32) -> Option<[u32; N]> {
        let start = self.piece(offset, N * 4)?;
        let mut words = [0; N];
        let mut at = 0;
        while at < N {
            // SAFETY: as above; see `read_words`.
            words[at] = unsafe { *((start + at * 4) as *const u32) };
            at += 1;
        }
        Some(words)
    }

    #[inline(always)]
    fn overwrite<const N: usize>(&mut self, offset: u32, bytes: [u8; N]) -> Option<()> {
        let start = self.piece(offset, N)?;
        // SAFETY: as above. For a program that writes packets in place, the kernel first makes each packet's bytes its own.
        unsafe { write_words(start, bytes) };
        Some(())
    }

    #[inline(always)]
    fn write<const N: usize>(&mut self, offset: u32, bytes: [u8; N]) -> Result<(), DropReason> {
        // SAFETY: the buffer is `N` bytes long; the helper refuses what is beyond the packet.
        let failed =
            unsafe { bpf_skb_store_bytes(self.context.cast(), offset, bytes.as_ptr().cast(), N as u32, 0) };
        done(failed)
    }

    #[inline(always)]
    fn resize(&mut self, length: u32) -> Result<(), DropReason> {
        // SAFETY: the helper takes numbers, and refuses lengths that no packet can have.
        done(unsafe { bpf_skb_change_tail(self.context, length, 0) })
    }
}

impl Checksums for Skb {
    #[inline(always)]
    fn fix_header_checksum(&mut self, offset: u32, difference: u32) -> Result<(), DropReason> {
        // SAFETY: the helper refuses what is beyond the packet.
        done(unsafe { bpf_l3_csum_replace(self.context, offset, 0, in_memory_order(difference), 0) })
    }

    #[inline(always)]
    fn fix_checksum(&mut self, offset: u32, difference: u32, covers: Covers) -> Result<(), DropReason> {
        self.fix(offset, difference, flags(covers))
    }

    #[inline(always)]
    fn fix_optional_checksum(
        &mut self,
        offset: u32,
        difference: u32,
        covers: Covers,
    ) -> Result<(), DropReason> {
        self.fix(offset, difference, flags(covers) | BPF_F_MARK_MANGLED_0)
    }
}

/// Reads bytes by words: the compiler makes a load and a shift of each byte whose alignment it does not know.
///
/// # Safety
/// `N` bytes from `start` must be within the packet's linear part.
#[inline(always)]
unsafe fn read_words<const N: usize>(start: usize) -> [u8; N] {
    const { assert!(N.is_multiple_of(2), "the last byte would not be read") };
    let mut bytes = [0; N];
    let mut at = 0;
    while at + 4 <= N {
        // SAFETY: within the packet, by the caller. Headers begin at odd multiples of two. The processors that Nexin supports
        // load such words, and for others the verifier refuses the program.
        let word = unsafe { *((start + at) as *const u32) };
        bytes[at..at + 4].copy_from_slice(&word.to_ne_bytes());
        at += 4;
    }
    if at < N {
        // SAFETY: as above.
        let word = unsafe { *((start + at) as *const u16) };
        bytes[at..].copy_from_slice(&word.to_ne_bytes());
    }
    bytes
}

/// Writes bytes by words.
///
/// # Safety
/// As for [`read_words`].
#[inline(always)]
unsafe fn write_words<const N: usize>(start: usize, bytes: [u8; N]) {
    const { assert!(N.is_multiple_of(2), "the last byte would not be written") };
    let mut at = 0;
    while at + 4 <= N {
        let word = u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        // SAFETY: see `read_words`.
        unsafe { *((start + at) as *mut u32) = word };
        at += 4;
    }
    if at < N {
        // SAFETY: as above.
        unsafe { *((start + at) as *mut u16) = u16::from_ne_bytes([bytes[at], bytes[at + 1]]) };
    }
}

#[inline(always)]
fn flags(covers: Covers) -> u32 {
    match covers {
        Covers::Address => BPF_F_PSEUDO_HDR,
        Covers::Segment => 0,
    }
}

/// The kernel sums words as they lie in memory.
#[inline(always)]
fn in_memory_order(difference: u32) -> u64 {
    u64::from((difference as u16).to_be())
}

#[inline(always)]
fn done(failed: i64) -> Result<(), DropReason> {
    if failed == 0 { Ok(()) } else { Err(DropReason::TranslationFailed) }
}
