//! The kernel's maps: declared from the list of `abi::map`, and how programs read and write maps of each kind.

use abi::Address;
use abi::event::{self, FlowEvent};
use abi::map::{self, Kind, Map, MapId};
use abi::policy::{ClassKey, ColumnKey, GroupKey, VerdictInfo, VerdictKey};
use abi::with_maps;
use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::btf_maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf, SockMap};
use aya_ebpf::cty::c_void;
use aya_ebpf::helpers::{bpf_jiffies64, bpf_ktime_get_coarse_ns, bpf_loop, bpf_ringbuf_query};
use aya_ebpf::macros::btf_map;
use datapath::policy::PolicyRows;
use datapath::{AddressFact, Find, Keep, Maps, Scratch};

/// The maps, and where the programs run.
pub struct KernelMaps;

/// Declares the maps of the list, each as its kind asks.
macro_rules! declare {
    ($($(#[$doc:meta])* $map:ident = $name:ident: $kind:ident<$key:ty, $value:ty>,
       capacity $capacity:expr, in tests $small:expr, written by $writer:ident
       $(, row $row:ident)? $(, value $single:ident)?;)*) => {
        $(declare_one! { $kind, $map, $name })*
    };
}

/// Declares one map, and implements its reading and writing.
macro_rules! declare_one {
    (Hash, $map:ident, $name:ident) => {
        #[btf_map]
        static $name: HashMap<
            <map::$map as Map>::Key,
            <map::$map as Map>::Value,
            { MapId::$map.default_capacity() as usize },
            { Kind::Hash.flags() as usize },
        > = HashMap::new();

        impl Find<map::$map> for KernelMaps {
            #[inline(always)]
            fn find(&self, key: &<map::$map as Map>::Key) -> Option<&<map::$map as Map>::Value> {
                // SAFETY: programs never write maps of this kind, user space replaces entries whole, and an entry stays mapped
                // while the program runs. The kernel may give the memory of an entry that was replaced to another one at once:
                // a stage copies what must belong together before it looks anything else up.
                unsafe { $name.get(key) }
            }
        }
    };
    (LpmTrie, $map:ident, $name:ident) => {
        #[btf_map]
        static $name: LpmTrie<
            [u8; size_of::<<map::$map as Map>::Key>() - PREFIX_LENGTH],
            <map::$map as Map>::Value,
            { MapId::$map.default_capacity() as usize },
        > = LpmTrie::new();

        impl Find<map::$map> for KernelMaps {
            #[inline(always)]
            fn find(&self, key: &<map::$map as Map>::Key) -> Option<&<map::$map as Map>::Value> {
                type Bits = [u8; size_of::<<map::$map as Map>::Key>() - PREFIX_LENGTH];
                // SAFETY: both are a 32-bit prefix length and then the bits, without padding.
                $name.get(unsafe { &*core::ptr::from_ref(key).cast::<Key<Bits>>() })
            }
        }
    };
    (LruHash, $map:ident, $name:ident) => {
        #[btf_map]
        static $name: LruHashMap<
            <map::$map as Map>::Key,
            <map::$map as Map>::Value,
            { MapId::$map.default_capacity() as usize },
            { Kind::LruHash.flags() as usize },
        > = LruHashMap::new();

        impl Keep<map::$map> for KernelMaps {
            type Entry<'a> = &'a mut <map::$map as Map>::Value;

            #[inline(always)]
            fn find_mut(&self, key: &<map::$map as Map>::Key) -> Option<&mut <map::$map as Map>::Value> {
                // SAFETY: the entry stays mapped while the program runs. Another CPU may write it at the same time: every
                // field is a number that is right either way, and counters may lose a packet.
                $name.get_ptr_mut(key).map(|entry| unsafe { &mut *entry })
            }

            #[inline(always)]
            fn insert(&self, key: &<map::$map as Map>::Key, value: &<map::$map as Map>::Value) -> bool {
                $name.insert(key, value, 0).is_ok()
            }

            #[inline(always)]
            fn insert_new(&self, key: &<map::$map as Map>::Key, value: &<map::$map as Map>::Value) -> bool {
                $name.insert(key, value, NO_EXIST).is_ok()
            }

            #[inline(always)]
            fn remove(&self, key: &<map::$map as Map>::Key) {
                let _ = $name.remove(key);
            }
        }
    };
    (Array, $map:ident, $name:ident) => {
        #[btf_map]
        static $name: Array<
            <map::$map as Map>::Value,
            { MapId::$map.default_capacity() as usize },
            { Kind::Array.flags() as usize },
        > = Array::new();

        impl Find<map::$map> for KernelMaps {
            #[inline(always)]
            fn find(&self, index: &u32) -> Option<&<map::$map as Map>::Value> {
                $name.get(*index)
            }
        }
    };
    (PerCpuArray, $map:ident, $name:ident) => {
        #[btf_map]
        static $name: PerCpuArray<<map::$map as Map>::Value, { MapId::$map.default_capacity() as usize }> =
            PerCpuArray::new();
    };
    (SocketMap, $map:ident, $name:ident) => {
        #[btf_map]
        pub static $name: SockMap<{ MapId::$map.default_capacity() as usize }> = SockMap::new();
    };
    // The kernel knows no type of what a ring buffer carries.
    (RingBuffer, $map:ident, $name:ident) => {
        #[btf_map]
        static $name: RingBuf<(), { MapId::$map.default_capacity() as usize }> = RingBuf::new();
    };
}

/// `BPF_NOEXIST`.
const NO_EXIST: u64 = 1;

/// Bytes of a trie's key before the bits.
const PREFIX_LENGTH: usize = size_of::<u32>();

with_maps!(declare);

/// Room to work in. It belongs to the programs alone: it is in no list, and the loader does not pin it.
#[btf_map]
static NX_SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();

/// The memory of the packet that this CPU judges.
#[inline(always)]
pub fn scratch() -> Option<&'static mut Scratch> {
    // SAFETY: the row is this CPU's own, and a program at these hooks runs to its end before another begins; every
    // hook sets the whole memory before it reads any.
    NX_SCRATCH.get_ptr_mut(0).map(|scratch| unsafe { &mut *scratch })
}

