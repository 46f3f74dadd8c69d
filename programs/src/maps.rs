//! The kernel's maps: names and sizes are those of `abi::map`.

use abi::address::{AddressInfo, AddressKey};
use abi::config::Config;
use abi::conntrack::{ConnInfo, ConnKey, FragmentInfo, FragmentKey};
use abi::endpoint::{EndpointInfo, EndpointKey};
use abi::event::{COUNTER_ROWS, Counter, FlowEvent};
use abi::map::{capacity, proxy_socket};
use abi::policy::{ClassKey, ColumnKey, GroupKey, VerdictInfo, VerdictKey};
use abi::service::{BackendInfo, BackendKey, ServiceInfo, ServiceKey};
use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::btf_maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf, SockMap};
use aya_ebpf::cty::c_void;
use aya_ebpf::helpers::{bpf_ktime_get_coarse_ns, bpf_loop};
use aya_ebpf::macros::btf_map;
use datapath::policy::{PolicyRows, Walk};
use datapath::{Maps, Trace};

/// Rows that only user space writes take memory when they are written, not before.
const GROWS: usize = BPF_F_NO_PREALLOC as usize;

/// Bytes of an address after the prefix length.
type AddressBits = [u8; size_of::<AddressKey>() - 4];
/// Bytes of a verdict's key after the prefix length.
type VerdictBits = [u8; size_of::<VerdictKey>() - 4];

#[btf_map]
static NX_ADDRESSES: LpmTrie<AddressBits, AddressInfo, { capacity::ADDRESSES as usize }> = LpmTrie::new();
#[btf_map]
static NX_ENDPOINTS: HashMap<EndpointKey, EndpointInfo, { capacity::ENDPOINTS as usize }, GROWS> =
    HashMap::new();
#[btf_map]
static NX_COLUMNS: HashMap<ColumnKey, u32, { capacity::COLUMNS as usize }, GROWS> = HashMap::new();
#[btf_map]
static NX_CIDR_PARENTS: HashMap<u32, u32, { capacity::CIDR_PARENTS as usize }, GROWS> = HashMap::new();
#[btf_map]
static NX_GROUPS: HashMap<GroupKey, u32, { capacity::GROUPS as usize }, GROWS> = HashMap::new();
#[btf_map]
static NX_CLASSES: HashMap<ClassKey, u32, { capacity::CLASSES as usize }, GROWS> = HashMap::new();
#[btf_map]
static NX_VERDICTS: LpmTrie<VerdictBits, VerdictInfo, { capacity::VERDICTS as usize }> = LpmTrie::new();
#[btf_map]
static NX_CONNTRACK: LruHashMap<ConnKey, ConnInfo, { capacity::CONNTRACK as usize }> = LruHashMap::new();
#[btf_map]
static NX_FRAGMENTS: LruHashMap<FragmentKey, FragmentInfo, { capacity::FRAGMENTS as usize }> =
    LruHashMap::new();
#[btf_map]
static NX_SERVICES: HashMap<ServiceKey, ServiceInfo, { capacity::SERVICES as usize }, GROWS> = HashMap::new();
#[btf_map]
static NX_BACKENDS: HashMap<BackendKey, BackendInfo, { capacity::BACKENDS as usize }, GROWS> = HashMap::new();
#[btf_map]
static NX_CONFIG: Array<Config, 1> = Array::new();
#[btf_map]
static NX_COUNTERS: PerCpuArray<Counter, { COUNTER_ROWS as usize }> = PerCpuArray::new();
#[btf_map]
pub static NX_PROXY_SOCKETS: SockMap<{ proxy_socket::ALL as usize }> = SockMap::new();
/// Of `FlowEvent`; declared without a value, for a ring has none by the kernel's lights.
#[btf_map]
static NX_EVENTS: RingBuf<(), { capacity::EVENT_BYTES as usize }> = RingBuf::new();

#[btf_map]
static NX_SCRATCH: PerCpuArray<Trace, 1> = PerCpuArray::new();

/// Room for the trace of the packet that this CPU judges.
#[inline(always)]
pub fn scratch() -> Option<&'static mut Trace> {
    // SAFETY: the row is this CPU's own, and a program at these hooks runs to its end before another begins; every
    // story sets the whole trace before it reads any of it.
    NX_SCRATCH.get_ptr_mut(0).map(|trace| unsafe { &mut *trace })
}

/// The maps above.
pub struct KernelMaps;

impl PolicyRows for KernelMaps {
    #[inline(always)]
    fn column(&self, key: &ColumnKey) -> Option<u32> {
        // SAFETY: programs never write this map, and the value is copied.
        unsafe { NX_COLUMNS.get(key) }.copied()
    }

