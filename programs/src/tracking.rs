//! The kernel's own connection tracking (nf_conntrack), which translated a packet before the programs see it.
//!
//! The packet names its entry, so nothing is looked up. `bpf_skb_ct_lookup` would look the entry up by addresses and ports; it
//! is a function of a module on most kernels.

use crate::packet::Skb;
use abi::Address;
use abi::netfilter::TrackingOffsets;
use aya_ebpf::Global;
use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use core::mem::MaybeUninit;

/// Written by the loader. The kernel does not verify what is behind a comparison that a constant decides.
#[unsafe(no_mangle)]
static NX_TRACKING: Global<TrackingOffsets> = Global::new(TrackingOffsets::UNKNOWN);

/// Bits of the address of an entry that are not the address's.
const STATE: u64 = 7;
/// `AF_INET`.
const V4: u16 = 2;
/// `AF_INET6`.
const V6: u16 = 10;

/// `struct nf_conntrack_man`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Source {
    address: [u8; 16],
    port: [u8; 2],
    family: u16,
}

impl Skb {
    /// See [`datapath::PacketRoute::opener`].
    #[inline(always)]
    pub(crate) fn tracked_opener(&self) -> Option<Address> {
        let offsets = NX_TRACKING.load();
        if offsets.entry == 0 || offsets.opener == 0 {
            return None;
        }
        let entry = read::<u64>(self.context as u64 + u64::from(offsets.entry))? & !STATE;
        if entry == 0 {
            return None;
        }
        let Source { address, family, .. } = read::<Source>(entry + u64::from(offsets.opener))?;
        match family {
            V4 => Some(Address::from_v4([address[0], address[1], address[2], address[3]])),
            V6 => Some(Address(address)),
            _ => None,
        }
    }
}

/// Reads memory of the kernel; nothing where no memory is.
#[inline(always)]
fn read<T: Copy>(address: u64) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the kernel writes as many bytes as the value has, and checks the address, whatever it is.
    let failed = unsafe {
        bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, address as *const _)
    };
    // SAFETY: the kernel wrote all of the value, and each pattern of bits is one of its type (numbers and arrays of them).
    (failed == 0).then(|| unsafe { value.assume_init() })
}