/// The time as this CPU last read the clock. The clock moves with the kernel's tick, and to read it costs two calls; the count
/// of ticks is a word in memory, which the verifier makes a program read without a call.
#[derive(Clone, Copy)]
struct Clock {
    ticks: u64,
    nanoseconds: u64,
    seconds: u32,
}

/// The clock, as [`NX_SCRATCH`] the programs' own.
#[btf_map]
static NX_CLOCK: PerCpuArray<Clock, 1> = PerCpuArray::new();

/// Reads the clock where a tick has passed since this CPU last read it.
#[inline(always)]
fn clock() -> Clock {
    const SECOND: u64 = 1_000_000_000;
    let Some(clock) = NX_CLOCK.get_ptr_mut(0) else { return Clock { ticks: 0, nanoseconds: 0, seconds: 0 } };
    // SAFETY: the row is this CPU's own, as that of `scratch` is.
    let clock = unsafe { &mut *clock };
    // SAFETY: the helper takes nothing.
    let ticks = unsafe { bpf_jiffies64() };
    if clock.ticks != ticks {
        // SAFETY: as above.
        let nanoseconds = unsafe { bpf_ktime_get_coarse_ns() };
        *clock = Clock { ticks, nanoseconds, seconds: (nanoseconds / SECOND) as u32 };
    }
    *clock
}

/// An address of which this CPU found out a fact under an epoch.
#[derive(Clone, Copy)]
struct KnownAddress {
    address: Address,
    epoch: u32,
    /// An entry begins empty, and its epoch and address are those of others.
    is_known: u32,
}

/// The addresses of each fact, each at the place that its last bits name; the programs' own.
#[btf_map]
static NX_FACTS: PerCpuArray<KnownAddress, { 2 * PLACES as usize }> = PerCpuArray::new();

/// Places of the addresses of one fact.
const PLACES: u32 = 256;

/// The place of an address.
#[inline(always)]
fn known(fact: AddressFact, address: &Address) -> Option<&'static mut KnownAddress> {
    let first = match fact {
        AddressFact::Foreign => 0,
        AddressFact::Unmasqueraded => PLACES,
    };
    // SAFETY: the row is this CPU's own, as that of `scratch` is.
    NX_FACTS.get_ptr_mut(first + u32::from(address.0[15])).map(|known| unsafe { &mut *known })
}