    #[inline(always)]
    fn cidr_parent(&self, class: u32) -> Option<u32> {
        // SAFETY: programs never write this map, and the value is copied.
        unsafe { NX_CIDR_PARENTS.get(class) }.copied()
    }

    #[inline(always)]
    fn group(&self, key: &GroupKey) -> Option<u32> {
        // SAFETY: programs never write this map, and the value is copied.
        unsafe { NX_GROUPS.get(key) }.copied()
    }

    #[inline(always)]
    fn class(&self, key: &ClassKey) -> Option<u32> {
        // SAFETY: programs never write this map, and the value is copied.
        unsafe { NX_CLASSES.get(key) }.copied()
    }

    #[inline(always)]
    fn verdict(&self, key: &VerdictKey) -> Option<VerdictInfo> {
        // SAFETY: both are a 32-bit prefix length and then the bits, without padding.
        NX_VERDICTS.get(unsafe { &*core::ptr::from_ref(key).cast::<Key<VerdictBits>>() }).copied()
    }

    #[inline(always)]
    fn walk(&self, walk: &mut Walk) {
        let step: extern "C" fn(u64, *mut c_void) -> i64 = step;
        // SAFETY: the kernel calls the function with the walk, which outlives the loop, and with nothing else (Linux
        // 5.17).
        unsafe { bpf_loop(Walk::STEPS, step as *mut c_void, core::ptr::from_mut(walk).cast(), 0) };
    }
}

/// One step of a walk, as `bpf_loop` calls it; 1 ends the loop.
extern "C" fn step(_index: u64, walk: *mut c_void) -> i64 {
    // SAFETY: the loop was given a walk and nobody else uses it meanwhile.
    let walk = unsafe { &mut *walk.cast::<Walk>() };
    i64::from(walk.step(&KernelMaps))
}

impl Maps for KernelMaps {
    type Connection<'a> = &'a mut ConnInfo;

    #[inline(always)]
    fn now(&self) -> u64 {
        // SAFETY: the helper takes nothing.
        unsafe { bpf_ktime_get_coarse_ns() }
    }

    #[inline(always)]
    fn config(&self) -> Option<&Config> {
        NX_CONFIG.get(0)
    }

    #[inline(always)]
    fn endpoint(&self, key: &EndpointKey) -> Option<&EndpointInfo> {
        // SAFETY: programs never write this map, and the row stays mapped while the program runs. The kernel may give
        // the memory of a row that was replaced to another one at once: the story copies it before all other lookups.
        unsafe { NX_ENDPOINTS.get(key) }
    }

    #[inline(always)]
    fn address(&self, key: &AddressKey) -> Option<&AddressInfo> {
        // SAFETY: both are a 32-bit prefix length and then the bits, without padding.
        NX_ADDRESSES.get(unsafe { &*core::ptr::from_ref(key).cast::<Key<AddressBits>>() })
    }

    #[inline(always)]
    fn service(&self, key: &ServiceKey) -> Option<&ServiceInfo> {
        // SAFETY: programs never write this map; user space replaces rows whole.
        unsafe { NX_SERVICES.get(key) }
    }

    #[inline(always)]
    fn backend(&self, key: &BackendKey) -> Option<&BackendInfo> {
        // SAFETY: programs never write this map; user space replaces rows whole.
        unsafe { NX_BACKENDS.get(key) }
    }

    #[inline(always)]
    fn connection(&self, key: &ConnKey) -> Option<&mut ConnInfo> {
        // SAFETY: the row stays mapped while the program runs. Another CPU may write it at the same time: every
        // field is a number that is right either way, and counters may lose a packet.
        NX_CONNTRACK.get_ptr_mut(key).map(|row| unsafe { &mut *row })
    }

    #[inline(always)]
    fn remember(&self, key: &ConnKey, row: &ConnInfo) -> bool {
        NX_CONNTRACK.insert(key, row, 0).is_ok()
    }

    #[inline(always)]
    fn fragment(&self, key: &FragmentKey) -> Option<FragmentInfo> {
        // SAFETY: the value is copied.
        unsafe { NX_FRAGMENTS.get(key) }.copied()
    }

    #[inline(always)]
    fn remember_fragment(&self, key: &FragmentKey, ports: &FragmentInfo) -> bool {
        NX_FRAGMENTS.insert(key, ports, 0).is_ok()
    }

    #[inline(always)]
    fn count(&self, index: u32, bytes: u32) {
        if let Some(row) = NX_COUNTERS.get_ptr_mut(index) {
            // SAFETY: the row is this CPU's own.
            let row = unsafe { &mut *row };
            row.packets += 1;
            row.bytes += u64::from(bytes);
        }
    }

    #[inline(always)]
    fn report(&self, event: FlowEvent) {
        if let Some(mut entry) = NX_EVENTS.reserve_untyped::<FlowEvent>(0) {
            entry.write(event);
            entry.submit(0);
        }
    }
}