impl PolicyRows for KernelMaps {
    #[inline(always)]
    fn column(&self, key: &ColumnKey) -> Option<u32> {
        self.lookup(map::Columns, key).copied()
    }

    #[inline(always)]
    fn cidr_parent(&self, class: u32) -> Option<u32> {
        self.lookup(map::CidrParents, &class).copied()
    }

    #[inline(always)]
    fn group(&self, key: &GroupKey) -> Option<u32> {
        self.lookup(map::Groups, key).copied()
    }

    #[inline(always)]
    fn class(&self, key: &ClassKey) -> Option<u32> {
        self.lookup(map::Classes, key).copied()
    }

    #[inline(always)]
    fn verdict(&self, key: &VerdictKey) -> Option<VerdictInfo> {
        self.lookup(map::Verdicts, key).copied()
    }

    #[inline(always)]
    fn repeat(&self, times: u32, step: impl FnMut(u32) -> bool) {
        repeat(times, step);
    }
}

/// Calls a function as [`PolicyRows::repeat`] describes.
#[inline(always)]
fn repeat<F: FnMut(u32) -> bool>(times: u32, mut step: F) {
    let call: extern "C" fn(u64, *mut c_void) -> i64 = call::<F>;
    // SAFETY: the kernel calls the function with the closure's place on the stack, where it must be, and with nothing else
    // (Linux 5.17); the closure outlives the loop.
    unsafe { bpf_loop(times, call as *mut c_void, (&raw mut step).cast(), 0) };
}

/// One round, as `bpf_loop` calls it; 1 ends the loop.
extern "C" fn call<F: FnMut(u32) -> bool>(index: u64, step: *mut c_void) -> i64 {
    // SAFETY: the loop got the place of a closure that nothing else uses meanwhile.
    let step = unsafe { &mut *step.cast::<F>() };
    i64::from(step(index as u32))
}

/// Whether the next event of a forwarded packet wakes the reader.
///
/// Without a flag, the kernel wakes the reader by the first event after the reader has read all. The reader then waits for
/// more; an event that fills half of the ring ends that wait.
#[inline(always)]
fn wake_up() -> u64 {
    const HALF: u64 = MapId::Events.default_capacity() as u64 / 2;
    /// Several CPUs may report at once, and none of them may see exactly the half.
    const MARGIN: u64 = 16 * size_of::<FlowEvent>() as u64;
    // SAFETY: the pointer is that of a ring buffer.
    let pending = unsafe { bpf_ringbuf_query((&raw const NX_EVENTS).cast_mut().cast(), AVAILABLE_DATA) };
    if pending.wrapping_sub(HALF) < MARGIN { FORCE_WAKE_UP } else { 0 }
}

/// `BPF_RB_AVAIL_DATA`.
const AVAILABLE_DATA: u64 = 0;
/// `BPF_RB_FORCE_WAKEUP`.
const FORCE_WAKE_UP: u64 = 2;

impl Maps for KernelMaps {
    #[inline(always)]
    fn clock(&self) -> (u64, u32) {
        let Clock { nanoseconds, seconds, .. } = clock();
        (nanoseconds, seconds)
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
    fn report(&self, event: &FlowEvent) {
        let (found_room, lost) = if event.is_denial() {
            (NX_DENIALS.output_untyped::<FlowEvent>(event, 0).is_ok(), event::LOST_DENIALS)
        } else {
            (NX_EVENTS.output_untyped::<FlowEvent>(event, wake_up()).is_ok(), event::LOST_FORWARDS)
        };
        if !found_room {
            self.count(lost, event.length);
        }
    }

    #[inline(always)]
    fn knows(&self, fact: AddressFact, address: &Address, epoch: u32) -> bool {
        known(fact, address)
            .is_some_and(|known| known.is_known != 0 && known.epoch == epoch && known.address == *address)
    }

    #[inline(always)]
    fn remember(&self, fact: AddressFact, address: &Address, epoch: u32) {
        if let Some(known) = known(fact, address) {
            *known = KnownAddress { address: *address, epoch, is_known: 1 };
        }
    }
}
